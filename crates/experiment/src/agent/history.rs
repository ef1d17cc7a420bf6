//! How much of the conversation a prompt contains. Exchanges are dropped several at a time and not
//! one per step: between two drops each prompt extends the previous one, so that a prefix cache
//! hits.

/// A policy for past exchanges. An *exchange* is an observation and the reply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryPolicy {
    /// As much as fits the context.
    Full,
    /// At most this many exchanges before the present observation.
    Window(u64),
    /// Only the present observation.
    None,
}

impl HistoryPolicy {
    /// Number of exchanges to leave out, of `past` in total; `dropped` were left out before.
    pub fn leave_out(self, past: u64, dropped: u64) -> u64 {
        let dropped = dropped.min(past);
        match self {
            HistoryPolicy::Full => dropped,
            HistoryPolicy::None => past,
            HistoryPolicy::Window(size) if past - dropped <= size => dropped,
            // Back to half a window, so that the next drop is half a window of steps away.
            HistoryPolicy::Window(size) => (past - size.div_ceil(2)).max(dropped),
        }
    }

    /// Number of exchanges to leave out after a prompt did not fit: half of the remaining ones
    /// more. `None` where none remain.
    pub fn leave_out_more(past: u64, dropped: u64) -> Option<u64> {
        (dropped < past).then(|| dropped + (past - dropped).div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::HistoryPolicy;

    #[test]
    fn a_window_drops_half_its_exchanges_at_a_time_and_never_exceeds_its_size() {
        let (mut dropped, mut drops) = (0, 0);
        for past in 0..100 {
            let next = HistoryPolicy::Window(10).leave_out(past, dropped);
            drops += u64::from(next != dropped);
            assert!(next >= dropped && past - next <= 10, "{past} {next}");
            dropped = next;
        }
        assert!((15..=18).contains(&drops), "{drops} drops, expected one in six steps");
        assert_eq!(HistoryPolicy::Window(1).leave_out(5, 3), 4);
        assert_eq!(HistoryPolicy::None.leave_out(5, 0), 5);
        assert_eq!(HistoryPolicy::Full.leave_out(5, 2), 2);
        assert_eq!(HistoryPolicy::leave_out_more(5, 5), None);
        assert_eq!(HistoryPolicy::leave_out_more(5, 4), Some(5));
    }
}
