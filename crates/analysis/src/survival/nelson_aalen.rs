//! The cumulative hazard (Nelson 1969, Aalen 1978).

use serde::Serialize;

use super::risk_data::RiskData;
use crate::error::AnalysisError;

/// How events at the same time count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HazardTies {
    /// As simultaneous: d / n.
    #[default]
    Simultaneous,
    /// As one after the other: 1 / n + 1 / (n - 1) + ... (Fleming and Harrington 1984; lifelines'
    /// default).
    Successive,
}

/// Cumulative hazard by time: one element for each time at which a subject has an event or leaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CumulativeHazard {
    pub level: f64,
    pub times: Vec<f64>,
    pub at_risk: Vec<u64>,
    pub events: Vec<u64>,
    pub hazard: Vec<f64>,
    pub se: Vec<f64>,
    /// Log band: hazard times exp(+-z se / hazard).
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// The cumulative hazard of an event of any cause. Subjects may have several events: then it is the
/// mean number of events of a subject under observation, and the band assumes independence.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), or the level is not in (0, 1).
pub fn nelson_aalen(
    data: &RiskData,
    ties: HazardTies,
    level: f64,
) -> Result<CumulativeHazard, AnalysisError> {
    todo!("{data:?} {ties:?} {level}")
}
