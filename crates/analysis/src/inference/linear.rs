//! Least squares with cluster-robust errors.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::design::{
    DesignMatrix, cluster_meat, cr1_factor, inverse_gram, leverage_cautions, to_rows,
};
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::inference::terms::{RegressionTerm, terms};
use crate::numeric::distribution::check_level;
use crate::survival::Covariates;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

/// A residual sum of squares below this share of the total one is an exact fit.
const EXACT_FIT_MAX: f64 = 1e-20;

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
    pub warnings: Vec<FitWarning>,
}

/// Values less the mean of their group: a regression of values demeaned within worlds has a fixed
/// effect for each world.
///
/// # Errors
/// Lengths that differ.
pub fn demean_within(values: &[f64], groups: &[u32]) -> Result<Vec<f64>, AnalysisError> {
    check_lengths(("the groups", groups.len()), ("the values", values.len()))?;
    let mut demeaned = values.to_vec();
    for rows in ClusterIndex::new(groups).members {
        let mean = rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len() as f64;
        for row in rows {
            demeaned[row] -= mean;
        }
    }
    Ok(demeaned)
}

/// Least squares with an intercept. Errors are CR1: the sandwich of cluster scores (Liang and Zeger
/// 1986) times `G (n - 1) / ((G - 1) (n - k))`. Tests and intervals use t(G - 1), G the number of
/// clusters. Empty `clusters`: each row is one.
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
    check_level(level)?;
    let fit = LeastSquares::new(outcome, covariates, clusters)?;
    let to_given = fit.design.to_given_units();
    let estimates = &to_given * &fit.coefficients;
    let covariance = &to_given * &fit.covariance * to_given.transpose();
    let classical = &to_given * &fit.classical * to_given.transpose();
    let groups = fit.clusters.len();
    Ok(LinearFit {
        terms: terms(&fit.design.names, &estimates, &covariance, &classical, groups, level)?,
        covariance: to_rows(&covariance),
        rows: outcome.len(),
        clusters: groups,
        r_squared: 1.0 - fit.residual_squares / fit.total_squares,
        residual_sd: fit.residual_sd(),
        warnings: fit.warnings(),
    })
}

/// The estimates of [`ols`] alone, in the order of its terms, for resamples.
pub(super) fn ols_estimates(
    outcome: &[f64],
    covariates: &Covariates,
) -> Result<DVector<f64>, AnalysisError> {
    let design = DesignMatrix::new(covariates, outcome.len())?;
    let y = DVector::from_column_slice(outcome);
    let coefficients = inverse_gram(&design.z)? * (design.z.transpose() * y);
    Ok(design.to_given_units() * coefficients)
}

/// Least squares on the standardized covariates.
pub(super) struct LeastSquares {
    pub design: DesignMatrix,
    pub clusters: ClusterIndex,
    /// (Z'Z)^-1
    pub bread: DMatrix<f64>,
    pub coefficients: DVector<f64>,
    /// CR1 covariance of `coefficients`.
    pub covariance: DMatrix<f64>,
    /// Covariance of independent errors of equal variance.
    pub classical: DMatrix<f64>,
    pub residual_squares: f64,
    pub total_squares: f64,
}

impl LeastSquares {
    pub fn new(
        outcome: &[f64],
        covariates: &Covariates,
        clusters: &[u32],
    ) -> Result<LeastSquares, AnalysisError> {
        let (rows, design, clusters) = prepared(outcome, covariates, clusters)?;
        let bread = inverse_gram(&design.z)?;
        let y = DVector::from_column_slice(outcome);
        let coefficients = &bread * (design.z.transpose() * &y);
        let residuals = &y - &design.z * &coefficients;
        let mean = y.mean();
        let total_squares: f64 = y.iter().map(|value| (value - mean).powi(2)).sum();
        let residual_squares = residuals.norm_squared();
        check_spread(residual_squares, total_squares, mean)?;
        let meat = cluster_meat(&design.z, residuals.as_slice(), &clusters);
        let factor = cr1_factor(clusters.len(), rows, design.columns());
        let covariance = &bread * meat * &bread * factor;
        let classical = &bread * (residual_squares / (rows - design.columns()) as f64);
        Ok(LeastSquares {
            design,
            clusters,
            bread,
            coefficients,
            covariance,
            classical,
            residual_squares,
            total_squares,
        })
    }

    fn warnings(&self) -> Vec<FitWarning> {
        let few = FitWarning::few_worlds(self.clusters.len());
        let leverage = leverage_cautions(&self.design, &self.bread, &self.clusters);
        few.into_iter().chain(leverage).collect()
    }

    fn residual_sd(&self) -> f64 {
        (self.residual_squares / (self.design.rows() - self.design.columns()) as f64).sqrt()
    }
}

/// The checked parts of a regression: rows, design and clusters.
pub(super) fn prepared(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
) -> Result<(usize, DesignMatrix, ClusterIndex), AnalysisError> {
    check_finite("outcome", outcome)?;
    let rows = outcome.len();
    let clusters = ClusterIndex::of_rows(clusters, rows)?;
    Ok((rows, DesignMatrix::new(covariates, rows)?, clusters))
}

/// # Errors
/// The outcome does not vary, or is an exact function of the covariates.
pub(super) fn check_spread(residual: f64, total: f64, mean: f64) -> Result<(), AnalysisError> {
    if total <= 1e-24 * mean * mean {
        return Err(not_estimable("the outcome does not vary: there is nothing to explain"));
    }
    if residual <= EXACT_FIT_MAX * total {
        return Err(not_estimable("the covariates fit the outcome exactly: errors are 0"));
    }
    Ok(())
}
