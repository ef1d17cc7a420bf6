//! Options and result of a Cox model.

use crate::fit_warning::FitWarning;
use nalgebra::{DMatrix, DVector};

use super::super::concordance::Concordance;
use super::super::estimate::{Coefficient, Contrast, CoxTest, ReferenceDistribution, RobustErrors};
use super::super::risk_data::RiskData;
use super::design::CoxDesign;
use crate::error::AnalysisError;
use crate::numeric::newton::inverse;

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
    pub(super) fitted: FittedDesign,
}

/// The sorted data at the estimate.
#[derive(Debug, Clone)]
pub(super) struct FittedDesign {
    pub(super) design: CoxDesign,
    /// Relative hazards of the design's rows.
    pub(super) risks: Vec<f64>,
    pub(super) ties: Ties,
    pub(super) reference: ReferenceDistribution,
    /// Of the data.
    pub(super) rows: usize,
    /// Start and stop of the rows of the data.
    pub(super) times: RiskData,
}

impl CoxFit {
    /// # Errors
    /// There is no coefficient of this name.
    pub fn coefficient(&self, name: &str) -> Result<&Coefficient, AnalysisError> {
        self.coefficients.iter().find(|coefficient| coefficient.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.coefficients.iter().map(|c| c.name.as_str()).collect();
            AnalysisError::NoColumn { name: name.to_owned(), found: names.join(", ") }
        })
    }

    /// The sum of coefficients with these weights, with the robust error if there is one.
    ///
    /// # Errors
    /// The number of weights is not that of coefficients.
    pub fn contrast(&self, weights: &[f64]) -> Result<Contrast, AnalysisError> {
        let (expected, found) = (self.coefficients.len(), weights.len());
        if found != expected {
            let text = format!("contrast: expected {expected} weights, found {found}");
            return Err(AnalysisError::Usage(text));
        }
        let weights = DVector::from_column_slice(weights);
        let value = self.coefficients.iter().zip(weights.iter()).map(|(c, w)| c.coef * w).sum();
        let variance = weights.dot(&(self.used_covariance() * &weights));
        Ok(self.fitted.reference.contrast(value, variance.max(0.0).sqrt()))
    }

    /// Wald's test that the coefficients at these positions are all 0, with the robust covariance
    /// if there is one; its p-value as that of [`CoxFit::robust_wald`].
    ///
    /// # Errors
    /// Their covariance has no inverse.
    pub fn wald_test(&self, positions: &[usize]) -> Result<CoxTest, AnalysisError> {
        let covariance = self.used_covariance();
        let length = positions.len();
        let part =
            DMatrix::from_fn(length, length, |i, j| covariance[(positions[i], positions[j])]);
        let information = inverse(&part).ok_or_else(|| {
            let text = "Wald test: the covariance of the coefficients has no inverse".to_owned();
            AnalysisError::NotEstimable(text)
        })?;
        let coefs =
            DVector::from_iterator(length, positions.iter().map(|p| self.coefficients[*p].coef));
        let chi2 = coefs.dot(&(information * &coefs));
        Ok(self.fitted.reference.joint_test(chi2, length))
    }

    /// The robust covariance if there is one, else the model's.
    pub fn used_covariance(&self) -> &DMatrix<f64> {
        self.robust_covariance.as_ref().unwrap_or(&self.covariance)
    }
}
