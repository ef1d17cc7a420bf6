//! Residuals of a Cox model.

use nalgebra::DMatrix;

use super::model::CoxFit;

/// Schoenfeld's (1982) residuals: covariates of each event minus their expectation.
#[derive(Debug, Clone, PartialEq)]
pub struct Schoenfeld {
    /// Event times, ascending, and the row of each event.
    pub times: Vec<f64>,
    pub rows: Vec<usize>,
    /// Events by coefficients.
    pub residuals: DMatrix<f64>,
    /// Scaled by the covariance (Grambsch and Therneau 1994), with the coefficient added: their
    /// smoothed course in time is that of the coefficient.
    pub scaled: DMatrix<f64>,
}

impl CoxFit {
    /// Observed minus expected events, by row.
    pub fn martingale_residuals(&self) -> Vec<f64> {
        todo!()
    }

    /// Score residuals: rows by coefficients.
    pub fn score_residuals(&self) -> DMatrix<f64> {
        todo!()
    }

    pub fn schoenfeld_residuals(&self) -> Schoenfeld {
        todo!()
    }
}
