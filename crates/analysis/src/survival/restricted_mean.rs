//! Mean time without event up to a horizon: the area below the survival curve.

use serde::Serialize;

use super::curve::SurvivalCurve;
use crate::error::AnalysisError;
use crate::numeric::distribution::{normal_p, normal_width};

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

/// The area below the curve from 0 (or from its origin, if that is negative) to the horizon, with
/// the variance from Greenwood's formula. Time before the first entry counts as lived in full.
///
/// # Errors
/// The curve ends before the horizon, above 0; or the horizon is not after the origin.
pub fn restricted_mean(
    curve: &SurvivalCurve,
    horizon: f64,
) -> Result<RestrictedMean, AnalysisError> {
    let width = normal_width(curve.level)?;
    let (value, variance) = area(curve, horizon)?;
    Ok(with_interval(horizon, value, variance, width, f64::NAN))
}

/// `first` minus `second`, for independent curves. The level is that of the first curve.
///
/// # Errors
/// A curve ends before the horizon, above 0; or the horizon is not after an origin.
pub fn restricted_mean_difference(
    first: &SurvivalCurve,
    second: &SurvivalCurve,
    horizon: f64,
) -> Result<RestrictedMean, AnalysisError> {
    let width = normal_width(first.level)?;
    let (value, variance) = area(first, horizon)?;
    let (other, other_variance) = area(second, horizon)?;
    let (difference, variance) = (value - other, variance + other_variance);
    // Two curves without an event by the horizon: the difference is 0, and nothing is tested.
    let p = if variance > 0.0 { normal_p(difference / variance.sqrt()) } else { f64::NAN };
    Ok(with_interval(horizon, difference, variance, width, p))
}

fn with_interval(horizon: f64, value: f64, variance: f64, width: f64, p: f64) -> RestrictedMean {
    let se = variance.sqrt();
    RestrictedMean { horizon, value, se, lower: value - width * se, upper: value + width * se, p }
}

/// The area below the curve up to the horizon, and its variance: the sum over events of the squared
/// area after the event, times d / (n (n - d)).
fn area(curve: &SurvivalCurve, horizon: f64) -> Result<(f64, f64), AnalysisError> {
    let start = curve.origin.min(0.0);
    if !(horizon > curve.origin && horizon.is_finite()) {
        let text = format!("horizon: expected a time after {}, found {horizon}", curve.origin);
        return Err(AnalysisError::Usage(text));
    }
    if curve.at(horizon).is_none() {
        let last = curve.times.last().copied().unwrap_or(curve.origin);
        return Err(AnalysisError::NotEstimable(format!(
            "mean time up to {horizon}: the observation ends at {last}; use a horizon up to there"
        )));
    }
    let within = curve.times.partition_point(|time| *time <= horizon);
    let (mut value, mut variance) = (0.0, 0.0);
    let mut end = horizon;
    for time in (0..within).rev() {
        value += curve.survival[time] * (end - curve.times[time]);
        end = curve.times[time];
        let (n, d) = (curve.at_risk[time] as f64, curve.events[time] as f64);
        // After an event of all at risk nothing is left that could vary.
        if value > 0.0 && d > 0.0 {
            variance += value * value * d / (n * (n - d));
        }
    }
    Ok((value + end - start, variance))
}
