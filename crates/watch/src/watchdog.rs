use crate::{Snapshot, Stage};

/// Bytes after which the first rate is believed.
const FIRST_RATE_BYTES: u64 = 2 << 30;
/// The least default deadline, in seconds.
const DEADLINE_MIN_S: f64 = 600.0;
/// The default deadline is this many times the projected time.
const DEADLINE_FACTOR: f64 = 4.0;
/// How long a projection past the deadline must hold before it is believed, in seconds.
const TOO_SLOW_FOR_S: f64 = 60.0;

/// What is allowed to take how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchLimits {
    /// The longest time without any progress, in seconds.
    pub stall_timeout_s: f64,
    /// The longest time for the load as a whole, in seconds. `None`: 4 x bytes over the rate of
    /// the first 2 GiB, and at least ten minutes.
    pub deadline_s: Option<f64>,
}

impl Default for WatchLimits {
    fn default() -> Self {
        WatchLimits { stall_timeout_s: 120.0, deadline_s: None }
    }
}

/// Why a process has to be ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Stall {
    /// Nothing moved for too long.
    NoProgress {
        /// The innermost stage.
        stage: Option<Stage>,
        /// Seconds without progress.
        idle_s: f64,
        /// The limit that it broke, in seconds.
        limit_s: f64,
    },
    /// The deadline passed.
    PastDeadline {
        /// The innermost stage.
        stage: Option<Stage>,
        /// The deadline, in seconds from the start.
        deadline_s: f64,
    },
    /// It moves, but cannot be done before the deadline.
    TooSlow {
        /// The stage that is too slow.
        stage: Stage,
        /// Its rate.
        bytes_per_s: f64,
        /// When it would be done, in seconds from the start.
        projected_s: f64,
        /// The deadline, in seconds from the start.
        deadline_s: f64,
    },
}

/// Decides from snapshots and a clock whether a process is stalled, late or too slow. Pure: it is
/// told the time.
#[derive(Debug)]
pub struct Watchdog {
    limits: WatchLimits,
    last: Option<(u64, f64)>,
    bar: Option<Bar>,
    late_since_s: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    stage: Stage,
    since_s: f64,
    default_deadline_s: Option<f64>,
}

impl Watchdog {
    /// A judge for one process.
    pub fn new(limits: WatchLimits) -> Self {
        Watchdog { limits, last: None, bar: None, late_since_s: None }
    }

    /// The deadline in force, in seconds from the start, if there is one yet.
    pub fn deadline_s(&self) -> Option<f64> {
        self.limits.deadline_s.or(self.bar.and_then(|bar| bar.default_deadline_s))
    }

    /// Looks at the process `now_s` seconds after its start.
    ///
    /// The deadline is for getting ready: once a process is in [`Stage::Run`], [`Stage::Serve`] or
    /// [`Stage::Bench`] only stalls count (and a server that waits for requests does not
    /// stall).
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
        let waits_for_others = seen.stages.contains(&Stage::Serve);
        let limit_s = self.limits.stall_timeout_s;
        (idle_s > limit_s && !waits_for_others).then_some(Stall::NoProgress {
            stage,
            idle_s,
            limit_s,
        })
    }

    fn too_slow(&mut self, now_s: f64, seen: &Snapshot) -> Option<Stall> {
        let stage = seen.bar?;
        let bar = match self.bar {
            Some(bar) if bar.stage == stage => bar,
            _ => Bar { stage, since_s: now_s, default_deadline_s: None },
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
            self.bar =
                Some(Bar { default_deadline_s: Some(now_s + whole_s.max(DEADLINE_MIN_S)), ..bar });
        } else if bar.default_deadline_s.is_none() && spent_s > DEADLINE_MIN_S {
            // So slow that the first 2 GiB never came: the least deadline from here.
            self.bar = Some(Bar { default_deadline_s: Some(now_s + DEADLINE_MIN_S), ..bar });
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

    fn judge(stall_timeout_s: f64, deadline_s: Option<f64>) -> Watchdog {
        Watchdog::new(WatchLimits { stall_timeout_s, deadline_s })
    }

    #[test]
    fn no_progress_is_a_stall_and_any_progress_is_not() {
        let mut judge = judge(10.0, None);
        assert_eq!(judge.observe(0.0, &seen(1, 0, 100)), None);
        assert_eq!(judge.observe(9.0, &seen(1, 0, 100)), None);
        assert_eq!(judge.observe(9.5, &seen(2, 0, 100)), None);
        assert_eq!(judge.observe(19.0, &seen(2, 0, 100)), None);
        let stalled = Stall::NoProgress { stage: Some(Stage::Read), idle_s: 10.5, limit_s: 10.0 };
        assert_eq!(judge.observe(20.0, &seen(2, 0, 100)), Some(stalled));
    }

    #[test]
    fn slow_is_told_long_before_the_deadline() {
        // 1 MiB/s of 100 GiB with an hour's deadline: hopeless, and known after a minute.
        let mut judge = judge(120.0, Some(3600.0));
        let mut ended = None;
        for s in 0..3600u64 {
            if let Some(verdict) = judge.observe(s as f64, &seen(s, s << 20, 100 << 30)) {
                ended = Some((s, verdict));
                break;
            }
        }
        let (s, verdict) = ended.expect("a verdict");
        assert!((60..70).contains(&s), "after {s} s");
        assert!(
            matches!(verdict, Stall::TooSlow { bytes_per_s, .. } if (bytes_per_s / 1048576.0 - 1.0).abs() < 0.1)
        );
    }

    #[test]
    fn the_default_deadline_follows_the_first_rate() {
        let mut judge = judge(120.0, None);
        for s in 0..4u64 {
            assert_eq!(judge.observe(s as f64, &seen(s, s << 30, 1 << 40)), None);
        }
        let deadline_s = judge.deadline_s().expect("a deadline after 2 GiB");
        assert!((4.0 * 1024.0..4.0 * 1024.0 + 5.0).contains(&deadline_s), "{deadline_s}");
    }

    #[test]
    fn the_deadline_holds_even_when_bytes_move() {
        let mut judge = judge(120.0, Some(2.0));
        assert_eq!(judge.observe(1.9, &seen(1, 99, 100)), None);
        assert!(matches!(judge.observe(2.1, &seen(2, 99, 100)), Some(Stall::PastDeadline { .. })));
    }

    #[test]
    fn a_running_experiment_has_no_deadline_but_may_not_stall() {
        let mut judge = judge(10.0, Some(5.0));
        let running = |beats| Snapshot { beats, stages: vec![Stage::Run], ..Snapshot::default() };
        assert_eq!(judge.observe(100.0, &running(1)), None);
        assert_eq!(judge.observe(109.0, &running(2)), None);
        assert!(matches!(judge.observe(120.0, &running(2)), Some(Stall::NoProgress { .. })));
    }
}
