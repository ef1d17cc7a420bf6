//! Fits Cox models.

use super::super::risk_data::{Covariates, RiskData};
use super::model::{CoxFit, CoxOptions};
use crate::error::AnalysisError;

/// Fits a Cox model by Newton-Raphson. The fit keeps a copy of the data, for residuals and
/// predictions.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there is no event, or a covariate is constant
/// in all risk sets or a combination of others.
pub fn fit(
    data: &RiskData,
    covariates: &Covariates,
    options: &CoxOptions,
) -> Result<CoxFit, AnalysisError> {
    todo!("{data:?} {covariates:?} {options:?}")
}
