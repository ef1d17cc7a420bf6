//! Estimates of regression models, and warnings about them.

use serde::Serialize;

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

/// A reason not to trust a fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitWarning {
    /// A stable name: `separation`, `few_events`, `not_converged`, `few_clusters`.
    pub code: &'static str,
    pub text: String,
}
