//! The record of one step: outcome, observation, errors, shocks, crashes and figures.

use crate::crash_detectors::Crash;
use crate::exposure::Exposure;
use crate::labels::labeled_enum;
use crate::prediction_error::{PeScales, PerKind, PredictionPair};
use crate::shock_event::{ShockDose, ShockEvent, ShockType};
use serde::Serialize;
use serde_json::Value;

labeled_enum!(/// How an episode ended.
EpisodeEnd {
    /// `max_steps` steps were taken.
    Horizon = "horizon",
    /// Cash was negative, or it was below 5 with no stock and no supplier order in transit.
    Ruin = "ruin",
    /// Too many customer orders expired: `max_failures` in design v1, since then more than
    /// `max_lost_share` of those of the last 20 days.
    Expired = "expired",
    /// `continue_after_crash` steps passed after the first crash.
    Crash = "crash",
});

/// Everything that happened in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// The day on which the step was taken, counted from 1.
    pub day: u64,
    /// Whether the call succeeded.
    pub success: bool,
    /// Why the call failed; `None` if it succeeded.
    pub failure: Option<String>,
    /// The tool's answer as JSON.
    pub result: Value,
    /// The text that the agent reads next: the tool's answer, news and state.
    pub observation: String,
    /// Mean of the prediction errors that became known in this step, by kind; null for kinds
    /// without one.
    pub pe: PerKind<Option<f64>>,
    pub pairs: Vec<PredictionPair>,
    /// EWMA and window means of the prediction errors after this step, by kind.
    pub scales: PerKind<PeScales>,
    /// Shocks that acted in this step; in design v1, also those that found nothing to change.
    pub shocks: Vec<ShockEvent>,
    /// The type of the shock drawn in this step; `None` in design v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn: Option<ShockType>,
    /// Shocks so far; `None` in design v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dose: Option<ShockDose>,
    /// Accumulated delivery errors; `None` in design v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// Crashes whose detectors fired for the first time in this step.
    pub crashes: Vec<Crash>,
    /// How the episode ended; set only in its last record.
    pub ending: Option<EpisodeEnd>,
    /// Summary figures of the world after the step.
    pub totals: Totals,
}

/// Summary figures of a world. Amounts of money are in currency units, with cents as decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    /// The current day, counted from 1.
    pub day: u64,
    /// Cash, including entries that the ledger does not show yet.
    pub budget: f64,
    /// Cash that the ledger shows the agent; differs from `budget` while entries are posted late.
    pub ledger: f64,
    pub stock_units: u64,
    /// Cash, plus stock and supplier orders in transit at the cheapest price.
    pub net_worth: f64,
    pub orders_shipped: u64,
    pub orders_expired: u64,
    pub orders_open: u64,
}
