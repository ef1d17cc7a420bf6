use crate::card::{Card, CardProblem};
use crate::detect::{Crash, DetectorStep};
use crate::pe::{Pair, PeKind, PeScales};
use crate::shock::ShockEvent;
use crate::tools::ToolCall;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What an agent does in one step. A reply that is no call is an outcome of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The call, or the kind of the failure to make one (`invalid_json`, `cut_off`, ...).
    pub call: Result<ToolCall, String>,
    /// The card, or why there is none.
    pub card: Result<Card, CardProblem>,
}

/// How the world ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were taken.
    Horizon,
    /// No cash, no stock that could be sold, nothing on its way.
    Ruin,
    /// Too many orders expired.
    Expired,
    /// The steps after a crash ran out.
    Crash,
}

impl Ending {
    /// The word in rows.
    pub fn word(self) -> &'static str {
        match self {
            Ending::Horizon => "horizon",
            Ending::Ruin => "ruin",
            Ending::Expired => "expired",
            Ending::Crash => "crash",
        }
    }
}

/// Everything that one step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    /// Counted from 1.
    pub step: u64,
    /// The day on which the step was taken, from 1.
    pub day: u64,
    /// Whether the call succeeded.
    pub success: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// What the tool answered, as data.
    pub result: Value,
    /// What the agent is shown: the result, news, and what is open.
    pub observation: String,
    /// Errors that became known in this step: the mean by type, null where none did.
    pub pe: BTreeMap<PeKind, Option<f64>>,
    /// Every scored field.
    pub pairs: Vec<Pair>,
    /// EWMA and windows after this step.
    pub scales: BTreeMap<PeKind, PeScales>,
    /// Shocks of this step.
    pub shocks: Vec<ShockEvent>,
    /// What the detectors look at.
    pub detector: DetectorStep,
    /// Detectors that fired for the first time.
    pub crashes: Vec<Crash>,
    /// The end, in the last record.
    pub ending: Option<Ending>,
    /// Figures after the step.
    pub totals: Totals,
}

/// A world in figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    /// The day, from 1.
    pub day: u64,
    /// Cash.
    pub budget: f64,
    /// Units in storage.
    pub stock_units: u64,
    /// Cash, and stock and goods on their way at the cheapest price.
    pub net_worth: f64,
    /// Customer orders shipped.
    pub orders_shipped: u64,
    /// Customer orders lost.
    pub orders_expired: u64,
    /// Customer orders that wait.
    pub orders_open: u64,
}
