//! Stall and deadline detection.

use crate::{Snapshot, Stage};

/// Number of bytes after which the default deadline is calculated from the measured rate.
const FIRST_RATE_BYTES: u64 = 2 << 30;
/// Minimum time from its calculation to the default deadline, in seconds.
const DEADLINE_MIN_S: f64 = 600.0;
/// Time to the default deadline, as a multiple of the projected duration of the stage.
const DEADLINE_FACTOR: f64 = 4.0;
/// How long the projected end must be later than the deadline before [`Stall::TooSlow`] is
/// returned, in seconds.
const TOO_SLOW_FOR_S: f64 = 60.0;

/// Time limits of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchLimits {
    /// Maximum time without progress, in seconds.
    pub stall_timeout_s: f64,
    /// Maximum duration of the load, in seconds. `None`: four times the duration projected from
    /// the first 2 GiB, but at least ten minutes.
    pub deadline_s: Option<f64>,
}

impl Default for WatchLimits {
    fn default() -> Self {
        WatchLimits { stall_timeout_s: 120.0, deadline_s: None }
    }
}

/// Why a process has to be terminated.
#[derive(Debug, Clone, PartialEq)]
pub enum Stall {
    /// No progress within the stall timeout.
    NoProgress {
        /// The innermost stage.
        stage: Option<Stage>,
        /// Seconds without progress.
        idle_s: f64,
        /// The stall timeout, in seconds.
        limit_s: f64,
    },
    PastDeadline {
        /// The innermost stage.
        stage: Option<Stage>,
        /// The deadline, in seconds from the start.
        deadline_s: f64,
    },
    /// There is progress, but the stage cannot finish before the deadline.
    TooSlow {
        stage: Stage,
        /// Measured rate of the stage.
        bytes_per_s: f64,
        /// Projected end of the stage, in seconds from the start.
        projected_s: f64,
        /// The deadline, in seconds from the start.
        deadline_s: f64,
    },
}

/// Decides from snapshots and the time whether a process is stalled, late or too slow. Reads no
/// clock: the caller passes the time.
#[derive(Debug)]
pub struct Watchdog {
    limits: WatchLimits,
    /// [`Snapshot::beats`] at the last progress, and the time when this count was first observed,
    /// in seconds from the start.
    last: Option<(u64, f64)>,
    bar: Option<BarTiming>,
    /// The time since which the projected end is later than the deadline, in seconds from the
    /// start.
    late_since_s: Option<f64>,
}

/// When the current progress bar started, and the default deadline that follows from its rate.
#[derive(Debug, Clone, Copy)]
struct BarTiming {
    stage: Stage,
    since_s: f64,
    default_deadline_s: Option<f64>,
}

impl Watchdog {
    /// A watchdog for one process.
    pub fn new(limits: WatchLimits) -> Self {
        Watchdog { limits, last: None, bar: None, late_since_s: None }
    }

    /// The deadline in effect, in seconds from the start; `None` until the default is known.
    pub fn deadline_s(&self) -> Option<f64> {
        self.limits.deadline_s.or(self.bar.and_then(|bar| bar.default_deadline_s))
    }

    /// Checks a snapshot of the process, taken `now_s` seconds after its start. Returns why the
    /// process has to be terminated, if it has to.
    ///
    /// The deadline applies only to loading. In [`Stage::Run`], [`Stage::Bench`], [`Stage::Fetch`]
    /// and [`Stage::Verify`], only the stall timeout applies. In [`Stage::Serve`], neither applies,
    /// because a server may wait for requests.
    pub fn observe(&mut self, now_s: f64, seen: &Snapshot) -> Option<Stall> {
        let stage = seen.stages.last().copied();
        if let Some(stalled) = self.stalled(now_s, seen, stage) {
            return Some(stalled);
        }
        if seen.stages.iter().any(|s| {
            matches!(s, Stage::Run | Stage::Serve | Stage::Bench | Stage::Fetch | Stage::Verify)
        }) {
            return None;
        }
        let slow = self.too_slow(now_s, seen);
        let deadline_s = self.deadline_s()?;
        if now_s > deadline_s {
            return Some(Stall::PastDeadline { stage, deadline_s });
        }
        slow
    }

    fn stalled(&mut self, now_s: f64, seen: &Snapshot, stage: Option<Stage>) -> Option<Stall> {
        let idle_s = match self.last {
            Some((beats, since_s)) if beats == seen.beats => now_s - since_s,
            _ => {
                self.last = Some((seen.beats, now_s));
                return None;
            }
        };
        let waits_for_requests = seen.stages.contains(&Stage::Serve);
        let limit_s = self.limits.stall_timeout_s;
        (idle_s > limit_s && !waits_for_requests).then_some(Stall::NoProgress {
            stage,
            idle_s,
            limit_s,
        })
    }

    fn too_slow(&mut self, now_s: f64, seen: &Snapshot) -> Option<Stall> {
        let stage = seen.bar?;
        let bar = match self.bar {
            Some(bar) if bar.stage == stage => bar,
            _ => BarTiming { stage, since_s: now_s, default_deadline_s: None },
        };
        self.bar = Some(bar);
        let spent_s = now_s - bar.since_s;
        if seen.bytes_done == 0 || spent_s < 1.0 || seen.bytes_total == 0 {
            return None;
        }
        let bytes_per_s = seen.bytes_done as f64 / spent_s;
        if bar.default_deadline_s.is_none()
            && seen.bytes_done >= FIRST_RATE_BYTES.min(seen.bytes_total)
        {
            let whole_s = DEADLINE_FACTOR * seen.bytes_total as f64 / bytes_per_s;
            self.bar = Some(BarTiming {
                default_deadline_s: Some(now_s + whole_s.max(DEADLINE_MIN_S)),
                ..bar
            });
        } else if bar.default_deadline_s.is_none() && spent_s > DEADLINE_MIN_S {
            // The first 2 GiB were not read within ten minutes: the deadline is in another ten
            // minutes.
            self.bar = Some(BarTiming { default_deadline_s: Some(now_s + DEADLINE_MIN_S), ..bar });
        }
        let deadline_s = self.deadline_s()?;
        let projected_s =
            now_s + seen.bytes_total.saturating_sub(seen.bytes_done) as f64 / bytes_per_s;
        if projected_s <= deadline_s {
            self.late_since_s = None;
            return None;
        }
        let late_since_s = *self.late_since_s.get_or_insert(now_s);
        let patience_s = TOO_SLOW_FOR_S.min(deadline_s / 4.0);
        (now_s - late_since_s > patience_s).then_some(Stall::TooSlow {
            stage,
            bytes_per_s,
            projected_s,
            deadline_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(beats: u64, bytes_done: u64, bytes_total: u64) -> Snapshot {
        let (stages, bar) = (vec![Stage::Read], Some(Stage::Read));
        Snapshot { beats, stages, bar, bytes_done, bytes_total, ..Snapshot::default() }
    }

    fn watchdog(stall_timeout_s: f64, deadline_s: Option<f64>) -> Watchdog {
        Watchdog::new(WatchLimits { stall_timeout_s, deadline_s })
    }

    #[test]
    fn only_a_lack_of_progress_is_a_stall() {
        let mut watchdog = watchdog(10.0, None);
        assert_eq!(watchdog.observe(0.0, &seen(1, 0, 100)), None);
        assert_eq!(watchdog.observe(9.0, &seen(1, 0, 100)), None);
        assert_eq!(watchdog.observe(9.5, &seen(2, 0, 100)), None);
        assert_eq!(watchdog.observe(19.0, &seen(2, 0, 100)), None);
        let expected = Stall::NoProgress { stage: Some(Stage::Read), idle_s: 10.5, limit_s: 10.0 };
        assert_eq!(watchdog.observe(20.0, &seen(2, 0, 100)), Some(expected));
    }

    #[test]
    fn a_hopeless_rate_is_reported_long_before_the_deadline() {
        // 100 GiB at 1 MiB/s take longer than the deadline of one hour. The watchdog returns this
        // after one minute.
        let mut watchdog = watchdog(120.0, Some(3600.0));
        let mut ended = None;
        for s in 0..3600u64 {
            if let Some(stall) = watchdog.observe(s as f64, &seen(s, s << 20, 100 << 30)) {
                ended = Some((s, stall));
                break;
            }
        }
        let (s, stall) = ended.expect("a stall");
        assert!((60..70).contains(&s), "after {s} s");
        assert!(
            matches!(stall, Stall::TooSlow { bytes_per_s, .. } if (bytes_per_s / 1048576.0 - 1.0).abs() < 0.1)
        );
    }

    #[test]
    fn the_default_deadline_follows_from_the_rate_of_the_first_gib() {
        let mut watchdog = watchdog(120.0, None);
        for s in 0..4u64 {
            assert_eq!(watchdog.observe(s as f64, &seen(s, s << 30, 1 << 40)), None);
        }
        let deadline_s = watchdog.deadline_s().expect("a deadline after 2 GiB");
        assert!((4.0 * 1024.0..4.0 * 1024.0 + 5.0).contains(&deadline_s), "{deadline_s}");
    }

    #[test]
    fn the_deadline_applies_despite_progress() {
        let mut watchdog = watchdog(120.0, Some(2.0));
        assert_eq!(watchdog.observe(1.9, &seen(1, 99, 100)), None);
        assert!(matches!(
            watchdog.observe(2.1, &seen(2, 99, 100)),
            Some(Stall::PastDeadline { .. })
        ));
    }

    #[test]
    fn a_running_experiment_has_a_stall_timeout_but_no_deadline() {
        let mut watchdog = watchdog(10.0, Some(5.0));
        let running = |beats| Snapshot { beats, stages: vec![Stage::Run], ..Snapshot::default() };
        assert_eq!(watchdog.observe(100.0, &running(1)), None);
        assert_eq!(watchdog.observe(109.0, &running(2)), None);
        assert!(matches!(watchdog.observe(120.0, &running(2)), Some(Stall::NoProgress { .. })));
    }
}
