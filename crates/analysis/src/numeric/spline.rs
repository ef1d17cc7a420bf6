//! Restricted cubic splines (Stone and Koo 1985; Harrell, Regression Modeling Strategies, 2.4.5).

use super::quantile::sample_quantile;
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
        let increasing = knots.windows(2).all(|pair| pair[0] < pair[1]);
        if knots.len() >= 3 && increasing && knots.iter().all(|knot| knot.is_finite()) {
            return Ok(RestrictedCubicSpline { knots });
        }
        let text = format!("spline: expected three or more increasing knots, found {knots:?}");
        Err(AnalysisError::Usage(text))
    }

    /// A spline with `df` basis functions, its `df + 1` knots at Harrell's quantiles of the values
    /// (for 3: .05, .35, .65, .95).
    ///
    /// # Errors
    /// `df` is not in 2..=6, or the values have too many ties for distinct knots.
    pub fn at_quantiles(values: &[f64], df: usize) -> Result<RestrictedCubicSpline, AnalysisError> {
        let shares = harrell_quantiles(df + 1).ok_or_else(|| {
            let text = format!("spline: expected 2 to 6 degrees of freedom, found {df}");
            AnalysisError::Usage(text)
        })?;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() || !sorted.iter().all(|value| value.is_finite()) {
            let text = "spline: knots need finite values".to_owned();
            return Err(AnalysisError::NotEstimable(text));
        }
        let knots: Vec<f64> = shares.iter().map(|share| sample_quantile(&sorted, *share)).collect();
        RestrictedCubicSpline::new(knots.clone()).map_err(|_| {
            AnalysisError::NotEstimable(format!(
                "a spline with {df} degrees of freedom needs {} distinct knots; the quantiles of \
                 the values are {knots:?}; use fewer, or values without so many ties",
                df + 1
            ))
        })
    }

    pub fn knots(&self) -> &[f64] {
        &self.knots
    }

    /// Number of basis functions: one fewer than knots.
    pub fn df(&self) -> usize {
        self.knots.len() - 1
    }

    /// The basis at `x`: x itself, then `df - 1` functions that are not linear, in units of x
    /// (Harrell's, divided by the squared distance of the outer knots).
    pub fn basis(&self, x: f64) -> Vec<f64> {
        self.terms(x, |distance| distance.max(0.0).powi(3), x)
    }

    /// The derivative of each basis function at `x`.
    pub fn slopes(&self, x: f64) -> Vec<f64> {
        self.terms(1.0, |distance| 3.0 * distance.max(0.0).powi(2), x)
    }

    /// `first`, then the combination of `power` of the distances of `x` to the knots that each
    /// bend is.
    fn terms(&self, first: f64, power: impl Fn(f64) -> f64, x: f64) -> Vec<f64> {
        let last = self.knots.len() - 1;
        let (first_knot, before, last_knot) =
            (self.knots[0], self.knots[last - 1], self.knots[last]);
        let unit = (last_knot - first_knot).powi(2);
        let bend = |knot: &f64| {
            // Weights of the last two cancel the terms of second and third order beyond.
            let to_before = (last_knot - knot) / (last_knot - before);
            let to_last = (before - knot) / (last_knot - before);
            let tail = power(x - before) * to_before - power(x - last_knot) * to_last;
            (power(x - knot) - tail) / unit
        };
        std::iter::once(first).chain(self.knots[..last - 1].iter().map(bend)).collect()
    }
}

/// Quantiles at which Harrell places 3 to 7 knots (table 2.3).
pub fn harrell_quantiles(knots: usize) -> Option<&'static [f64]> {
    Some(match knots {
        3 => &[0.1, 0.5, 0.9],
        4 => &[0.05, 0.35, 0.65, 0.95],
        5 => &[0.05, 0.275, 0.5, 0.725, 0.95],
        6 => &[0.05, 0.23, 0.41, 0.59, 0.77, 0.95],
        7 => &[0.025, 0.1833, 0.3417, 0.5, 0.6583, 0.8167, 0.975],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spline_is_smooth_inside_and_linear_outside() {
        let spline = RestrictedCubicSpline::new(vec![1.0, 2.0, 4.0, 7.0]).unwrap();
        assert_eq!(spline.df(), 3);
        for j in 1..3 {
            let at = |x: f64| spline.basis(x)[j];
            assert_eq!((at(-5.0), at(1.0)), (0.0, 0.0));
            let (rise, next) = (at(9.0) - at(8.0), at(30.0) - at(29.0));
            assert!((rise - next).abs() < 1e-9 && rise > 0.0);
            for knot in [1.0, 2.0, 4.0, 7.0] {
                let second = |x: f64| (at(x + 1e-4) - 2.0 * at(x) + at(x - 1e-4)) / 1e-8;
                assert!((second(knot + 1e-3) - second(knot - 1e-3)).abs() < 0.01);
                let slope = (at(knot + 0.3 + 1e-6) - at(knot + 0.3 - 1e-6)) / 2e-6;
                assert!((spline.slopes(knot + 0.3)[j] - slope).abs() < 1e-7);
            }
        }
    }

    #[test]
    fn tied_values_have_no_knots() {
        let values = [vec![0.0; 50], vec![1.0; 50]].concat();
        let error = RestrictedCubicSpline::at_quantiles(&values, 3).unwrap_err();
        assert!(matches!(error, AnalysisError::NotEstimable(_)), "{error}");
        let spread: Vec<f64> = (0..101).map(f64::from).collect();
        let spline = RestrictedCubicSpline::at_quantiles(&spread, 3).unwrap();
        assert_eq!(spline.knots(), [5.0, 35.0, 65.0, 95.0]);
    }
}
