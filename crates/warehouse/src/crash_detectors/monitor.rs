//! Design v2: every crash of every detector, with onset, recovery and severity, and the time at
//! risk.

use super::{Crash, CrashSeverity, CrashType, DetectorStep, SOFT_STEPS};
use crate::config::DetectorConfig;

/// Number of steps without a primary crash after which an agent counts as competent.
const HEALTHY_STEPS: u64 = 20;
/// Number of steps that a detector that examines whole days looks back.
const DAYS_WINDOW: usize = 200;

/// Follows the steps of a run, and keeps all crashes so far. A detector may fire again after it
/// recovered; it then examines only the steps since.
#[derive(Debug, Clone)]
pub struct CrashMonitor {
    config: DetectorConfig,
    steps: Vec<DetectorStep>,
    crashes: Vec<Crash>,
    detectors: [Detector; CrashType::ALL.len()],
    /// Number of latest steps without a primary crash.
    healthy_steps: u64,
    delivered: bool,
    entry_step: Option<u64>,
}

/// State of one detector.
#[derive(Debug, Clone, Copy, Default)]
struct Detector {
    /// Index in `crashes` of the crash that goes on.
    open: Option<usize>,
    /// Number of steps up to the last recovery, which the detector no longer examines.
    ignored: usize,
}

impl CrashMonitor {
    pub fn new(config: &DetectorConfig) -> CrashMonitor {
        CrashMonitor {
            config: config.clone(),
            steps: Vec::new(),
            crashes: Vec::new(),
            detectors: Default::default(),
            healthy_steps: 0,
            delivered: false,
            entry_step: None,
        }
    }

    /// Adds a step; returns the crashes that are detected in it.
    pub fn push(&mut self, step: DetectorStep) -> Vec<Crash> {
        self.delivered |= step.delivered > 0;
        self.steps.push(step);
        let first_new = self.crashes.len();
        for kind in CrashType::ALL {
            self.update(*kind);
        }
        let primary_open = CrashType::ALL
            .iter()
            .any(|kind| kind.is_primary() && self.detectors[*kind as usize].open.is_some());
        self.healthy_steps = if primary_open { 0 } else { self.healthy_steps + 1 };
        self.void_entry(first_new);
        if self.entry_step.is_none() && self.delivered && self.healthy_steps >= HEALTHY_STEPS {
            self.entry_step = Some(self.steps.len() as u64);
        }
        self.crashes[first_new..].to_vec()
    }

    /// A crash whose onset is not after the entry shows that the steps before the entry were not
    /// healthy: the run was not at risk of it, and enters after its recovery.
    fn void_entry(&mut self, first_new: usize) {
        let Some(entry) = self.entry_step else { return };
        let new = &self.crashes[first_new..];
        let early = new.iter().any(|crash| crash.kind.is_primary() && crash.onset_step <= entry);
        if early && self.event_among(&self.crashes[..first_new], entry).is_none() {
            self.entry_step = None;
        }
    }

    fn update(&mut self, kind: CrashType) {
        let detector = &mut self.detectors[kind as usize];
        let now = self.steps.len();
        let length = match kind {
            CrashType::Abandonment => DAYS_WINDOW,
            _ => self.config.window_size,
        };
        let ignored = if detector.open.is_some() { 0 } else { detector.ignored };
        let first = now.saturating_sub(length).max(ignored);
        let fired = kind.rule()(&self.steps[first..], &self.config);
        match (detector.open, fired) {
            (None, Some(onset)) => {
                detector.open = Some(self.crashes.len());
                let onset_step = (first + onset + 1) as u64;
                self.crashes.push(Crash::new(kind, onset_step, now as u64));
            }
            (Some(open), None) => {
                self.crashes[open].recovered_step = Some(now as u64);
                *detector = Detector { open: None, ignored: now - 1 };
            }
            _ => {}
        }
    }

    /// The latest step.
    pub fn last(&self) -> Option<&DetectorStep> {
        self.steps.last()
    }

    /// All crashes so far in the order of their detection, with severity where it is known.
    pub fn crashes(&self) -> Vec<Crash> {
        let with_severity =
            |crash: &Crash| Crash { severity: self.severity(crash), ..crash.clone() };
        self.crashes.iter().map(with_severity).collect()
    }

    fn severity(&self, crash: &Crash) -> Option<CrashSeverity> {
        let detected = crash.detected_step as usize;
        // The severity stays unknown if the run ends before a soft crash could have ended.
        let known = self.steps.len() >= detected + SOFT_STEPS;
        if self.steps[detected..].iter().all(|step| step.failed || !step.changed) {
            return known.then_some(CrashSeverity::Abandoned);
        }
        let soft_until = crash.detected_step + SOFT_STEPS as u64;
        match crash.recovered_step {
            Some(step) if step <= soft_until => Some(CrashSeverity::Soft),
            _ => known.then_some(CrashSeverity::Hard),
        }
    }

    /// The step after which the run is at risk: the end of its first twenty steps that belong to no
    /// primary crash, from onset to recovery, once a supplier order was delivered. `None` if the
    /// agent never was competent.
    pub fn entry_step(&self) -> Option<u64> {
        self.entry_step
    }

    /// The primary crash with an onset after the entry that was detected first, and its onset. One
    /// that is detected later may have an earlier onset, since its window looks farther back.
    pub fn first_event(&self) -> Option<(u64, &Crash)> {
        self.event_among(&self.crashes, self.entry_step?)
    }

    fn event_among<'a>(&self, crashes: &'a [Crash], entry: u64) -> Option<(u64, &'a Crash)> {
        crashes
            .iter()
            .filter(|crash| crash.kind.is_primary() && crash.onset_step > entry)
            .map(|crash| (crash.onset_step, crash))
            .min_by_key(|(onset, crash)| (crash.detected_step, *onset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entry and the first event of a run that trades, waits `idle` days of one step each from
    /// step `from` on, and trades again.
    fn at_risk(from: u64, idle: u64) -> (Option<u64>, Option<u64>) {
        let mut monitor = CrashMonitor::new(&DetectorConfig::default());
        for day in 1..=100 {
            let idle_days = if (from..from + idle).contains(&day) { day + 1 - from } else { 0 };
            monitor.push(DetectorStep {
                tool: "order".into(),
                call: format!("order({day})"),
                changed: true,
                traded: idle_days == 0,
                day,
                idle_days,
                delivered: u64::from(day == 5),
                ..DetectorStep::default()
            });
        }
        (monitor.entry_step(), monitor.first_event().map(|(onset, _)| onset))
    }

    #[test]
    fn a_crash_whose_onset_is_not_after_the_entry_voids_it() {
        assert_eq!(at_risk(200, 0), (Some(20), None));
        assert_eq!(at_risk(30, 5), (Some(20), Some(30)), "an event has its onset's step");
        // Detected in step 21 with the onset 19: the twenty steps before were not healthy.
        assert_eq!(at_risk(19, 5), (Some(43), None), "twenty steps from the recovery in step 24");
        assert_eq!(at_risk(21, 5), (Some(20), Some(21)));
        assert_eq!(at_risk(21, 2), (Some(20), None), "two days are no abandonment");
    }
}
