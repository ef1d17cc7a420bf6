use crate::journal::{JournalEntry, JournalEvent};
use serde::Serialize;
use std::time::Duration;

/// How far back the pace is measured.
pub(crate) const WINDOW: Duration = Duration::from_secs(300);

/// How fast processes have worked over the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Throughput {
    /// Processes that work, as far as their journals say.
    pub processes: usize,
    /// Runs that these have in flight.
    pub in_flight: u64,
    /// Steps that these runs have taken.
    pub steps_open: u64,
    /// Steps a second, of all together; none while nothing was done.
    pub steps_per_s: Option<f64>,
    /// Tokens of replies a second, of all together.
    pub reply_tokens_per_s: Option<f64>,
}

/// The pace that journals (see [`crate::journals`]) tell at `now_unix_s`. A process that was killed
/// slows down in it, and is forgotten when its journal is older than the window.
pub(crate) fn throughput(journals: &[Vec<JournalEntry>], now_unix_s: f64) -> Throughput {
    let mut throughput = Throughput::default();
    for entries in journals {
        let Some(last) = entries.last().filter(|last| last.deed != JournalEvent::Ended) else {
            continue;
        };
        throughput.processes += 1;
        throughput.in_flight += last.counts.in_flight;
        throughput.steps_open += last.counts.steps_open;
        let Some((since, before)) = baseline(entries, now_unix_s - WINDOW.as_secs_f64()) else {
            continue;
        };
        let seconds = now_unix_s - since;
        if seconds <= 0.0 || last.counts.steps == before.steps {
            continue;
        }
        *throughput.steps_per_s.get_or_insert(0.0) +=
            (last.counts.steps - before.steps) as f64 / seconds;
        let tokens = last.counts.reply_tokens.saturating_sub(before.reply_tokens);
        *throughput.reply_tokens_per_s.get_or_insert(0.0) += tokens as f64 / seconds;
    }
    throughput
}

/// From when on a process is measured, and what it had done then: the last entry before the window,
/// or its first run.
fn baseline(entries: &[JournalEntry], window_unix_s: f64) -> Option<(f64, crate::JournalCounts)> {
    let before = entries
        .iter()
        .rev()
        .find(|entry| entry.at_unix_s <= window_unix_s && entry.counts.steps > 0);
    let first = || entries.iter().find(|entry| matches!(entry.deed, JournalEvent::Started { .. }));
    before.or_else(first).map(|entry| (entry.at_unix_s, entry.counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JournalCounts;

    fn entry(at_unix_s: f64, deed: JournalEvent, steps: u64) -> JournalEntry {
        JournalEntry {
            at_unix_s,
            deed,
            counts: JournalCounts {
                steps,
                reply_tokens: steps * 10,
                in_flight: 2,
                ..JournalCounts::default()
            },
        }
    }

    #[test]
    fn those_that_work_count_from_their_first_run_or_the_windows_begin() {
        let began = JournalEvent::Began { steps_left_max: 100, runs_left: 1 };
        let started = || JournalEvent::Started { run_id: "a".into() };
        // 60 s of loading count for nothing: 100 steps in 50 s.
        let loaded = vec![
            entry(900.0, began.clone(), 0),
            entry(960.0, started(), 0),
            entry(1005.0, JournalEvent::Progress, 100),
        ];
        // 1000 steps in 310 s, whatever was before.
        let long = vec![
            entry(0.0, started(), 0),
            entry(700.0, JournalEvent::Progress, 5000),
            entry(1009.0, JournalEvent::Progress, 6000),
        ];
        let ended = vec![entry(900.0, started(), 0), entry(1000.0, JournalEvent::Ended, 9000)];
        let only_loading = vec![entry(1000.0, began, 0)];
        let throughput = throughput(&[loaded, long, ended, only_loading], 1010.0);
        assert_eq!((throughput.processes, throughput.in_flight), (3, 6));
        let expected = 100.0 / 50.0 + 1000.0 / 310.0;
        assert!((throughput.steps_per_s.expect("steps") - expected).abs() < 1e-9, "{throughput:?}");
        assert!((throughput.reply_tokens_per_s.expect("tokens") - 10.0 * expected).abs() < 1e-9);
    }

    #[test]
    fn nothing_done_is_no_pace() {
        assert_eq!(throughput(&[], 5.0), Throughput::default());
    }
}
