//! Options and result of a Cox model.

use nalgebra::DMatrix;
use serde::Serialize;

use super::super::concordance::Concordance;
use super::super::estimate::{Coefficient, Contrast, FitWarning, RobustErrors};
use crate::error::AnalysisError;

/// Events at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    #[default]
    Efron,
    Breslow,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CoxOptions {
    /// Of intervals.
    pub level: f64,
    pub ties: Ties,
    pub robust: RobustErrors,
    /// The cause whose hazard is modelled, others are censored; `None`: any.
    pub cause: Option<u32>,
    /// Rows of a subject may follow its events.
    pub recurrent: bool,
    pub max_iterations: usize,
}

impl Default for CoxOptions {
    fn default() -> CoxOptions {
        CoxOptions {
            level: 0.95,
            ties: Ties::Efron,
            robust: RobustErrors::SmallSample,
            cause: None,
            recurrent: false,
            max_iterations: 50,
        }
    }
}

/// A test that all coefficients are 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CoxTest {
    pub chi2: f64,
    pub df: usize,
    pub p: f64,
}

#[derive(Debug, Clone)]
pub struct CoxFit {
    pub coefficients: Vec<Coefficient>,
    /// The model's, of the coefficients.
    pub covariance: DMatrix<f64>,
    pub robust_covariance: Option<DMatrix<f64>>,
    /// Log of the partial likelihood at the estimate, and at 0.
    pub log_likelihood: f64,
    pub null_log_likelihood: f64,
    pub likelihood_ratio: CoxTest,
    /// Wald's and the score test, of the model's covariance.
    pub wald: CoxTest,
    pub score: CoxTest,
    /// Wald's test of the robust covariance: chi-squared, or for
    /// [`RobustErrors::SmallSample`] F with `df` and G - 1 degrees of freedom.
    pub robust_wald: Option<CoxTest>,
    /// `None` if no two rows are comparable.
    pub concordance: Option<Concordance>,
    /// Of the partial likelihood.
    pub aic: f64,
    pub iterations: usize,
    pub rows: usize,
    pub subjects: usize,
    pub events: usize,
    pub clusters: usize,
    pub warnings: Vec<FitWarning>,
}

impl CoxFit {
    /// # Errors
    /// There is no coefficient of this name.
    pub fn coefficient(&self, name: &str) -> Result<&Coefficient, AnalysisError> {
        todo!("{name}")
    }

    /// The sum of coefficients with these weights, with the robust error if there is one.
    ///
    /// # Errors
    /// The number of weights is not that of coefficients.
    pub fn contrast(&self, weights: &[f64]) -> Result<Contrast, AnalysisError> {
        todo!("{weights:?}")
    }
}
