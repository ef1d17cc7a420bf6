//! The restricted cubic spline of a dose.

use crate::AnalysisError;
use crate::inference::interval::not_estimable;
use crate::numeric::quantile::sample_quantile;
use crate::numeric::spline::{RestrictedCubicSpline, harrell_quantiles};
use crate::survival::Covariates;

pub(super) const KNOTS_MIN: usize = 3;
pub(super) const KNOTS_MAX: usize = 5;

/// A spline with its knots at Harrell's quantiles of the doses of rows, or, where many rows share a
/// dose, spread over the distinct doses; no more knots than distinct doses.
///
/// # Errors
/// Fewer than 3 distinct doses.
pub(super) fn dose_spline(
    doses: &[f64],
    knots: usize,
) -> Result<RestrictedCubicSpline, AnalysisError> {
    let mut sorted = doses.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() < KNOTS_MIN {
        let text = format!("{} distinct doses: a curve needs at least 3", distinct.len());
        return Err(not_estimable(text));
    }
    let knots = knots.min(distinct.len());
    let quantiles = harrell_quantiles(knots).unwrap_or_default();
    let of_rows: Vec<f64> = quantiles.iter().map(|p| sample_quantile(&sorted, *p)).collect();
    // Knots that coincide or nearly so make terms that are combinations of each other.
    let last = distinct.len() - 1;
    let range = distinct[last] - distinct[0];
    if of_rows.windows(2).all(|pair| pair[1] - pair[0] > 0.01 * range) {
        return RestrictedCubicSpline::new(of_rows);
    }
    RestrictedCubicSpline::new((0..knots).map(|at| distinct[at * last / (knots - 1)]).collect())
}

/// The basis at the doses of some rows.
pub(super) fn spline_covariates(
    spline: &RestrictedCubicSpline,
    doses: &[f64],
    rows: &[usize],
) -> Covariates {
    let bend = |at| format!("dose, bend {at}");
    Covariates {
        names: std::iter::once("dose".to_owned()).chain((1..spline.df()).map(bend)).collect(),
        values: rows.iter().flat_map(|row| spline.basis(doses[*row])).collect(),
    }
}
