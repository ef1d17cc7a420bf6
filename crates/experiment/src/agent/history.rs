//! Number of past exchanges in a prompt. Exchanges are dropped in groups rather than one per step:
//! between two drops each prompt extends the previous one, so that the prefix cache hits.

/// Policy that decides which past exchanges a prompt contains. An *exchange* is an observation and
/// the agent's reply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryPolicy {
    /// As many past exchanges as fit the context.
    Full,
    /// At most this number of past exchanges.
    Window(u64),
    /// No past exchanges, only the current observation.
    None,
}

impl HistoryPolicy {
    /// Number of exchanges to leave out of `past` exchanges in total, given that `dropped` are
    /// already left out.
    pub fn leave_out(self, past: u64, dropped: u64) -> u64 {
        let dropped = dropped.min(past);
        match self {
            HistoryPolicy::Full => dropped,
            HistoryPolicy::None => past,
            HistoryPolicy::Window(size) if past - dropped <= size => dropped,
            // Half a window remains, so that the next drop follows after half a window of steps.
            HistoryPolicy::Window(size) => (past - size.div_ceil(2)).max(dropped),
        }
    }

    /// Number of exchanges to leave out after a prompt that left out `dropped` did not fit: half of
    /// the remaining exchanges are left out too. `None` if no exchange remains.
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
