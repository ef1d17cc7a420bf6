//! Coefficients of a regression with their cluster-robust tests.

use crate::AnalysisError;
use crate::inference::interval::{ConfidenceInterval, not_estimable};
use crate::numeric::distribution::{student_p, t_critical};
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// A robust error below this share of the classical one comes from rounding alone.
const SE_RATIO_MIN: f64 = 1e-7;

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

/// Coefficients with their tests. `classical` has the variances without regard to clusters.
///
/// # Errors
/// A robust error is 0 but for rounding: the covariate varies in a single cluster.
pub(super) fn terms(
    names: &[String],
    estimates: &DVector<f64>,
    covariance: &DMatrix<f64>,
    classical: &DMatrix<f64>,
    clusters: usize,
    level: f64,
) -> Result<Vec<RegressionTerm>, AnalysisError> {
    let df = clusters as f64 - 1.0;
    let critical = t_critical(level, df);
    let mut terms = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let (estimate, variance) = (estimates[at], covariance[(at, at)]);
        let least = SE_RATIO_MIN.powi(2) * classical[(at, at)];
        if !estimate.is_finite() || !variance.is_finite() || variance <= least {
            return Err(not_estimable(format!(
                "the worlds do not determine the error of {name}: it varies in one world alone, or \
                 the fit is exact"
            )));
        }
        let se = variance.sqrt();
        let (t, half) = (estimate / se, critical * se);
        let interval = ConfidenceInterval { low: estimate - half, high: estimate + half, level };
        let p = student_p(t, df);
        terms.push(RegressionTerm { name: name.clone(), estimate, se, t, p, interval });
    }
    Ok(terms)
}

/// Cluster-robust F statistic that the coefficients at `which` are all 0; `None` if there are too
/// few clusters for the number of coefficients.
pub(super) fn wald_f(
    estimates: &DVector<f64>,
    covariance: &DMatrix<f64>,
    which: &[usize],
    clusters: usize,
) -> Option<f64> {
    let q = which.len();
    if q == 0 || clusters <= q {
        return None;
    }
    let b = DVector::from_iterator(q, which.iter().map(|at| estimates[*at]));
    // Scaled to a correlation matrix, so that the test of definiteness does not depend on units.
    let sd: Vec<f64> = which.iter().map(|at| covariance[(*at, *at)].sqrt()).collect();
    let v = DMatrix::from_fn(q, q, |i, j| covariance[(which[i], which[j])] / (sd[i] * sd[j]));
    let b = DVector::from_iterator(q, b.iter().zip(&sd).map(|(value, sd)| value / sd));
    let cholesky = v.cholesky()?;
    if (0..q).any(|at| cholesky.l_dirty()[(at, at)] < 1e-7) {
        return None;
    }
    Some(b.dot(&cholesky.solve(&b)) / q as f64)
}
