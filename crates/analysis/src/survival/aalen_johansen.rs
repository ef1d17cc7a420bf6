//! Cumulative incidence of competing causes (Aalen and Johansen 1978).

use serde::Serialize;

use super::risk_data::RiskData;
use crate::error::AnalysisError;

/// Incidence by time: one element for each time at which a subject has an event or leaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CumulativeIncidence {
    pub level: f64,
    pub times: Vec<f64>,
    pub at_risk: Vec<u64>,
    /// Share without an event of any cause.
    pub survival: Vec<f64>,
    /// By cause, ascending.
    pub causes: Vec<CauseIncidence>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseIncidence {
    pub cause: u32,
    pub events: Vec<u64>,
    /// Probability of an event of this cause up to the time, in the presence of the others.
    pub incidence: Vec<f64>,
    pub variance: Vec<f64>,
    /// Log-log band; both limits equal the incidence before the first event.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

impl CumulativeIncidence {
    /// # Errors
    /// No subject has an event of this cause.
    pub fn cause(&self, cause: u32) -> Result<&CauseIncidence, AnalysisError> {
        todo!("{cause}")
    }

    /// Incidence of a cause at `time` as (value, lower, upper); `None` after the last time, unless
    /// all subjects have had an event.
    pub fn at(&self, cause: u32, time: f64) -> Option<(f64, f64, f64)> {
        todo!("{cause} {time}")
    }
}

/// Incidence of all causes. Events at the same time are exact, without jitter.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there is no event, or the level is not in
/// (0, 1).
pub fn aalen_johansen(data: &RiskData, level: f64) -> Result<CumulativeIncidence, AnalysisError> {
    todo!("{data:?} {level}")
}
