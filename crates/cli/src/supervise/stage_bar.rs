//! Progress of a stage whose size is known, as text such as `Loading checkpoint shards 3/30, 14.1
//! of 141.1 GB at 2.80 GB/s, ETA 45.4 s`.

use std::time::{Duration, Instant};
use watch::{Snapshot, Stage};

pub struct StageBar {
    pub stage: Stage,
    began: Instant,
    /// When the progress was last printed as a line.
    printed: Instant,
    progress: Snapshot,
}

impl StageBar {
    pub fn new(stage: Stage, bytes_total: u64, items_total: u64) -> Self {
        let now = Instant::now();
        let progress = Snapshot { bytes_total, items_total, ..Snapshot::default() };
        StageBar { stage, began: now, printed: now, progress }
    }

    pub fn update(&mut self, progress: &Snapshot) {
        self.progress = progress.clone();
    }

    /// Sets the final counts, because the last heartbeat was sent before the stage ended.
    pub fn finish(&mut self, bytes_done: u64, items_done: u64) {
        (self.progress.bytes_done, self.progress.items_done) = (bytes_done, items_done);
    }

    /// Without a terminal: whether the next line of progress should be printed. If so, the interval
    /// starts again.
    pub fn line_due(&mut self, interval: Duration) -> bool {
        let due = self.printed.elapsed() > interval;
        if due {
            self.printed = Instant::now();
        }
        due
    }

    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub fn text(&self) -> String {
        self.text_after(self.seconds())
    }

    fn text_after(&self, seconds: f64) -> String {
        let (seen, seconds) = (&self.progress, seconds.max(1e-6));
        let label = match self.stage {
            Stage::Read => "Loading checkpoint shards",
            Stage::Fetch => "Fetching files",
            stage => stage.label(),
        };
        let mut parts = vec![match seen.items_total {
            0 => label.to_owned(),
            total => format!("{label} {}/{total}", seen.items_done),
        }];
        if seen.bytes_total > 0 {
            let (unit, name) =
                if seen.bytes_total < 1_000_000_000 { (1e6, "MB") } else { (1e9, "GB") };
            let (done, total) = (seen.bytes_done as f64 / unit, seen.bytes_total as f64 / unit);
            let rate = seen.bytes_done as f64 / seconds / 1e9;
            parts.push(format!("{done:.1} of {total:.1} {name} at {rate:.2} GB/s"));
        }
        let share = match seen.bytes_total {
            0 => seen.items_done as f64 / seen.items_total.max(1) as f64,
            total => seen.bytes_done as f64 / total as f64,
        };
        if share > 0.0 && share < 1.0 {
            let left_s = seconds * (1.0 - share) / share;
            parts.push(format!("ETA {}", duration(left_s)));
        }
        let text = parts.join(", ");
        if seen.detail.is_empty() { text } else { format!("{text} · {}", seen.detail) }
    }

    /// The number of items done, and the total number.
    pub fn items(&self) -> (u64, u64) {
        (self.progress.items_done, self.progress.items_total)
    }
}

/// A duration as text, with about three significant digits.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.3} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_shards_bytes_rate_and_eta() {
        let mut bar = StageBar::new(Stage::Read, 4_000_000_000, 30);
        bar.finish(1_000_000_000, 7);
        let text = bar.text_after(2.0);
        assert_eq!(text, "Loading checkpoint shards 7/30, 1.0 of 4.0 GB at 0.50 GB/s, ETA 6.000 s");
        bar.finish(4_000_000_000, 30);
        let text = bar.text_after(4.0);
        assert_eq!(text, "Loading checkpoint shards 30/30, 4.0 of 4.0 GB at 1.00 GB/s");
    }
}
