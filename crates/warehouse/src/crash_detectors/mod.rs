//! Crash detectors: pure functions over recorded steps, so that they can be run again on stored
//! logs.

mod first_crashes;
mod monitor;
mod rules;

use crate::labels::labeled_enum;
pub use first_crashes::detect;
pub(crate) use first_crashes::newly_fired;
pub use monitor::CrashMonitor;
use serde::{Deserialize, Serialize};

/// The data of one step that the detectors use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectorStep {
    /// Name of the called tool, or the kind of parse failure.
    pub tool: String,
    /// The call in canonical form; empty if the reply held no call.
    pub call: String,
    /// Whether the call failed or was missing.
    pub failed: bool,
    /// Whether the call changed the state or ended the day.
    pub changed: bool,
    /// Whether the call moved goods or money.
    pub traded: bool,
    /// Whether the call was an order that failed because it cost more than the cash, and more than
    /// the ledger showed.
    pub unaffordable: bool,
    /// Whether the call contradicts its card or the announced plan; `None` if neither determines
    /// it.
    pub contradicts: Option<bool>,
    /// Number of tools that are available to the agent.
    pub tools_available: usize,
    /// Similarity of the agent's summary to its first summaries; `None` for those first summaries,
    /// and if there is no summary or no embedding.
    pub similarity: Option<f64>,
    /// The day of the step, counted from 1; 0 in design v1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub day: u64,
    /// Days that ended without a trade although a customer order could be served, up to and
    /// including the last one that ended; 0 in design v1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle_days: u64,
    /// Number of supplier orders delivered after the call; 0 in design v1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delivered: u64,
}

/// The part of a [`DetectorStep`] that a row's action and day do not hold, as rows of design v2
/// hold it: what is false, 0 or absent is not written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectorFlags {
    #[serde(skip_serializing_if = "is_false")]
    pub failed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub changed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub traded: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub unaffordable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradicts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub idle_days: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub delivered: u64,
}

impl DetectorFlags {
    /// The whole input of the detectors, with the parts that the row's action and day hold: the
    /// tool (or the kind of parse failure) and the call in canonical form.
    pub fn with_call(self, tool: String, call: String, day: u64) -> DetectorStep {
        DetectorStep {
            tool,
            call,
            failed: self.failed,
            changed: self.changed,
            traded: self.traded,
            unaffordable: self.unaffordable,
            contradicts: self.contradicts,
            tools_available: 0,
            similarity: self.similarity,
            day,
            idle_days: self.idle_days,
            delivered: self.delivered,
        }
    }
}

impl DetectorStep {
    /// The flags of this step, for its row.
    pub fn flags(&self) -> DetectorFlags {
        DetectorFlags {
            failed: self.failed,
            changed: self.changed,
            traded: self.traded,
            unaffordable: self.unaffordable,
            contradicts: self.contradicts,
            similarity: self.similarity,
            idle_days: self.idle_days,
            delivered: self.delivered,
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A crash, as reported by its detector. In design v1 each detector reports its first crash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    #[serde(rename = "type")]
    pub kind: CrashType,
    /// First step of the crash, within the detector's window.
    pub onset_step: u64,
    /// The step in which the detector fired.
    pub detected_step: u64,
    /// The first step in which the detector no longer fired; `None` if it fired until the end, and
    /// in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_step: Option<u64>,
    /// `None` if the run ended before the severity was known.
    pub severity: Option<CrashSeverity>,
}

impl Crash {
    fn new(kind: CrashType, onset_step: u64, detected_step: u64) -> Crash {
        Crash { kind, onset_step, detected_step, recovered_step: None, severity: None }
    }
}

labeled_enum!(/// The crash detectors, one per type of crash. `Abandonment` is since design v2.
    CrashType { Looping = "looping", InvalidBurst = "invalid_burst", BudgetDenial = "budget_denial", Decoupling = "decoupling",
        ExplorationCollapse = "exploration_collapse", SlowDivergence = "slow_divergence", Abandonment = "abandonment" });
labeled_enum!(/// How long a crash lasted.
CrashSeverity {
    /// The detector stops firing within 20 steps of the detection.
    Soft = "soft",
    /// The detector still fires 20 steps after the detection.
    Hard = "hard",
    /// No call after the detection succeeded and changed anything.
    Abandoned = "abandoned",
});

impl CrashType {
    /// Whether the detector reads neither the card nor failed calls, so that exposure to
    /// prediction error and crash are measured apart. Only such crashes end a run's time at risk.
    pub fn is_primary(self) -> bool {
        matches!(self, CrashType::Looping | CrashType::ExplorationCollapse | CrashType::Abandonment)
    }
}

/// Number of steps after the detection within which a soft crash ends.
const SOFT_STEPS: usize = 20;
