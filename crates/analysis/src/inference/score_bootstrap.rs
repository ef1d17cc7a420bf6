//! The score bootstrap, for tests of models that have scores, with few clusters (worlds).

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::interval::{check_lengths, not_estimable};
use crate::inference::wild_weights::{WeightVectors, WildWeights};
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// 2^12: up to this number, all sign vectors are enumerated.
const EXACT_MIN: u64 = 4096;
/// Sums of scores that are 0 at a restricted maximum, in units of their standard deviation.
const SCORE_MAX: f64 = 1e-3;
/// Statistics that differ by less than this share are equal.
const TIE: f64 = 1e-10;

/// Test of one coefficient of a model that has scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreBootstrap {
    /// Effective score over its cluster-robust error; positive if the coefficient is above its
    /// value under the null hypothesis.
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
    /// Sign vectors enumerated or drawn.
    pub replicates: u64,
    pub warnings: Vec<FitWarning>,
}

/// Score bootstrap (Kline and Santos 2012) with Rademacher weights, which flips the signs of the
/// clusters' effective scores. `cluster_scores` has for each cluster the sum of its rows' scores (k
/// values), `information` is the observed information (k x k), both at the estimates under the null
/// hypothesis on coefficient `which`: the other coefficients at their restricted maximum. All signs
/// are enumerated if 2^G is at most `replicates` + 1 or 4,096.
///
/// # Errors
/// Fewer than two clusters, shapes that differ, values that are not finite, an information matrix
/// that is not positive definite, scores of the other coefficients that do not sum to 0, scores of
/// `which` that are all 0.
pub fn score_wild_bootstrap(
    cluster_scores: &[Vec<f64>],
    information: &[Vec<f64>],
    which: usize,
    seed: u64,
    replicates: usize,
) -> Result<ScoreBootstrap, AnalysisError> {
    check_shapes(cluster_scores, information, which)?;
    if replicates == 0 {
        return Err(AnalysisError::Usage("expected at least one replicate".to_owned()));
    }
    let influences = influences(cluster_scores, information, which)?;
    let one_step: f64 = influences.iter().sum();
    let error = influences.iter().map(|value| value * value).sum::<f64>().sqrt();
    if error <= 0.0 {
        return Err(not_estimable("the worlds have no information on the coefficient"));
    }
    let exact_max = EXACT_MIN.max(replicates as u64 + 1);
    let clusters = cluster_scores.len();
    let vectors =
        WeightVectors::new(clusters, WildWeights::Rademacher, replicates, exact_max, seed);
    // The spread of flipped scores is that of the scores, so that sums compare as t statistics do.
    let least = one_step.abs() - TIE * error;
    let p = vectors.p(|signs| {
        let sum: f64 = signs.iter().zip(&influences).map(|(sign, value)| sign * value).sum();
        sum.abs() >= least
    });
    Ok(ScoreBootstrap {
        statistic: one_step / error,
        one_step,
        p,
        p_error: vectors.p_error(p),
        clusters,
        exact: vectors.exact,
        replicates: vectors.number,
        warnings: vectors.warnings(),
    })
}

fn check_shapes(
    cluster_scores: &[Vec<f64>],
    information: &[Vec<f64>],
    which: usize,
) -> Result<(), AnalysisError> {
    let k = information.len();
    if which >= k {
        let text = format!("coefficient {which} of {k}: expected an index below {k}");
        return Err(AnalysisError::Usage(text));
    }
    for row in information {
        check_lengths(("a row of the information", row.len()), ("the information", k))?;
    }
    for scores in cluster_scores {
        check_lengths(("the scores of a cluster", scores.len()), ("the information", k))?;
    }
    let values = cluster_scores.iter().chain(information).flatten();
    if values.into_iter().any(|value| !value.is_finite()) {
        return Err(not_estimable("a score or the information is not finite"));
    }
    if cluster_scores.len() < 2 {
        let text = format!("{} worlds: errors need at least two", cluster_scores.len());
        return Err(not_estimable(text));
    }
    Ok(())
}

/// Each cluster's part of the Newton step of coefficient `which`: its effective score, that is the
/// score less its projection on those of the other coefficients, over the effective information.
fn influences(
    cluster_scores: &[Vec<f64>],
    information: &[Vec<f64>],
    which: usize,
) -> Result<Vec<f64>, AnalysisError> {
    let k = information.len();
    let sd: Vec<f64> = (0..k).map(|at| information[at][at].sqrt()).collect();
    let indefinite = || {
        not_estimable("the information is not positive definite: a coefficient is not determined")
    };
    if sd.iter().any(|sd| sd.is_nan() || *sd <= 0.0) {
        return Err(indefinite());
    }
    for at in (0..k).filter(|at| *at != which) {
        let sum: f64 = cluster_scores.iter().map(|scores| scores[at]).sum();
        if sum.abs() > SCORE_MAX * sd[at] {
            let text = format!(
                "scores of coefficient {at} sum to {sum}, expected 0: the scores have to be those \
                 of the fit under the null hypothesis on coefficient {which}"
            );
            return Err(AnalysisError::Usage(text));
        }
    }
    // As a correlation matrix, so that the test of definiteness does not depend on units.
    let scaled = DMatrix::from_fn(k, k, |i, j| information[i][j] / (sd[i] * sd[j]));
    let cholesky = scaled.cholesky().ok_or_else(indefinite)?;
    if (0..k).any(|at| cholesky.l_dirty()[(at, at)] < 1e-7) {
        return Err(indefinite());
    }
    let mut unit = DVector::<f64>::zeros(k);
    unit[which] = 1.0;
    let row = cholesky.solve(&unit);
    let influence = |scores: &Vec<f64>| {
        let sum: f64 = (0..k).map(|at| row[at] * scores[at] / sd[at]).sum();
        sum / sd[which]
    };
    Ok(cluster_scores.iter().map(influence).collect())
}
