//! Harrell's concordance of scores and event times.

use serde::Serialize;

use super::risk_data::RiskData;
use crate::error::AnalysisError;

/// Pairs of an event and a row of its stratum at risk at that time that has no event then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Concordance {
    /// (concordant + tied / 2) / all pairs.
    pub value: f64,
    /// The row with the event has the higher score.
    pub concordant: u64,
    pub discordant: u64,
    pub tied: u64,
}

/// Concordance of scores (higher: earlier event) by row, as R's `concordance` of counting-process
/// data.
///
/// # Errors
/// The data are not valid, the lengths differ, or there is no comparable pair.
pub fn concordance(data: &RiskData, scores: &[f64]) -> Result<Concordance, AnalysisError> {
    todo!("{data:?} {scores:?}")
}
