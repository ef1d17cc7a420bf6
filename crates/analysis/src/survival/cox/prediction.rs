//! Survival predicted by a Cox model.

use nalgebra::{DMatrix, DVector};
use serde::Serialize;

use super::design::dot;
use super::model::{CoxFit, FittedDesign};
use super::sweep::{gone, sweep};
use crate::error::AnalysisError;

/// Cumulative hazard and survival of a subject with given covariates, by event time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictedSurvival {
    pub times: Vec<f64>,
    pub hazard: Vec<f64>,
    /// Standard error of the cumulative hazard (Tsiatis 1981), with that of the coefficients.
    pub hazard_se: Vec<f64>,
    pub survival: Vec<f64>,
    /// Band of survival, on the log scale.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// The baseline hazard of an event time, at the means of the covariates.
struct HazardIncrement {
    time: f64,
    hazard: f64,
    variance: f64,
    /// Hazard times the mean standardized covariates of the risk set.
    weighted: Vec<f64>,
}

impl CoxFit {
    /// Predicted survival in a stratum for constant covariates. The baseline hazard is Breslow's or
    /// Efron's, as the ties of the fit.
    ///
    /// # Errors
    /// No event is in such a stratum, or there is not one value for each covariate.
    pub fn survival(
        &self,
        stratum: u32,
        covariates: &[f64],
    ) -> Result<PredictedSurvival, AnalysisError> {
        let design = &self.fitted.design;
        let (expected, found) = (design.width, covariates.len());
        if found != expected || covariates.iter().any(|value| !value.is_finite()) {
            let text = format!("prediction: expected {expected} finite values, found {found}");
            return Err(AnalysisError::Usage(text));
        }
        let columns = covariates.iter().zip(design.means.iter().zip(&design.scales));
        let x: Vec<f64> = columns.map(|(value, (mean, scale))| (value - mean) / scale).collect();
        self.predicted(stratum, &x)
    }

    /// Predicted survival at the means of the covariates over rows.
    ///
    /// # Errors
    /// No event is in such a stratum.
    pub fn baseline(&self, stratum: u32) -> Result<PredictedSurvival, AnalysisError> {
        self.predicted(stratum, &vec![0.0; self.fitted.design.width])
    }

    /// For standardized covariates.
    fn predicted(&self, stratum: u32, x: &[f64]) -> Result<PredictedSurvival, AnalysisError> {
        let increments = increments(&self.fitted, stratum);
        if increments.is_empty() {
            let text = format!("prediction: there is no event in stratum {stratum}");
            return Err(AnalysisError::NotEstimable(text));
        }
        let scales = &self.fitted.design.scales;
        let coefs: Vec<f64> =
            self.coefficients.iter().zip(scales).map(|(c, scale)| c.coef * scale).collect();
        let risk = dot(&coefs, x).exp();
        let covariance = self.used_covariance();
        let covariance =
            DMatrix::from_fn(x.len(), x.len(), |i, j| covariance[(i, j)] * scales[i] * scales[j]);
        let mut result = PredictedSurvival {
            times: Vec::with_capacity(increments.len()),
            hazard: Vec::with_capacity(increments.len()),
            hazard_se: Vec::with_capacity(increments.len()),
            survival: Vec::with_capacity(increments.len()),
            lower: Vec::with_capacity(increments.len()),
            upper: Vec::with_capacity(increments.len()),
        };
        let (mut sum, mut variance) = (0.0, 0.0);
        // Derivative of the hazard by the coefficients, without the relative hazard.
        let mut slope = DVector::zeros(x.len());
        for increment in increments {
            sum += increment.hazard;
            variance += increment.variance;
            for (column, slope) in slope.iter_mut().enumerate() {
                *slope += increment.hazard * x[column] - increment.weighted[column];
            }
            let hazard = risk * sum;
            let se = risk * (variance + slope.dot(&(&covariance * &slope))).sqrt();
            let reach = self.fitted.reference.width * se;
            result.times.push(increment.time);
            result.hazard.push(hazard);
            result.hazard_se.push(se);
            result.survival.push((-hazard).exp());
            result.lower.push((-hazard - reach).exp());
            result.upper.push((reach - hazard).exp().min(1.0));
        }
        Ok(result)
    }
}

/// Increments of a stratum, by ascending time.
fn increments(fitted: &FittedDesign, stratum: u32) -> Vec<HazardIncrement> {
    let FittedDesign { design, risks, ties, .. } = fitted;
    let mut increments = Vec::new();
    sweep(design, risks, false, |index, sums| {
        let event = &design.order.events[index];
        if event.stratum != stratum {
            return;
        }
        let mut increment = HazardIncrement {
            time: event.time,
            hazard: 0.0,
            variance: 0.0,
            weighted: vec![0.0; design.width],
        };
        for share in gone(*ties, event.deaths) {
            let hazard = 1.0 / sums.hazard(share);
            increment.hazard += hazard;
            increment.variance += hazard * hazard;
            for (column, weighted) in increment.weighted.iter_mut().enumerate() {
                *weighted += hazard * sums.mean(share, column);
            }
        }
        increments.push(increment);
    });
    increments.reverse();
    increments
}
