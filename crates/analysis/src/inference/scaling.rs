//! Time to an event against model size: a censored lognormal regression.

use crate::AnalysisError;
use crate::inference::bootstrap::{BootstrapEstimate, BootstrapOptions};
use crate::inference::interval::Caution;
use crate::survival::Covariates;
use serde::Serialize;

/// Times of runs, one element a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CensoredTimes<'a> {
    /// Time of the event, or until which there was none; above 0.
    pub times: &'a [f64],
    /// Whether the event happened; else the time is a lower bound.
    pub observed: &'a [bool],
}

/// ln(time) = intercept + coefficients * covariates + sigma * normal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LognormalFit {
    /// `(intercept)`, then the names of the covariates.
    pub names: Vec<String>,
    /// In the order of `names`.
    pub estimates: Vec<f64>,
    /// Standard errors from the observed information, as if runs were independent.
    pub se: Vec<f64>,
    /// SD of ln(time) around the line.
    pub sigma: f64,
    pub log_likelihood: f64,
    pub rows: usize,
    pub events: usize,
    pub iterations: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingFit {
    /// d ln(time) / d ln(parameters), with intervals of the bootstrap over worlds.
    pub exponent: BootstrapEstimate,
    /// Factor of the time when the parameters are tenfold.
    pub tenfold_ratio: BootstrapEstimate,
    /// Median time by distinct size, in rising order: (parameters, median time).
    pub medians: Vec<(f64, BootstrapEstimate)>,
    pub fit: LognormalFit,
    pub cautions: Vec<Caution>,
}

/// Maximum likelihood of a lognormal regression with right-censored times, by Newton's method in
/// Olsen's parameters, in which the log-likelihood is concave (Olsen 1978).
///
/// # Errors
/// Lengths that differ, times not above 0, events no more than coefficients, a covariate that is
/// constant or a combination of others, events on an exact line, no finite maximum.
pub fn censored_lognormal(
    data: CensoredTimes<'_>,
    covariates: &Covariates,
) -> Result<LognormalFit, AnalysisError> {
    todo!()
}

/// Scaling of the time with the number of parameters of the model: `parameters` has that number for
/// each run, `clusters` its world.
///
/// # Errors
/// As [`censored_lognormal`]; fewer than two distinct sizes; as
/// [`crate::inference::cluster_bootstrap`].
pub fn scaling_law(
    data: CensoredTimes<'_>,
    parameters: &[f64],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<ScalingFit, AnalysisError> {
    todo!()
}
