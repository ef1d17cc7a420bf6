//! Mean time without event up to a horizon: the area below the survival curve.

use serde::Serialize;

use super::curve::SurvivalCurve;
use crate::error::AnalysisError;

/// A restricted mean survival time, or a difference of two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RestrictedMean {
    pub horizon: f64,
    pub value: f64,
    pub se: f64,
    pub lower: f64,
    pub upper: f64,
    /// Of the test that a difference is 0; NaN for a mean.
    pub p: f64,
}

/// The area below the curve from 0 to the horizon, the variance from Greenwood's formula.
///
/// # Errors
/// The curve ends before the horizon, above 0.
pub fn restricted_mean(
    curve: &SurvivalCurve,
    horizon: f64,
) -> Result<RestrictedMean, AnalysisError> {
    todo!("{curve:?} {horizon}")
}

/// `first` minus `second`, for independent curves.
///
/// # Errors
/// A curve ends before the horizon, above 0.
pub fn restricted_mean_difference(
    first: &SurvivalCurve,
    second: &SurvivalCurve,
    horizon: f64,
) -> Result<RestrictedMean, AnalysisError> {
    todo!("{first:?} {second:?} {horizon}")
}
