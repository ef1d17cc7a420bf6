//! The record of a shock, and the lasting effects of shocks in the world.

use crate::labels::labeled_enum;
use serde::Serialize;

labeled_enum!(/// What a shock changes: a delivery's day, its units, cause and effect, or a rule.
    ShockType { Temporal = "temporal", Quantity = "quantity", Causal = "causal", Rule = "rule" });

/// The record of one shock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShockEvent {
    #[serde(rename = "type")]
    pub kind: ShockType,
    pub day: u64,
    /// Description of the change; `None` if there was nothing to change.
    pub effect: Option<String>,
    /// Why there was nothing to change; `None` if there is an effect.
    #[serde(rename = "nothing")]
    pub no_effect: Option<&'static str>,
    /// The notice that the agent reads in the same step; `None` if it gets none or a delayed one.
    #[serde(rename = "told")]
    pub notice: Option<String>,
}

/// Until `until_day`, each order to supplier `from` delays the deliveries of supplier `to` by
/// `days`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalLink {
    pub from: usize,
    pub to: usize,
    pub days: u64,
    pub until_day: u64,
}

/// Until `until_day`, bookings appear in the ledger `days` days late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateLedger {
    pub days: u64,
    pub until_day: u64,
}
