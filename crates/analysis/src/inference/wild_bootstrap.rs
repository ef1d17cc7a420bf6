//! The wild cluster bootstrap, for tests with few clusters (worlds).

use crate::AnalysisError;
use crate::inference::interval::Caution;
use crate::survival::Covariates;
use serde::Serialize;

/// Random factors of the clusters' residuals or scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WildWeights {
    /// -1 or 1.
    Rademacher,
    /// Six values (Webb 2023), for fewer than about 10 clusters, where signs are too few.
    Webb,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WildOptions {
    pub weights: WildWeights,
    /// Number of drawn weight vectors, such as 9,999.
    pub replicates: usize,
    /// All 2^G sign vectors are enumerated instead if there are at most so many.
    pub exact_max: u64,
    pub seed: u64,
    pub level: f64,
}

/// Test of one coefficient of a linear model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WildBootstrap {
    pub name: String,
    pub estimate: f64,
    /// Cluster-robust (CR1).
    pub se: f64,
    /// estimate / se
    pub t: f64,
    /// Two-sided p that the coefficient is 0.
    pub p: f64,
    /// Monte Carlo standard error of p, 0 if exact.
    pub p_error: f64,
    /// Bounds of the values that the test does not reject; `None`: no bound on this side.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub level: f64,
    pub clusters: usize,
    /// All sign vectors were enumerated.
    pub exact: bool,
    /// Weight vectors enumerated or drawn.
    pub replicates: u64,
    pub cautions: Vec<Caution>,
}

/// Test of one coefficient of a model that has scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreBootstrap {
    /// Effective score over its cluster-robust error; positive if the coefficient is above its value
    /// under the null hypothesis.
    pub statistic: f64,
    /// One Newton step from the null value: about the estimate minus that value.
    pub one_step: f64,
    /// Two-sided.
    pub p: f64,
    /// Monte Carlo standard error of p, 0 if exact.
    pub p_error: f64,
    pub clusters: usize,
    /// All sign vectors were enumerated.
    pub exact: bool,
    /// Weight vectors enumerated or drawn.
    pub replicates: u64,
    pub cautions: Vec<Caution>,
}

/// Wild cluster bootstrap of the t statistic with residuals of the restricted model (Cameron,
/// Gelbach and Miller 2008; the fast form is of Roodman et al. 2019). The model is that of
/// [`crate::inference::ols`]; `which` is the index of the tested covariate. The interval inverts the
/// test.
///
/// # Errors
/// As [`crate::inference::ols`]; `which` is no covariate.
pub fn wild_cluster_bootstrap(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
    which: usize,
    options: &WildOptions,
) -> Result<WildBootstrap, AnalysisError> {
    todo!()
}

/// Score bootstrap (Kline and Santos 2012). `cluster_scores` has for each cluster the sum of its
/// rows' scores (k values), `information` is the observed information (k x k), both at the
/// estimates under the null hypothesis on coefficient `which`: the other coefficients at their
/// restricted maximum. Rademacher weights; all are enumerated if 2^G is at most `replicates` + 1 or
/// 4,096.
///
/// # Errors
/// Fewer than two clusters, shapes that differ, an information matrix that is not positive definite,
/// scores of the other coefficients that do not sum to 0.
pub fn score_wild_bootstrap(
    cluster_scores: &[Vec<f64>],
    information: &[Vec<f64>],
    which: usize,
    seed: u64,
    replicates: usize,
) -> Result<ScoreBootstrap, AnalysisError> {
    todo!()
}
