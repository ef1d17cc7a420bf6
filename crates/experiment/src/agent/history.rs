//! What of the conversation the agent sees. Messages leave in jumps, never one by one: between two
//! jumps each prompt begins with the last one, which is what a prefix cache lives on.

/// A policy for the conversation's past. An *exchange* is an observation and the reply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryPolicy {
    /// All of it, as far as the context holds it.
    Full,
    /// At most so many exchanges before the present observation.
    Window(u64),
    /// The present observation alone.
    None,
}

impl HistoryPolicy {
    /// How many exchanges to leave out, of `past` that there are, where `dropped` were left out
    /// before.
    pub fn leave_out(self, past: u64, dropped: u64) -> u64 {
        let dropped = dropped.min(past);
        match self {
            HistoryPolicy::Full => dropped,
            HistoryPolicy::None => past,
            HistoryPolicy::Window(most) if past - dropped <= most => dropped,
            // Back to half a window: the next jump is half a window of steps away.
            HistoryPolicy::Window(most) => (past - most.div_ceil(2)).max(dropped),
        }
    }

    /// How many to leave out when what is left does not fit the context: half of it, or all.
    pub fn leave_out_more(past: u64, dropped: u64) -> Option<u64> {
        (dropped < past).then(|| dropped + (past - dropped).div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::HistoryPolicy;

    #[test]
    fn a_window_slides_in_jumps_and_never_shows_more() {
        let (mut dropped, mut jumps) = (0, 0);
        for past in 0..100 {
            let next = HistoryPolicy::Window(10).leave_out(past, dropped);
            jumps += u64::from(next != dropped);
            assert!(next >= dropped && past - next <= 10, "{past} {next}");
            dropped = next;
        }
        assert!((15..=18).contains(&jumps), "{jumps} jumps: one in six steps");
        assert_eq!(HistoryPolicy::Window(1).leave_out(5, 3), 4);
        assert_eq!(HistoryPolicy::None.leave_out(5, 0), 5);
        assert_eq!(HistoryPolicy::Full.leave_out(5, 2), 2);
        assert_eq!(HistoryPolicy::leave_out_more(5, 5), None);
        assert_eq!(HistoryPolicy::leave_out_more(5, 4), Some(5));
    }
}
