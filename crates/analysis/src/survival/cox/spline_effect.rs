//! The hazard against an exposure whose effect is a spline.

use serde::Serialize;

use super::super::estimate::CoxTest;
use super::super::risk_data::{Covariates, RiskData};
use super::model::{CoxFit, CoxOptions};
use crate::error::AnalysisError;
use crate::numeric::spline::RestrictedCubicSpline;

/// A model with a spline of an exposure, and the hazard along the exposure.
#[derive(Debug, Clone)]
pub struct SplineEffect {
    pub fit: CoxFit,
    pub curve: Vec<SplinePoint>,
    /// The value of the exposure with hazard ratio 1.
    pub reference: f64,
    /// Test that the exposure has no effect, and that its effect is linear.
    pub overall: CoxTest,
    pub nonlinear: CoxTest,
}

/// The hazard at a value of the exposure, relative to the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SplinePoint {
    pub exposure: f64,
    pub log_hazard_ratio: f64,
    pub se: f64,
    pub lower: f64,
    pub upper: f64,
}

/// The exposure of a [`spline_effect`].
#[derive(Debug, Clone, PartialEq)]
pub struct SplineExposure {
    /// The covariate in whose place the spline comes.
    pub covariate: String,
    pub spline: RestrictedCubicSpline,
    /// The value with hazard ratio 1.
    pub reference: f64,
    /// Values at which the curve is computed.
    pub at: Vec<f64>,
}

/// Fits a model with a spline in place of a covariate, and the hazard along the covariate with a
/// pointwise band (delta method). Coefficients of the spline come last.
///
/// # Errors
/// Those of [`super::fit()`], or there is no covariate of this name.
pub fn spline_effect(
    data: &RiskData,
    covariates: &Covariates,
    exposure: &SplineExposure,
    options: &CoxOptions,
) -> Result<SplineEffect, AnalysisError> {
    let SplineExposure { covariate, spline, reference, at } = exposure;
    covariates.check(data.rows())?;
    let values = covariates.column(covariate)?;
    let others = covariates.names.iter().filter(|name| *name != covariate);
    let mut columns = Vec::new();
    for name in others {
        columns.push((name.clone(), covariates.column(name)?));
    }
    let first = columns.len();
    for function in 0..spline.df() {
        let name = match function {
            0 => covariate.clone(),
            nonlinear => format!("{covariate} (spline {nonlinear})"),
        };
        columns.push((name, values.iter().map(|value| spline.basis(*value)[function]).collect()));
    }
    let fit = super::fit(data, &Covariates::from_columns(columns)?, options)?;
    let zero = spline.basis(*reference);
    let mut curve = Vec::with_capacity(at.len());
    for &value in at {
        let difference = spline.basis(value).into_iter().zip(&zero).map(|(at, zero)| at - zero);
        let weights: Vec<f64> = std::iter::repeat_n(0.0, first).chain(difference).collect();
        let contrast = fit.contrast(&weights)?;
        curve.push(SplinePoint {
            exposure: value,
            log_hazard_ratio: contrast.value,
            se: contrast.se,
            lower: contrast.lower,
            upper: contrast.upper,
        });
    }
    let all: Vec<usize> = (first..first + spline.df()).collect();
    let (overall, nonlinear) = (fit.wald_test(&all)?, fit.wald_test(&all[1..])?);
    Ok(SplineEffect { fit, curve, reference: *reference, overall, nonlinear })
}
