//! What accumulates over a run, as rows and records hold it.

use serde::{Deserialize, Serialize};

/// Accumulated errors of deliveries, by field: the sum, and the sum with a half-life of 50 steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ExposureRow {
    pub days: [f64; 2],
    pub quantity: [f64; 2],
    /// The parts of the sums of days and of quantity that shocks caused.
    pub induced: [f64; 2],
}

impl ExposureRow {
    /// Accumulated error of days and units.
    pub fn total(&self) -> f64 {
        self.days[0] + self.quantity[0]
    }
}

/// Numbers of shocks so far by type: temporal, quantity, causal, rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoseRow {
    pub drawn: [u64; 4],
    /// Shocks that changed something. Those drawn and not applied are pending.
    pub applied: [u64; 4],
    pub told: [u64; 4],
}
