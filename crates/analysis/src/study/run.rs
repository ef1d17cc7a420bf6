//! What a study observed: one value a run, from its record and the rows of its log.

use std::collections::BTreeMap;

/// The runs of one study folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedStudy {
    pub name: String,
    pub phase: Option<String>,
    /// `v1` or `v2`.
    pub design: String,
    /// The folder as the user named it, for the commands that the report shows.
    pub folder: String,
    /// Keys of the grid, dotted.
    pub factors: Vec<String>,
    /// Families of tests that the configuration declares: each a name and its groups.
    pub families: BTreeMap<String, Vec<String>>,
    /// Number of runs that the grid plans.
    pub planned: usize,
    /// Number of runs whose every attempt failed.
    pub failed: usize,
    /// Number of runs left out because an earlier study has them.
    pub repeated: usize,
    /// Runs that cannot be read, each with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Version, commit, host and configuration of the study, as name and value.
    pub provenance: Vec<(String, String)>,
    pub runs: Vec<ObservedRun>,
}

/// A committed run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedRun {
    pub run_id: String,
    pub model: String,
    /// Billions of parameters; `None` if the model's name does not tell.
    pub parameters_b: Option<f64>,
    /// Seed of the world. Runs of one world are not independent.
    pub world: u64,
    pub draw: u64,
    /// The assigned dose: probability of a shock in a step.
    pub p_shock: f64,
    /// Level of each factor of the grid, by dotted key; absent where it has no effect.
    pub levels: BTreeMap<String, String>,
    /// Number of steps played.
    pub steps: u64,
    /// Most steps that the run could take.
    pub horizon: u64,
    pub days: u64,
    /// The step after which the run is at risk; `None` if the agent never was competent.
    pub entry: Option<u64>,
    /// Onset of the first primary crash after the entry, or the last step.
    pub end_step: u64,
    pub end: RunEnd,
    pub crashes: Vec<ObservedCrash>,
    pub shocks: ShockCounts,
    /// Accumulated exposure where it changes, ascending by step.
    pub path: Vec<PathPoint>,
    /// Mean prediction error by card field.
    pub mean_errors: Vec<(String, f64)>,
    pub net_worth: f64,
    pub orders_shipped: u64,
    pub orders_expired: u64,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Seconds of waiting for replies.
    pub reply_seconds: f64,
    /// Cards with a confidence, and how often they were right, by bin of confidence.
    pub calibration: Vec<ObservedBin>,
    /// Log hazard ratio of a unit of exposure that a scripted operator has by its construction.
    pub known_effect: Option<f64>,
    /// What the agent did in the steps up to the event; `None` without an event.
    pub before_event: Option<Behavior>,
}

/// What ended the time at risk.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunEnd {
    /// A primary crash, by the name of its detector.
    Crash(String),
    Ruin,
    Expired,
    #[default]
    Horizon,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ObservedCrash {
    pub detector: String,
    /// Whether the detector reads neither cards nor failed calls.
    pub primary: bool,
    pub onset: u64,
    pub detected: u64,
    /// The first step in which the detector no longer fired; `None` if it fired until the end.
    pub recovered: Option<u64>,
    /// `soft`, `hard` or `abandoned`, if known.
    pub severity: Option<String>,
}

/// Numbers of shocks by type: temporal, quantity, causal, rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShockCounts {
    pub drawn: [u64; 4],
    pub applied: [u64; 4],
    pub told: [u64; 4],
}

/// A named measure of a run.
pub type RunMeasure = (&'static str, fn(&ObservedRun) -> f64);

/// A named measure of a run that captures what it depends on.
pub type RunColumn<'a> = (&'a str, &'a dyn Fn(&ObservedRun) -> f64);

pub const SHOCK_TYPES: [&str; 4] = ["temporal", "quantity", "causal", "rule"];

/// Accumulated errors and shocks after a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PathPoint {
    pub step: u64,
    /// Errors of deliveries, each at most 2, summed.
    pub exposure: f64,
    /// The part of it that shocks caused.
    pub induced: f64,
    /// Shocks that changed something, by type.
    pub shocks: [u32; 4],
}

/// Cards whose confidence lies in one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ObservedBin {
    /// Middle of the bin.
    pub confidence: f64,
    pub cards: u64,
    pub right: f64,
}

/// What the agent did in a window of steps, as shares of the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Behavior {
    /// Calls that succeeded.
    pub success: f64,
    /// Calls that only read.
    pub reading: f64,
    /// Calls that end the day.
    pub waiting: f64,
    /// Calls of the tool that was called most.
    pub most_called: f64,
    /// Replies without a valid call.
    pub no_call: f64,
    /// Growth of the exposure in the window.
    pub exposure_growth: f64,
    /// Shocks that acted in the window.
    pub shocks: f64,
    /// Steps between the last shock before the event and the event, by the window's length; 1 if
    /// there was none in the window.
    pub since_shock: f64,
}

impl RunEnd {
    /// `crash:<detector>`, `ruin`, `expired` or `horizon`.
    pub fn label(&self) -> String {
        match self {
            RunEnd::Crash(detector) => format!("crash:{detector}"),
            RunEnd::Ruin => "ruin".to_owned(),
            RunEnd::Expired => "expired".to_owned(),
            RunEnd::Horizon => "horizon".to_owned(),
        }
    }

    pub fn is_crash(&self) -> bool {
        matches!(self, RunEnd::Crash(_))
    }
}

impl ObservedRun {
    /// Accumulated errors and shocks after `step`; zero before the first.
    pub fn at(&self, step: u64) -> PathPoint {
        let after = self.path.partition_point(|point| point.step <= step);
        match after.checked_sub(1) {
            Some(last) => PathPoint { step, ..self.path[last] },
            None => PathPoint { step, ..PathPoint::default() },
        }
    }

    /// Whether the run was at risk of a crash for some time.
    pub fn is_at_risk(&self) -> bool {
        self.entry.is_some_and(|entry| entry < self.end_step)
    }

    pub fn crashed(&self) -> bool {
        self.is_at_risk() && self.end.is_crash()
    }

    /// What the end counts as where any crash is the event: 1, or 0 for censored.
    pub fn crash_cause(&self) -> u32 {
        self.crashed().into()
    }

    /// The times at risk of any primary crash, (start, stop] and whether a crash ends it: from the
    /// entry, and again from each recovery.
    pub fn risk_spans(&self) -> Vec<(u64, u64, bool)> {
        let Some(entry) = self.entry else { return Vec::new() };
        let mut crashes: Vec<&ObservedCrash> =
            self.crashes.iter().filter(|crash| crash.primary && crash.onset > entry).collect();
        crashes.sort_by_key(|crash| (crash.onset, crash.detected));
        let (mut spans, mut start) = (Vec::new(), Some(entry));
        for crash in crashes {
            if let Some(from) = start.filter(|from| *from < crash.onset) {
                spans.push((from, crash.onset, true));
            } else if spans.is_empty() {
                continue;
            }
            // Crashes may overlap: the run is at risk again when all have ended.
            start = match (start, crash.recovered) {
                (Some(from), Some(recovered)) => Some(from.max(recovered)),
                _ => None,
            };
        }
        if let Some(from) = start.filter(|from| *from < self.steps) {
            spans.push((from, self.steps, false));
        }
        spans
    }
}

impl PathPoint {
    /// Number of shocks that changed something.
    pub fn dose(&self) -> f64 {
        self.shocks.iter().sum::<u32>().into()
    }
}
