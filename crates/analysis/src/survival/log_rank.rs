//! The log-rank test of k groups (Mantel 1966), stratified, with late entries.

use serde::Serialize;

use super::risk_data::RiskData;
use crate::error::AnalysisError;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRank {
    pub chi2: f64,
    pub df: usize,
    pub p: f64,
    /// The groups, sorted; `observed` and `expected` have one element for each.
    pub groups: Vec<u32>,
    pub observed: Vec<f64>,
    pub expected: Vec<f64>,
}

/// Tests that the hazards of all groups are equal at all times. `groups` has one element a row.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there are fewer than two groups, or at no event
/// are two groups at risk.
pub fn log_rank(data: &RiskData, groups: &[u32]) -> Result<LogRank, AnalysisError> {
    todo!("{data:?} {groups:?}")
}
