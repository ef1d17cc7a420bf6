//! Survival predicted by a Cox model.

use serde::Serialize;

use super::model::CoxFit;
use crate::error::AnalysisError;

/// Cumulative hazard and survival of a subject with given covariates, by event time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictedSurvival {
    pub times: Vec<f64>,
    pub hazard: Vec<f64>,
    /// Standard error of the cumulative hazard, with that of the coefficients.
    pub hazard_se: Vec<f64>,
    pub survival: Vec<f64>,
    /// Band of survival, on the log scale.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

impl CoxFit {
    /// Predicted survival in a stratum for constant covariates. The baseline hazard is Breslow's or
    /// Efron's, as the ties of the fit.
    ///
    /// # Errors
    /// No such stratum, or not one value for each covariate.
    pub fn survival(
        &self,
        stratum: u32,
        covariates: &[f64],
    ) -> Result<PredictedSurvival, AnalysisError> {
        todo!("{stratum} {covariates:?}")
    }

    /// Predicted survival at the means of the covariates over rows.
    ///
    /// # Errors
    /// No such stratum.
    pub fn baseline(&self, stratum: u32) -> Result<PredictedSurvival, AnalysisError> {
        todo!("{stratum}")
    }
}
