//! Standardized covariates of rows sorted for sweeps.

use super::super::risk_data::{Covariates, RiskData};
use super::super::risk_order::RiskOrder;
use crate::error::AnalysisError;

/// Sorted rows and their covariates.
#[derive(Debug, Clone)]
pub(super) struct CoxDesign {
    pub(super) order: RiskOrder,
    /// Number of covariates.
    pub(super) width: usize,
    /// Of the covariates over all rows of the data.
    pub(super) means: Vec<f64>,
    pub(super) scales: Vec<f64>,
    /// Standardized covariates of the rows of `order`, `width` for each.
    x: Vec<f64>,
}

impl CoxDesign {
    /// `event` says for each row of valid data whether it ends in an event.
    ///
    /// # Errors
    /// There is no event, no covariate, or a covariate is constant.
    pub(super) fn new(
        data: &RiskData,
        event: &[bool],
        covariates: &Covariates,
    ) -> Result<CoxDesign, AnalysisError> {
        let width = covariates.names.len();
        if width == 0 {
            return Err(AnalysisError::Usage("Cox model: there is no covariate".to_owned()));
        }
        if !event.contains(&true) {
            let text = "Cox model: there is no event".to_owned();
            return Err(AnalysisError::NotEstimable(text));
        }
        let (means, scales) = covariates.standardization()?;
        let order = RiskOrder::new(data, event);
        let mut x = Vec::with_capacity(order.rows.len() * width);
        for row in &order.rows {
            let values = &covariates.values[row * width..][..width];
            x.extend((0..width).map(|column| (values[column] - means[column]) / scales[column]));
        }
        Ok(CoxDesign { order, width, means, scales, x })
    }

    /// Covariates of the row at this position of the order.
    pub(super) fn x(&self, position: usize) -> &[f64] {
        &self.x[position * self.width..][..self.width]
    }

    /// Log of the relative hazards of the rows of the order for standardized coefficients.
    pub(super) fn log_risks(&self, coefficients: &[f64]) -> Vec<f64> {
        self.x.chunks_exact(self.width).map(|x| dot(x, coefficients)).collect()
    }

    /// Relative hazards of the rows of the order.
    pub(super) fn risks(&self, coefficients: &[f64]) -> Vec<f64> {
        self.x.chunks_exact(self.width).map(|x| dot(x, coefficients).exp()).collect()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
