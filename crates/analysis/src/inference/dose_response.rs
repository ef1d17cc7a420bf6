//! A response against the dose as a smooth curve, and the dose at which it tips.

use crate::AnalysisError;
use crate::inference::bootstrap::BootstrapOptions;
use crate::inference::interval::{Caution, ConfidenceInterval};
use serde::Serialize;

/// What the outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseKind {
    /// 0 or 1; a logit model.
    Probability,
    /// Any number; a linear model.
    Mean,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoseResponseOptions {
    pub kind: ResponseKind,
    /// Knots of the spline, 3 to 5; fewer are used if there are fewer distinct doses.
    pub knots: usize,
    /// Points of the curve, evenly spaced between the lowest and the highest dose.
    pub points: usize,
    pub bootstrap: BootstrapOptions,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DosePoint {
    pub dose: f64,
    /// Probability or mean.
    pub response: f64,
    /// Pointwise, from cluster-robust errors and t(G - 1); a probability's is computed on the logit
    /// scale.
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TippingPoint {
    pub dose: f64,
    /// Response at this dose.
    pub response: f64,
    /// Change of the response per unit of dose at this dose.
    pub slope: f64,
    /// Percentile interval of the bootstrap over worlds; `None` if under half of the resamples
    /// have such a dose.
    pub interval: Option<ConfidenceInterval>,
    /// Resamples that gave no such dose.
    pub failed: usize,
    /// The dose is the lowest or highest of the data: the curve may tip outside of them.
    pub at_edge: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoseResponse {
    pub kind: ResponseKind,
    pub rows: usize,
    pub clusters: usize,
    /// Doses at which the pieces of the spline meet.
    pub knots: Vec<f64>,
    pub curve: Vec<DosePoint>,
    /// Cluster-robust F test that the curve is flat, and that it is straight (on the logit scale for
    /// a probability); `None` where the model has no curvature or too few clusters.
    pub p_flat: Option<f64>,
    pub p_straight: Option<f64>,
    /// Where the curve is steepest in its main direction; `None` for a flat curve.
    pub steepest: Option<TippingPoint>,
    /// The lowest dose at which the response is halfway between the lowest and the highest value
    /// of the curve; `None` for a flat curve.
    pub halfway: Option<TippingPoint>,
    pub cautions: Vec<Caution>,
}

/// Fits a restricted cubic spline (Harrell 2015, section 2.4.5) of the dose, not forced to be
/// monotone. `outcome` is 0 or 1 for a probability.
///
/// # Errors
/// Lengths that differ, fewer than 3 distinct doses or 2 clusters, an outcome that does not vary, a
/// dose that separates the outcomes completely.
pub fn dose_response(
    dose: &[f64],
    outcome: &[f64],
    clusters: &[u32],
    options: &DoseResponseOptions,
) -> Result<DoseResponse, AnalysisError> {
    todo!()
}
