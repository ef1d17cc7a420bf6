//! Newton-Raphson maximization of a concave function, with step halving.

use nalgebra::{Cholesky, DMatrix, DVector};

/// A function at a point: its value, gradient, and the negative of its second derivatives.
#[derive(Debug, Clone)]
pub struct Expansion {
    pub value: f64,
    pub gradient: DVector<f64>,
    pub information: DMatrix<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AscentOutcome {
    Converged,
    /// The value grows no more, but the point still moves: the maximum is at infinity.
    Diverging,
    /// The limit of iterations was reached first.
    Limit,
}

#[derive(Debug, Clone)]
pub struct Maximum {
    pub point: DVector<f64>,
    pub at: Expansion,
    pub iterations: usize,
    pub outcome: AscentOutcome,
    /// The last step, which at a maximum at infinity is large in the directions that diverge.
    pub last_step: DVector<f64>,
}

/// Expected gain below which a Newton step is the last one. Its error is of the order of the gain.
const LAST_GAIN: f64 = 1e-14;
/// A step of this size in a coordinate that gains less than [`NO_GAIN`] leads to infinity.
const LARGE_STEP: f64 = 0.05;
const NO_GAIN: f64 = 1e-8;

/// Maximizes from a point with its expansion. Coordinates should be on a common scale, so that a
/// change of 0.05 matters in each.
pub fn maximize(
    start: DVector<f64>,
    start_at: Expansion,
    limit: usize,
    mut expand: impl FnMut(&DVector<f64>) -> Expansion,
) -> Maximum {
    let (mut point, mut at) = (start, start_at);
    let mut last_step = DVector::zeros(point.len());
    let mut iterations = 0;
    let outcome = loop {
        // Without curvature the gradient is rounding: the point has run off to infinity.
        let Some(step) = newton_step(&at) else { break AscentOutcome::Diverging };
        let gain = step.dot(&at.gradient);
        if gain < NO_GAIN && step.amax() > LARGE_STEP {
            last_step = step;
            break AscentOutcome::Diverging;
        }
        if iterations == limit {
            last_step = step;
            break AscentOutcome::Limit;
        }
        iterations += 1;
        let (next, expansion) = ascend(&point, &step, at.value, gain, &mut expand);
        last_step = &next - &point;
        point = next;
        at = expansion;
        if gain < LAST_GAIN * (1.0 + at.value.abs() * 1e-3) {
            break AscentOutcome::Converged;
        }
    };
    Maximum { point, at, iterations, outcome, last_step }
}

/// Information inverse times gradient, computed with a unit diagonal for accuracy.
fn newton_step(at: &Expansion) -> Option<DVector<f64>> {
    let scale = at.information.diagonal().map(|entry| 1.0 / entry.sqrt());
    if !scale.iter().all(|entry| entry.is_finite()) {
        return None;
    }
    let n = scale.len();
    let scaled = DMatrix::from_fn(n, n, |i, j| at.information[(i, j)] * scale[i] * scale[j]);
    let step = Cholesky::new(scaled)?.solve(&at.gradient.component_mul(&scale));
    let step = step.component_mul(&scale);
    step.iter().all(|entry| entry.is_finite()).then_some(step)
}

/// The point one step further, with the step halved until the value does not fall. Falls within
/// rounding are none.
fn ascend(
    point: &DVector<f64>,
    step: &DVector<f64>,
    value: f64,
    gain: f64,
    expand: &mut impl FnMut(&DVector<f64>) -> Expansion,
) -> (DVector<f64>, Expansion) {
    let tolerance = 1e-10 * (1.0 + value.abs());
    let mut factor = 1.0;
    loop {
        let next = point + step * factor;
        let at = expand(&next);
        let fine = at.value.is_finite() && at.value >= value - tolerance;
        if fine || factor * gain < tolerance || factor < 1e-12 {
            return (next, at);
        }
        factor /= 2.0;
    }
}

/// Inverse of a positive definite matrix; `None` if it is not.
pub fn inverse(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let scale = matrix.diagonal().map(|entry| 1.0 / entry.sqrt());
    if !scale.iter().all(|entry| entry.is_finite()) {
        return None;
    }
    let n = scale.len();
    let scaled = DMatrix::from_fn(n, n, |i, j| matrix[(i, j)] * scale[i] * scale[j]);
    let inverse = Cholesky::new(scaled)?.inverse();
    Some(DMatrix::from_fn(n, n, |i, j| inverse[(i, j)] * scale[i] * scale[j]))
}

/// The first coordinate without information of its own, and whether others explain it (otherwise
/// it has none at all). `expected` is the information of a coordinate on the scale of the data.
pub fn dependent(information: &DMatrix<f64>, expected: f64) -> Option<(usize, bool)> {
    let n = information.nrows();
    let mut left = information.clone();
    for j in 0..n {
        let own = information[(j, j)];
        if own.is_nan() || own <= 1e-10 * expected {
            return Some((j, false));
        }
        if left[(j, j)] < 1e-9 * own {
            return Some((j, true));
        }
        for i in j + 1..n {
            let factor = left[(i, j)] / left[(j, j)];
            for k in j..n {
                left[(i, k)] -= factor * left[(j, k)];
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expansion(value: f64, gradient: f64, information: f64) -> Expansion {
        Expansion {
            value,
            gradient: DVector::from_element(1, gradient),
            information: DMatrix::from_element(1, 1, information),
        }
    }

    #[test]
    fn overshooting_steps_are_halved() {
        // -ln(cosh x): from 2, the full Newton step leads away from the maximum at 0.
        let expand = |x: &DVector<f64>| {
            let x = x[0];
            expansion(-x.cosh().ln(), -x.tanh(), x.cosh().powi(-2))
        };
        let start = DVector::from_element(1, 2.0);
        let maximum = maximize(start.clone(), expand(&start), 50, expand);
        assert_eq!(maximum.outcome, AscentOutcome::Converged);
        assert!(maximum.point[0].abs() < 1e-12, "{}", maximum.point[0]);
    }

    #[test]
    fn a_maximum_at_infinity_diverges() {
        let expand = |x: &DVector<f64>| {
            let e = (-x[0]).exp();
            expansion(-(1.0 + e).ln(), e / (1.0 + e), e / (1.0 + e).powi(2))
        };
        let start = DVector::zeros(1);
        let maximum = maximize(start.clone(), expand(&start), 50, expand);
        assert_eq!(maximum.outcome, AscentOutcome::Diverging);
        assert!(maximum.last_step[0] > 0.5);
    }

    #[test]
    fn dependent_coordinates_are_named() {
        let of = |rows: &[f64]| DMatrix::from_row_slice(2, 2, rows);
        assert_eq!(dependent(&of(&[1.0, 0.0, 0.0, 0.0]), 1.0), Some((1, false)));
        assert_eq!(dependent(&of(&[1.0, 2.0, 2.0, 4.0]), 1.0), Some((1, true)));
        assert_eq!(dependent(&of(&[1.0, 0.9, 0.9, 1.0]), 1.0), None);
    }
}
