//! Regressions with cluster-robust errors: least squares, logit, instrumental variables.

use crate::AnalysisError;
use crate::inference::interval::{Caution, ConfidenceInterval};
use crate::survival::Covariates;
use serde::Serialize;

/// A coefficient with its cluster-robust error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegressionTerm {
    /// Name of the covariate, or `(intercept)`.
    pub name: String,
    pub estimate: f64,
    pub se: f64,
    /// estimate / se
    pub t: f64,
    /// Two-sided, from t(clusters - 1).
    pub p: f64,
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinearFit {
    /// The intercept, then the covariates in their order.
    pub terms: Vec<RegressionTerm>,
    /// Cluster-robust covariance of the coefficients, in the order of `terms`.
    pub covariance: Vec<Vec<f64>>,
    pub rows: usize,
    pub clusters: usize,
    pub r_squared: f64,
    /// Square root of the residual sum of squares over (rows - terms).
    pub residual_sd: f64,
    pub cautions: Vec<Caution>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogitFit {
    /// The intercept, then the covariates in their order; estimates are log odds ratios.
    pub terms: Vec<RegressionTerm>,
    /// Cluster-robust covariance of the coefficients, in the order of `terms`.
    pub covariance: Vec<Vec<f64>>,
    pub rows: usize,
    /// Rows with outcome 1.
    pub events: usize,
    pub clusters: usize,
    pub log_likelihood: f64,
    /// Log-likelihood of the intercept alone.
    pub log_likelihood_null: f64,
    pub iterations: usize,
    pub cautions: Vec<Caution>,
}

/// The first stage of two-stage least squares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstStage {
    /// Coefficients of the instruments.
    pub instruments: Vec<RegressionTerm>,
    /// Cluster-robust F of the instruments. Below 10 the instrument is weak (Staiger and Stock
    /// 1997).
    pub f: f64,
    /// Degrees of freedom: instruments, clusters - 1.
    pub df: (usize, usize),
    pub p: f64,
    /// Share of the endogenous variable's variance, left by the other covariates, that the
    /// instruments explain.
    pub partial_r_squared: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TwoStageFit {
    /// The intercept, the endogenous variable, then the exogenous covariates.
    pub terms: Vec<RegressionTerm>,
    /// Cluster-robust covariance of the coefficients, in the order of `terms`.
    pub covariance: Vec<Vec<f64>>,
    pub rows: usize,
    pub clusters: usize,
    pub first_stage: FirstStage,
    /// p that the endogenous variable has no effect, from the instruments in the reduced form
    /// (Anderson and Rubin 1949): valid with weak instruments too.
    pub p_anderson_rubin: f64,
    pub cautions: Vec<Caution>,
}

/// Values less the mean of their group: a regression of values demeaned within worlds has a fixed
/// effect for each world.
///
/// # Errors
/// Lengths that differ.
pub fn demean_within(values: &[f64], groups: &[u32]) -> Result<Vec<f64>, AnalysisError> {
    todo!()
}

/// Least squares with an intercept. Errors are CR1 (Liang and Zeger 1986, times G (n - 1) / ((G -
/// 1) (n - k))), tests and intervals use t(G - 1), G the number of clusters. Empty `clusters`: each
/// row is one.
///
/// # Errors
/// Lengths that differ, values that are not finite, fewer than two clusters, rows no more than
/// coefficients, a covariate that is constant or a combination of others, an exact fit.
pub fn ols(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
    level: f64,
) -> Result<LinearFit, AnalysisError> {
    todo!()
}

/// Logit by Newton's method, with an intercept. The sandwich of cluster scores is multiplied by G /
/// (G - 1); tests and intervals use t(G - 1).
///
/// # Errors
/// As [`ols`]; an outcome that is not 0 or 1 or does not vary; separation, named with its
/// covariates.
pub fn logit(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
    level: f64,
) -> Result<LogitFit, AnalysisError> {
    todo!()
}

/// Two-stage least squares of the outcome on one endogenous variable (the effective dose) and
/// exogenous covariates; `instruments` (`p_shock`) have no effect but through the former. Errors as
/// in [`ols`].
///
/// # Errors
/// As [`ols`]; no instrument; instruments without any relation to the endogenous variable.
pub fn two_stage_least_squares(
    outcome: &[f64],
    endogenous: (&str, &[f64]),
    instruments: &Covariates,
    exogenous: &Covariates,
    clusters: &[u32],
    level: f64,
) -> Result<TwoStageFit, AnalysisError> {
    todo!()
}
