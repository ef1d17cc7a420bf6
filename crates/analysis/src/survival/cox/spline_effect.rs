//! The hazard against an exposure whose effect is a spline.

use serde::Serialize;

use super::super::risk_data::{Covariates, RiskData};
use super::model::{CoxFit, CoxOptions, CoxTest};
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

/// Fits a model with the spline in place of the covariate `exposure`, and the curve at the values
/// `at` with a pointwise band (delta method).
///
/// # Errors
/// Those of [`super::fit()`], or there is no covariate of this name.
pub fn spline_effect(
    data: &RiskData,
    covariates: &Covariates,
    exposure: &str,
    spline: &RestrictedCubicSpline,
    reference: f64,
    at: &[f64],
    options: &CoxOptions,
) -> Result<SplineEffect, AnalysisError> {
    todo!("{data:?} {covariates:?} {exposure} {spline:?} {reference} {at:?} {options:?}")
}
