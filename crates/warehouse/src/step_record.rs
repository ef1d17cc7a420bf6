//! The record of one step: outcome, observation, errors, shocks, crashes and figures.

use crate::detect::{Crash, DetectorStep};
use crate::labels::labeled_enum;
use crate::pe::{PeScales, PerKind, PredictionPair};
use crate::shock_event::ShockEvent;
use serde::Serialize;
use serde_json::Value;

labeled_enum!(/// How an episode ended.
EpisodeEnd {
    /// All steps were taken.
    Horizon = "horizon",
    /// No cash, no stock to sell, no supplier order in transit.
    Ruin = "ruin",
    /// Too many customer orders expired.
    Expired = "expired",
    /// The steps allowed after a crash ran out.
    Crash = "crash",
});

/// Everything that one step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    /// Counted from 1.
    pub step: u64,
    /// The day on which the step was taken, from 1.
    pub day: u64,
    /// Whether the call succeeded.
    pub success: bool,
    /// Why the call failed.
    pub failure: Option<String>,
    /// The tool's answer, as data.
    pub result: Value,
    /// The text that the agent reads next: answer, news and state.
    pub observation: String,
    /// Errors that became known in this step: the mean by kind, null where none did.
    pub pe: PerKind<Option<f64>>,
    pub pairs: Vec<PredictionPair>,
    /// EWMA and windows after this step.
    pub scales: PerKind<PeScales>,
    pub shocks: Vec<ShockEvent>,
    pub detector: DetectorStep,
    /// Crashes of detectors that fired for the first time.
    pub crashes: Vec<Crash>,
    /// Set in the last record.
    pub ending: Option<EpisodeEnd>,
    /// Figures after the step.
    pub totals: Totals,
}

/// A world in figures. Money is in units with two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Totals {
    /// From 1.
    pub day: u64,
    /// Cash.
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
