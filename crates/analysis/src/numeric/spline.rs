//! Restricted cubic splines (Stone and Koo 1985; Harrell, Regression Modeling Strategies, 2.4.5).

use crate::error::AnalysisError;

/// A cubic spline that is linear outside its outer knots.
#[derive(Debug, Clone, PartialEq)]
pub struct RestrictedCubicSpline {
    knots: Vec<f64>,
}

impl RestrictedCubicSpline {
    /// A spline with these knots.
    ///
    /// # Errors
    /// Fewer than three knots, or knots that are not finite and strictly increasing.
    pub fn new(knots: Vec<f64>) -> Result<RestrictedCubicSpline, AnalysisError> {
        todo!("{knots:?}")
    }

    /// A spline with `df` basis functions, its `df + 1` knots at Harrell's quantiles of the values
    /// (for 3: .05, .35, .65, .95).
    ///
    /// # Errors
    /// `df` is not in 2..=6, or the values have too many ties for distinct knots.
    pub fn at_quantiles(values: &[f64], df: usize) -> Result<RestrictedCubicSpline, AnalysisError> {
        todo!("{values:?} {df}")
    }

    pub fn knots(&self) -> &[f64] {
        &self.knots
    }

    /// Number of basis functions: one fewer than knots.
    pub fn df(&self) -> usize {
        self.knots.len() - 1
    }

    /// The basis at `x`: x itself, then `df - 1` functions that are not linear.
    pub fn basis(&self, x: f64) -> Vec<f64> {
        todo!("{x}")
    }
}
