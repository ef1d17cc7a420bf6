//! The log of the partial likelihood, with its derivatives.

use nalgebra::{DMatrix, DVector};

use super::design::{CoxDesign, dot};
use super::model::Ties;
use super::sweep::{RiskSums, gone, sweep};
use crate::numeric::newton::Expansion;

/// The expansion at standardized coefficients.
pub(super) fn expand(design: &CoxDesign, ties: Ties, coefficients: &DVector<f64>) -> Expansion {
    let risks = design.risks(coefficients.as_slice());
    let width = design.width;
    let mut value = 0.0;
    let mut gradient = DVector::zeros(width);
    let mut information = DMatrix::zeros(width, width);
    let mut means = vec![0.0; width];
    sweep(design, &risks, true, |index, sums| {
        let deaths = design.order.events[index].deaths;
        value += dot(&sums.covariates, coefficients.as_slice());
        for i in 0..width {
            gradient[i] += sums.covariates[i];
        }
        let shares = gone(ties, deaths);
        add_terms(sums, shares, &mut value, &mut gradient, &mut information, &mut means);
    });
    information.fill_lower_triangle_with_upper_triangle();
    Expansion { value, gradient, information }
}

/// Adds the terms of the risk sets of an event time; the upper triangle of the information only.
fn add_terms(
    sums: &RiskSums,
    shares: impl Iterator<Item = f64>,
    value: &mut f64,
    gradient: &mut DVector<f64>,
    information: &mut DMatrix<f64>,
    means: &mut [f64],
) {
    for share in shares {
        let hazard = sums.hazard(share);
        *value -= hazard.ln();
        for (i, mean) in means.iter_mut().enumerate() {
            *mean = sums.mean(share, i);
            gradient[i] -= *mean;
        }
        add_covariance(sums, share, means, 1.0, information);
    }
}

/// Adds `weight` times the covariance of covariates over the risk set when a share of those who die
/// is gone, to the upper triangle.
pub(super) fn add_covariance(
    sums: &RiskSums,
    share: f64,
    means: &[f64],
    weight: f64,
    information: &mut DMatrix<f64>,
) {
    let factor = weight / sums.hazard(share);
    let mut entry = 0;
    for i in 0..means.len() {
        for j in i..means.len() {
            let product = sums.at_risk.second[entry] - share * sums.dying.second[entry];
            information[(i, j)] += product * factor - weight * means[i] * means[j];
            entry += 1;
        }
    }
}
