//! Hazards of grouped time: complementary log-log regression (Prentice and Gloeckler 1978).

use nalgebra::DMatrix;

use super::estimate::{Coefficient, FitWarning, RobustErrors};
use super::risk_data::{Covariates, RiskData};
use crate::error::AnalysisError;

/// What is known of the time of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EventTime {
    /// The event is in (stop - width, stop]: time in steps of one width.
    Within(f64),
    /// The event is in the bin of `stop`.
    InBin,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DiscreteOptions {
    pub level: f64,
    pub event_time: EventTime,
    pub robust: RobustErrors,
    /// The cause whose hazard is modelled; `None`: any.
    pub cause: Option<u32>,
    /// Rows of a subject may follow its events.
    pub recurrent: bool,
}

/// Fitted hazard per unit of time `exp(bin + x' coef)`.
#[derive(Debug, Clone)]
pub struct DiscreteFit {
    /// Log of the hazard per unit of time of each bin, at covariates of 0.
    pub bins: Vec<Coefficient>,
    pub coefficients: Vec<Coefficient>,
    /// Of bins, then coefficients.
    pub covariance: DMatrix<f64>,
    pub robust_covariance: Option<DMatrix<f64>>,
    pub log_likelihood: f64,
    pub iterations: usize,
    pub rows: usize,
    pub events: usize,
    pub clusters: usize,
    pub warnings: Vec<FitWarning>,
}

/// Fits hazards that are constant within bins but for the covariates, which act on the log hazard.
/// Bin k is (edges[k], edges[k + 1]]; they cover all time at risk. Strata are ignored.
///
/// # Errors
/// The data are not valid, edges do not cover the time at risk, a bin has no event, a covariate is
/// constant or a combination of others.
pub fn discrete_hazard(
    data: &RiskData,
    covariates: &Covariates,
    edges: &[f64],
    options: &DiscreteOptions,
) -> Result<DiscreteFit, AnalysisError> {
    todo!("{data:?} {covariates:?} {edges:?} {options:?}")
}
