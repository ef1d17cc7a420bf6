//! A shock as it is recorded, and the lasting effects that shocks leave in the world.

use crate::labels::labeled_enum;
use serde::Serialize;

labeled_enum!(/// What a shock disturbs: a delivery's time, its quantity, cause and effect, or a rule.
    ShockType { Temporal = "temporal", Quantity = "quantity", Causal = "causal", Rule = "rule" });

/// One shock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShockEvent {
    #[serde(rename = "type")]
    pub kind: ShockType,
    pub day: u64,
    /// What the shock changed; `None` where there was nothing to change.
    pub effect: Option<String>,
    /// Why there was nothing to change.
    #[serde(rename = "nothing")]
    pub no_effect: Option<&'static str>,
    /// The notice that the agent reads in the same step.
    #[serde(rename = "told")]
    pub notice: Option<String>,
}

/// Each order to one supplier delays the deliveries of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CausalLink {
    pub from: usize,
    pub to: usize,
    pub days: u64,
    pub until_day: u64,
}

/// The ledger shows income and payments some days late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateLedger {
    pub days: u64,
    pub until_day: u64,
}
