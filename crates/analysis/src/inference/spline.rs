//! The restricted cubic spline of a dose (Harrell 2015, section 2.4.5): cubic between knots,
//! straight outside of them.

use crate::AnalysisError;
use crate::inference::interval::not_estimable;
use crate::inference::quantile::sample_quantile;
use crate::survival::Covariates;

pub(super) const KNOTS_MIN: usize = 3;
pub(super) const KNOTS_MAX: usize = 5;

/// A spline with k knots has k - 1 terms: the dose, and k - 2 that bend.
pub(super) struct Spline {
    pub knots: Vec<f64>,
}

impl Spline {
    /// Knots at Harrell's quantiles of the doses of rows, or, where many rows share a dose, at
    /// those of the distinct doses; no more knots than distinct doses.
    ///
    /// # Errors
    /// Fewer than 3 distinct doses.
    pub fn new(doses: &[f64], knots: usize) -> Result<Spline, AnalysisError> {
        let mut sorted = doses.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        if distinct.len() < KNOTS_MIN {
            let text = format!("{} distinct doses: a curve needs at least 3", distinct.len());
            return Err(not_estimable(text));
        }
        let knots = knots.min(distinct.len());
        let quantiles: &[f64] = match knots {
            3 => &[0.1, 0.5, 0.9],
            4 => &[0.05, 0.35, 0.65, 0.95],
            _ => &[0.05, 0.275, 0.5, 0.725, 0.95],
        };
        let of_rows: Vec<f64> = quantiles.iter().map(|p| sample_quantile(&sorted, *p)).collect();
        // Knots that coincide or nearly so make terms that are combinations of each other.
        let range = distinct[distinct.len() - 1] - distinct[0];
        if of_rows.windows(2).all(|pair| pair[1] - pair[0] > 0.01 * range) {
            return Ok(Spline { knots: of_rows });
        }
        let last = distinct.len() - 1;
        let spread = (0..knots).map(|at| distinct[at * last / (knots - 1)]);
        Ok(Spline { knots: spread.collect() })
    }

    pub fn terms(&self) -> usize {
        self.knots.len() - 1
    }

    /// Names of the terms.
    pub fn names(&self) -> Vec<String> {
        let bend = |at| format!("dose, bend {at}");
        std::iter::once("dose".to_owned()).chain((1..self.terms()).map(bend)).collect()
    }

    /// The terms of some rows.
    pub fn covariates(&self, doses: &[f64], rows: &[usize]) -> Covariates {
        let values = rows.iter().flat_map(|row| self.at(doses[*row])).collect();
        Covariates { names: self.names(), values }
    }

    /// The terms at a dose.
    pub fn at(&self, dose: f64) -> Vec<f64> {
        let cube = |x: f64| x.max(0.0).powi(3);
        self.with(dose, dose, cube)
    }

    /// Derivatives of the terms at a dose.
    pub fn slopes_at(&self, dose: f64) -> Vec<f64> {
        let square = |x: f64| 3.0 * x.max(0.0).powi(2);
        self.with(dose, 1.0, square)
    }

    fn with(&self, dose: f64, first: f64, power: impl Fn(f64) -> f64) -> Vec<f64> {
        let knots = &self.knots;
        let (before_last, last) = (knots[knots.len() - 2], knots[knots.len() - 1]);
        let (unit, gap) = ((last - knots[0]).powi(2), last - before_last);
        let bend = |knot: &f64| {
            let tail = power(dose - before_last) * (last - knot)
                - power(dose - last) * (before_last - knot);
            (power(dose - knot) - tail / gap) / unit
        };
        std::iter::once(first).chain(knots[..knots.len() - 2].iter().map(bend)).collect()
    }
}
