use crate::card::{Card, CardProblem};
use crate::detect::{Crash, DetectorStep};
use crate::labels::labeled_enum;
use crate::pe::{PeScales, PerKind, PredictionPair};
use crate::shock::ShockEvent;
use crate::tools::ToolCall;
use serde::Serialize;
use serde_json::Value;

/// What an agent does in one step. A reply that is no call is an outcome of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The call, or the kind of the failure to make one (`invalid_json`, `cut_off`, ...).
    pub call: Result<ToolCall, String>,
    /// The card, or why there is none.
    pub card: Result<Card, CardProblem>,
    /// The tool that the agent's own words announced, if they announced one.
    pub plan: Option<String>,
    /// Similarity of the agent's summary of the state to its earlier ones, from embeddings, where
    /// they are taken.
    pub similarity: Option<f64>,
}

/// Tools that only look: they cost nothing and order nothing.
const LOOKS: [&str; 5] =
    ["quote", "check_inbox", "check_storage", "check_budget", "read_scratchpad"];

impl Turn {
    /// A call with its card.
    pub fn new(call: Result<ToolCall, String>, card: Result<Card, CardProblem>) -> Turn {
        Turn { call, card, plan: None, similarity: None }
    }

    /// Whether the action contradicts the card or the plan; none where neither says anything about
    /// it. A card contradicts an action that it expects to fail, an order that it expects to
    /// cost or bring nothing, and a look that it expects to cost.
    pub fn contradicts(&self) -> Option<bool> {
        let call = self.call.as_ref().ok()?;
        let planned = self.plan.as_ref().map(|plan| *plan != call.tool);
        let card = self.card.as_ref().ok();
        let fails = card.and_then(|card| card.success).map(|expects| !expects);
        let costs = card.and_then(|card| match call.tool.as_str() {
            "order" if card.cost == Some(0.0) || card.quantity == Some(0.0) => Some(true),
            tool if LOOKS.contains(&tool) && card.cost.is_some_and(|cost| cost > 0.0) => Some(true),
            _ => None,
        });
        [planned, fails, costs].into_iter().flatten().reduce(|a, b| a || b)
    }
}

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
    /// Why it failed.
    pub failure: Option<String>,
    /// What the tool answered, as data.
    pub result: Value,
    /// What the agent is shown: the result, news, and what is open.
    pub observation: String,
    /// Errors that became known in this step: the mean by type, null where none did.
    pub pe: PerKind<Option<f64>>,
    /// Every scored field.
    pub pairs: Vec<PredictionPair>,
    /// EWMA and windows after this step.
    pub scales: PerKind<PeScales>,
    /// ShockConfig of this step.
    pub shocks: Vec<ShockEvent>,
    /// What the detectors look at.
    pub detector: DetectorStep,
    /// Detectors that fired for the first time.
    pub crashes: Vec<Crash>,
    /// The end, in the last record.
    pub ending: Option<EpisodeEnd>,
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
    /// Cash as the ledger shows it, and so the agent; differs where entries are posted late.
    pub ledger: f64,
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
