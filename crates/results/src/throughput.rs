//! Throughput of the processes that work on an experiment, from their journals.

use crate::journal::{JournalCounts, JournalEntry, JournalEvent};
use serde::Serialize;
use std::time::Duration;

/// Time span, up to now, over which throughput is measured.
pub(crate) const WINDOW: Duration = Duration::from_secs(300);

/// Throughput of all running processes over the last minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Throughput {
    /// Number of processes whose journals do not end with an `Ended` entry.
    pub processes: usize,
    /// Number of runs in flight.
    pub in_flight: u64,
    /// Steps completed so far in the runs in flight, including replayed ones.
    pub steps_open: u64,
    /// Steps per second of all processes together; `None` if none completed a step in the window.
    pub steps_per_s: Option<f64>,
    /// Reply tokens per second of all processes together; `None` if none completed a step in the
    /// window.
    pub reply_tokens_per_s: Option<f64>,
}

/// Throughput at Unix time `now_unix_s`, from the journal entries of each process. The measured
/// rate of a killed process declines until its journal is older than the window and is no longer
/// read.
pub(crate) fn throughput(journals: &[Vec<JournalEntry>], now_unix_s: f64) -> Throughput {
    let mut throughput = Throughput::default();
    for entries in journals {
        let Some(last) = entries.last().filter(|last| last.event != JournalEvent::Ended) else {
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

/// Unix time and counts from which the rate of a process is measured: the last entry before the
/// window, or the start of the first run if no step was completed before the window.
fn baseline(entries: &[JournalEntry], window_unix_s: f64) -> Option<(f64, JournalCounts)> {
    let before = entries
        .iter()
        .rev()
        .find(|entry| entry.at_unix_s <= window_unix_s && entry.counts.steps > 0);
    let first = || entries.iter().find(|entry| matches!(entry.event, JournalEvent::Started { .. }));
    before.or_else(first).map(|entry| (entry.at_unix_s, entry.counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_unix_s: f64, event: JournalEvent, steps: u64) -> JournalEntry {
        JournalEntry {
            at_unix_s,
            event,
            counts: JournalCounts {
                steps,
                reply_tokens: steps * 10,
                in_flight: 2,
                ..JournalCounts::default()
            },
            memory_peak_bytes: 0,
        }
    }

    #[test]
    fn processes_count_from_their_first_run_or_from_the_start_of_the_window() {
        let began = JournalEvent::Began { steps_left_max: 100, runs_left: 1 };
        let started = || JournalEvent::Started { run_id: "a".into() };
        // 60 s of model loading are excluded: 100 steps in 50 s.
        let loaded = vec![
            entry(900.0, began.clone(), 0),
            entry(960.0, started(), 0),
            entry(1005.0, JournalEvent::Progress, 100),
        ];
        // Steps before the window are excluded: 1000 steps in 310 s.
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
    fn without_journals_there_is_no_throughput() {
        assert_eq!(throughput(&[], 5.0), Throughput::default());
    }
}
