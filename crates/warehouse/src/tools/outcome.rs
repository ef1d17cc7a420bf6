//! Outcome of a tool call.

use crate::prediction_error::Truth;
use serde_json::{Value, json};

/// Outcome of a call, or the reason why it failed, as the agent reads it.
pub(super) type ToolResult = Result<CallOutcome, String>;

/// Outcome of a tool call.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallOutcome {
    pub success: bool,
    pub failure: Option<String>,
    pub result: Value,
    /// Cents charged for the call.
    pub cost_cents: i64,
    /// The part of `cost_cents` that shocks added.
    pub added_cost_cents: i64,
    /// Price of one unit of an order, in currency units.
    pub unit_price: Option<Truth>,
    /// Whether a shock made a legal call fail.
    pub refused: bool,
    /// Id of the supplier order that the call placed.
    pub ordered: Option<u64>,
    /// Whether the call was an order that failed because it cost more than the cash, and more than
    /// the ledger showed.
    pub unaffordable: bool,
    pub ends_day: bool,
}

impl CallOutcome {
    pub(crate) fn failed(reason: String) -> CallOutcome {
        CallOutcome {
            result: json!({"error": reason}),
            failure: Some(reason),
            ..CallOutcome::default()
        }
    }

    pub(super) fn done(result: Value) -> CallOutcome {
        CallOutcome { success: true, result, ..CallOutcome::default() }
    }
}
