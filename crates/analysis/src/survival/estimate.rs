//! Estimates of regression models, and warnings about them.

use nalgebra::DMatrix;
use serde::Serialize;

use crate::error::AnalysisError;
use crate::numeric::distribution::{
    chi_squared_p, f_p, normal_p, normal_width, student_p, student_width,
};

/// Standard errors that do not trust the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RobustErrors {
    /// Only the model's.
    None,
    /// Lin and Wei's (1989) sandwich summed within clusters, normal intervals; as R and lifelines.
    Plain,
    /// The sandwich times G / (G - 1) for G clusters, intervals and tests from t with G - 1 degrees
    /// of freedom. With few clusters the plain one is too narrow.
    #[default]
    SmallSample,
}

/// A coefficient of a model for the log hazard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coefficient {
    pub name: String,
    pub coef: f64,
    /// The model's standard error.
    pub se: f64,
    pub robust_se: Option<f64>,
    /// Confidence limits of `coef`, from the robust error if there is one.
    pub lower: f64,
    pub upper: f64,
    /// `coef` divided by its error, the robust one if there is one.
    pub statistic: f64,
    /// Of the two-sided test that `coef` is 0.
    pub p: f64,
    pub hazard_ratio: f64,
    pub hazard_ratio_lower: f64,
    pub hazard_ratio_upper: f64,
}

/// A weighted sum of coefficients: the log of the hazard ratio of two patterns of covariates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Contrast {
    pub value: f64,
    pub se: f64,
    pub lower: f64,
    pub upper: f64,
    pub p: f64,
}

/// A test of coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CoxTest {
    pub chi2: f64,
    pub df: usize,
    pub p: f64,
}

/// The distribution of an estimate divided by its error: normal, or Student's t.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReferenceDistribution {
    /// Errors on each side of an estimate in its interval.
    pub(super) width: f64,
    df: Option<f64>,
}

impl ReferenceDistribution {
    /// # Errors
    /// The level is not in (0, 1), or there are fewer than two clusters for robust errors.
    pub(super) fn new(
        level: f64,
        robust: RobustErrors,
        clusters: usize,
    ) -> Result<ReferenceDistribution, AnalysisError> {
        if robust != RobustErrors::None && clusters < 2 {
            let text = format!("robust errors need two or more clusters, found {clusters}");
            return Err(AnalysisError::NotEstimable(text));
        }
        if robust == RobustErrors::SmallSample {
            let df = clusters as f64 - 1.0;
            return Ok(ReferenceDistribution { width: student_width(level, df)?, df: Some(df) });
        }
        Ok(ReferenceDistribution { width: normal_width(level)?, df: None })
    }

    pub(super) fn p(self, statistic: f64) -> f64 {
        self.df.map_or_else(|| normal_p(statistic), |df| student_p(statistic, df))
    }

    /// A test of `df` coefficients at once: chi-squared, or F.
    pub(super) fn joint_test(self, chi2: f64, df: usize) -> CoxTest {
        let p = match self.df {
            None => chi_squared_p(chi2, df as f64),
            Some(clusters) => f_p(chi2 / df as f64, df as f64, clusters),
        };
        CoxTest { chi2, df, p }
    }

    pub(super) fn contrast(self, value: f64, se: f64) -> Contrast {
        let (lower, upper) = (value - self.width * se, value + self.width * se);
        Contrast { value, se, lower, upper, p: self.p(value / se) }
    }

    pub(super) fn coefficient(
        self,
        name: &str,
        coef: f64,
        se: f64,
        robust_se: Option<f64>,
    ) -> Coefficient {
        let Contrast { value, se: used, lower, upper, p } =
            self.contrast(coef, robust_se.unwrap_or(se));
        Coefficient {
            name: name.to_owned(),
            coef,
            se,
            robust_se,
            lower,
            upper,
            statistic: value / used,
            p,
            hazard_ratio: coef.exp(),
            hazard_ratio_lower: lower.exp(),
            hazard_ratio_upper: upper.exp(),
        }
    }
}

/// The sandwich: sums of score residuals (rows by coefficients) within clusters, numbered from 0 to
/// `count`, between two covariances.
pub(super) fn sandwich(
    scores: &DMatrix<f64>,
    covariance: &DMatrix<f64>,
    (clusters, count): (&[usize], usize),
    robust: RobustErrors,
) -> Option<DMatrix<f64>> {
    let correction = match robust {
        RobustErrors::None => return None,
        RobustErrors::Plain => 1.0,
        RobustErrors::SmallSample => count as f64 / (count as f64 - 1.0),
    };
    let mut sums = DMatrix::zeros(count, scores.ncols());
    for column in 0..scores.ncols() {
        for (row, cluster) in clusters.iter().enumerate() {
            sums[(*cluster, column)] += scores[(row, column)];
        }
    }
    let influence = sums * covariance;
    Some(influence.transpose() * influence * correction)
}

/// Square roots of the diagonal.
pub(super) fn standard_errors(covariance: &DMatrix<f64>) -> Vec<f64> {
    covariance.diagonal().iter().map(|variance| variance.max(0.0).sqrt()).collect()
}
