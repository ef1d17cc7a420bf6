//! What results of several methods share: an interval, and a caution beside a result.

use serde::Serialize;

/// A confidence interval, both bounds of which are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConfidenceInterval {
    pub low: f64,
    pub high: f64,
    /// The level aimed at, such as .95.
    pub level: f64,
}

/// Why a result is to be read with care. The result holds, under a condition that the text names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Caution {
    /// A stable name: `few_worlds`, `few_events`, `weak_instrument`.
    pub code: &'static str,
    pub text: String,
}
