//! How alike runs of one world are: intraclass correlation and the SD of worlds.

use crate::AnalysisError;
use crate::inference::bootstrap::BootstrapOptions;
use crate::inference::interval::{Caution, ConfidenceInterval};
use serde::Serialize;

/// Variance of a number between and within worlds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VarianceComponents {
    pub rows: usize,
    pub clusters: usize,
    pub mean: f64,
    /// SD of the worlds' true means, 0 if the mean squares say less than nothing.
    pub between_sd: f64,
    /// SD of runs of one world.
    pub within_sd: f64,
    /// between_sd^2 / (between_sd^2 + within_sd^2)
    pub icc: f64,
    /// Percentile intervals of the bootstrap over worlds; `None` if it was not possible.
    pub icc_interval: Option<ConfidenceInterval>,
    pub between_sd_interval: Option<ConfidenceInterval>,
    /// F test that worlds do not differ.
    pub f: f64,
    pub p: f64,
    pub cautions: Vec<Caution>,
}

/// Variance of a yes-no outcome between worlds, on the logit scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatentIcc {
    pub rows: usize,
    pub clusters: usize,
    /// Share of runs with the outcome.
    pub share: f64,
    /// Log odds in an average world.
    pub intercept: f64,
    /// SD of the worlds' log odds.
    pub world_sd: f64,
    /// world_sd^2 / (world_sd^2 + pi^2 / 3)
    pub icc: f64,
    /// Percentile intervals of the bootstrap over worlds; `None` if it was not possible.
    pub icc_interval: Option<ConfidenceInterval>,
    pub world_sd_interval: Option<ConfidenceInterval>,
    pub log_likelihood: f64,
    /// Likelihood ratio test of world_sd = 0, on the boundary: half of chi-square(1)'s tail.
    pub p: f64,
    pub cautions: Vec<Caution>,
}

/// One-way random effects analysis of variance, by mean squares (Searle, Casella and McCulloch 1992,
/// section 3.6; unequal numbers of runs allowed).
///
/// # Errors
/// Fewer than two worlds, no world with two runs, or values that are all equal.
pub fn icc_continuous(
    values: &[f64],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<VarianceComponents, AnalysisError> {
    todo!()
}

/// A logit model with a normal random intercept for each world, by maximum likelihood with adaptive
/// Gauss-Hermite quadrature of 25 points (Pinheiro and Bates 1995).
///
/// # Errors
/// Fewer than two worlds, no world with two runs, an outcome that does not vary, or one that varies
/// in no world (the SD has no upper bound).
pub fn icc_binary(
    outcome: &[bool],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<LatentIcc, AnalysisError> {
    todo!()
}
