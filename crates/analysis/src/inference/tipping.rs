//! Where a dose-response curve tips.

use crate::inference::logit::logistic;
use crate::numeric::spline::RestrictedCubicSpline;
use serde::Serialize;

/// Points at which the curve is searched.
const GRID: usize = 401;
/// A curve whose responses differ by less than this share of their size is flat.
const FLAT: f64 = 1e-9;

/// What the outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseKind {
    /// 0 or 1; a logit model.
    Probability,
    /// Any number; a linear model.
    Mean,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tip {
    pub dose: f64,
    pub response: f64,
    /// Change of the response per unit of dose.
    pub slope: f64,
}

/// `None` for a flat curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tips {
    /// Where the curve is steepest in its main direction, that from the lowest to the highest dose.
    pub steepest: Option<Tip>,
    /// The lowest dose at which the response is halfway between the curve's extremes.
    pub halfway: Option<Tip>,
}

/// A fitted curve.
pub(super) struct Curve<'a> {
    kind: ResponseKind,
    spline: &'a RestrictedCubicSpline,
    /// The intercept and the coefficients of the spline's terms.
    estimates: Vec<f64>,
    /// The lowest and the highest dose.
    range: (f64, f64),
}

impl<'a> Curve<'a> {
    pub fn new(
        kind: ResponseKind,
        spline: &'a RestrictedCubicSpline,
        estimates: Vec<f64>,
        range: (f64, f64),
    ) -> Curve<'a> {
        Curve { kind, spline, estimates, range }
    }

    pub fn tips(&self) -> Tips {
        let step = (self.range.1 - self.range.0) / (GRID as f64 - 1.0);
        let points: Vec<Tip> = (0..GRID)
            .map(|at| self.at((self.range.0 + step * at as f64).min(self.range.1)))
            .collect();
        let least = points.iter().map(|tip| tip.response).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|tip| tip.response).fold(f64::NEG_INFINITY, f64::max);
        if most - least <= FLAT * least.abs().max(most.abs()) {
            return Tips { steepest: None, halfway: None };
        }
        let rises = points[GRID - 1].response >= points[0].response;
        let direction = if rises { 1.0 } else { -1.0 };
        let steepest = points.iter().copied().reduce(|best, tip| {
            if direction * tip.slope > direction * best.slope { tip } else { best }
        });
        let half = 0.5 * (least + most);
        let crossing = points
            .windows(2)
            .find(|pair| (pair[0].response - half) * (pair[1].response - half) <= 0.0);
        Tips { steepest, halfway: crossing.map(|pair| self.crossing(pair[0], pair[1], half)) }
    }

    fn at(&self, dose: f64) -> Tip {
        let sum = |terms: Vec<f64>| -> f64 {
            self.estimates[1..].iter().zip(terms).map(|(estimate, term)| estimate * term).sum()
        };
        let value = self.estimates[0] + sum(self.spline.basis(dose));
        let slope = sum(self.spline.slopes(dose));
        match self.kind {
            ResponseKind::Mean => Tip { dose, response: value, slope },
            ResponseKind::Probability => {
                let p = logistic(value);
                Tip { dose, response: p, slope: slope * p * (1.0 - p) }
            }
        }
    }

    /// The point between two at which the response is `half`, by bisection.
    fn crossing(&self, mut low: Tip, mut high: Tip, half: f64) -> Tip {
        for _ in 0..60 {
            let middle = self.at(0.5 * (low.dose + high.dose));
            if (low.response - half) * (middle.response - half) <= 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}
