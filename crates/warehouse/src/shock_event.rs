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
    /// The step in which the shock was drawn; it acts in the step of its row. `None` in design v1,
    /// where the two are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn_step: Option<u64>,
    pub day: u64,
    /// Description of the change; `None` if nothing was changed.
    pub effect: Option<String>,
    /// Why nothing was changed; `None` if there is an effect.
    #[serde(rename = "nothing")]
    pub no_effect: Option<&'static str>,
    /// The notice that the agent reads in the same step; `None` if it gets none or a delayed one.
    #[serde(rename = "told")]
    pub notice: Option<String>,
}

/// Shocks of a run so far, by type in the order of [`ShockType::ALL`]. Those drawn and not applied
/// are pending; a sham shock is announced and never applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ShockDose {
    pub drawn: [u64; 4],
    pub applied: [u64; 4],
    /// Shocks of which the agent was told, if only that something has changed.
    pub told: [u64; 4],
}

impl ShockDose {
    /// Number of shocks that changed something.
    pub fn total(&self) -> u64 {
        self.applied.iter().sum()
    }
}

/// A shock that waits for something that it can change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingShock {
    pub kind: ShockType,
    pub drawn_step: u64,
}

/// A notice that the agent is shown on a later day.
#[derive(Debug, Clone)]
pub(crate) struct DelayedNotice {
    pub day: u64,
    pub kind: ShockType,
    pub text: String,
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
