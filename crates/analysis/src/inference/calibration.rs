//! Forecasts of an event, each a probability, against what happened.

use crate::AnalysisError;
use crate::inference::interval::{Caution, ConfidenceInterval};
use serde::Serialize;

/// How forecasts are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastBins {
    /// This many bins of equal width from 0 to 1; a forecast on an edge is in the bin above it.
    EqualWidth(usize),
    /// At most this many bins of about equal counts; equal forecasts are in one bin.
    EqualCount(usize),
    /// A bin for each distinct forecast.
    Distinct,
}

/// One bin of a reliability diagram. Bins without forecasts are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Range of forecasts that the bin covers.
    pub low: f64,
    pub high: f64,
    pub forecasts: usize,
    pub mean_forecast: f64,
    /// Share of events.
    pub share: f64,
    /// Wilson interval of the share, as if forecasts were independent.
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastCalibration {
    pub forecasts: usize,
    pub events: usize,
    pub mean_forecast: f64,
    /// Share of events.
    pub base_rate: f64,
    /// Mean of (forecast - outcome)^2.
    pub brier: f64,
    /// Brier score = reliability - resolution + uncertainty + within_bins (Murphy 1973; the last
    /// term, which is 0 if forecasts within a bin are equal, is of Stephenson et al. 2008).
    pub reliability: f64,
    pub resolution: f64,
    pub uncertainty: f64,
    pub within_bins: f64,
    /// 1 - Brier score / uncertainty: 0 for the base rate as forecast; `None` if all outcomes are
    /// equal.
    pub skill: Option<f64>,
    /// Mean over forecasts of |share of events - mean forecast| of their bin.
    pub expected_calibration_error: f64,
    /// Probability that an event had a higher forecast than a non-event, ties counted half; `None`
    /// if all outcomes are equal.
    pub auc: Option<f64>,
    pub bins: Vec<ReliabilityBin>,
    pub cautions: Vec<Caution>,
}

/// Calibration of forecasts. `outcomes[i]` is whether the event of `forecasts[i]` happened.
///
/// # Errors
/// No forecasts, a forecast outside [0, 1], lengths that differ, no bins, a bad level.
pub fn forecast_calibration(
    forecasts: &[f64],
    outcomes: &[bool],
    bins: ForecastBins,
    level: f64,
) -> Result<ForecastCalibration, AnalysisError> {
    todo!()
}
