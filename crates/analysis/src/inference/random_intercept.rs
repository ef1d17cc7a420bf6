//! Maximum likelihood of a logit model with a normal random intercept.

use crate::AnalysisError;
use crate::inference::interval::not_estimable;
use crate::inference::logit::{log_one_plus_exp, logistic};
use nalgebra::{DMatrix, Matrix2, SymmetricEigen, Vector2};
use std::f64::consts::PI;
use std::sync::OnceLock;

const NODES: usize = 25;
const ITERATIONS_MAX: usize = 200;
/// The Newton decrement, about twice the log-likelihood still to be gained, that ends the
/// iteration.
const DECREMENT_MIN: f64 = 1e-16;
/// An SD of log odds above this has no upper bound: the worlds are all-or-nothing.
const SD_MAX: f64 = 20.0;

/// Worlds with equal counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WorldCounts {
    pub events: f64,
    pub runs: f64,
    /// Number of such worlds.
    pub worlds: f64,
}

pub(super) struct RandomIntercept {
    pub intercept: f64,
    pub sd: f64,
    pub log_likelihood: f64,
    /// Log-likelihood with sd = 0.
    pub log_likelihood_without: f64,
}

/// Log-likelihood at (intercept, sd), its gradient, its Hessian, and the expected Hessian of the
/// complete data (with known intercepts of worlds), which is always negative definite.
struct Derivatives {
    log_likelihood: f64,
    gradient: Vector2<f64>,
    hessian: Matrix2<f64>,
    complete: Matrix2<f64>,
}

impl RandomIntercept {
    /// # Errors
    /// The outcome does not vary, or in no world.
    pub fn fit(counts: &[WorldCounts]) -> Result<RandomIntercept, AnalysisError> {
        let total = |of: fn(&WorldCounts) -> f64| {
            counts.iter().map(|world| world.worlds * of(world)).sum::<f64>()
        };
        let (events, runs) = (total(|world| world.events), total(|world| world.runs));
        if events <= 0.0 || events >= runs {
            return Err(not_estimable("the outcome does not vary"));
        }
        let is_mixed = |world: &WorldCounts| world.events > 0.0 && world.events < world.runs;
        if !counts.iter().any(is_mixed) {
            return Err(not_estimable(
                "all runs of each world have the same outcome: the SD of worlds has no upper bound",
            ));
        }
        let share = events / runs;
        let intercept = (share / (1.0 - share)).ln();
        let without = events * share.ln() + (runs - events) * (1.0 - share).ln();
        let none = RandomIntercept {
            intercept,
            sd: 0.0,
            log_likelihood: without,
            log_likelihood_without: without,
        };
        // The slope of the log-likelihood in the variance at 0: worlds spread no more than chance.
        let slope = counts.iter().map(|world| {
            let residual = world.events - world.runs * share;
            let variance = world.runs * share * (1.0 - share);
            world.worlds * (residual * residual - variance)
        });
        if slope.sum::<f64>() <= 0.0 {
            return Ok(none);
        }
        let at = maximize(counts, Vector2::new(intercept, 0.5))?;
        let log_likelihood = derivatives(counts, at).log_likelihood;
        if log_likelihood <= without {
            return Ok(none);
        }
        let sd = at[1].abs();
        if sd > SD_MAX {
            return Err(not_estimable(
                "nearly all worlds are all or nothing: their SD is unbounded",
            ));
        }
        Ok(RandomIntercept { intercept: at[0], sd, log_likelihood, ..none })
    }
}

/// Newton's method; where the Hessian is not negative definite, that of the complete data stands
/// in, whose step is one of the EM algorithm and so climbs. The log-likelihood is even in the SD.
fn maximize(counts: &[WorldCounts], start: Vector2<f64>) -> Result<Vector2<f64>, AnalysisError> {
    let mut at = start;
    let mut here = derivatives(counts, at);
    for _ in 0..ITERATIONS_MAX {
        let cholesky = (-here.hessian).cholesky().or_else(|| (-here.complete).cholesky());
        let Some(cholesky) = cholesky else { break };
        let mut step = cholesky.solve(&here.gradient);
        if here.gradient.dot(&step) <= DECREMENT_MIN {
            return Ok(at);
        }
        loop {
            let there = derivatives(counts, at + step);
            if there.log_likelihood >= here.log_likelihood - 1e-13 * here.log_likelihood.abs() {
                (at, here) = (at + step, there);
                break;
            }
            step *= 0.5;
            if step.norm() < 1e-14 {
                return Ok(at);
            }
        }
        if at[1].abs() > SD_MAX {
            return Ok(at);
        }
    }
    Err(not_estimable("the likelihood of the worlds' SD has no maximum that Newton's method finds"))
}

fn derivatives(counts: &[WorldCounts], at: Vector2<f64>) -> Derivatives {
    let mut sum = Derivatives {
        log_likelihood: 0.0,
        gradient: Vector2::zeros(),
        hessian: Matrix2::zeros(),
        complete: Matrix2::zeros(),
    };
    for world in counts {
        let of_world = of_world(world, at);
        sum.log_likelihood += world.worlds * of_world.log_likelihood;
        sum.gradient += world.worlds * of_world.gradient;
        sum.hessian += world.worlds * of_world.hessian;
        sum.complete += world.worlds * of_world.complete;
    }
    sum
}

/// The integral over the standardized intercept u of a world, with nodes around the mode of the
/// integrand. Derivatives are expectations over u given the data: the gradient that of the complete
/// data's, the Hessian that of theirs plus the covariance of their gradient (Louis 1982).
fn of_world(world: &WorldCounts, at: Vector2<f64>) -> Derivatives {
    let (intercept, sd) = (at[0], at[1]);
    let log_integrand = |u: f64| {
        let odds = intercept + sd * u;
        world.events * odds - world.runs * log_one_plus_exp(odds) - 0.5 * u * u
    };
    let (mode, spread) = mode(world, intercept, sd);
    let peak = log_integrand(mode);
    let (mut integral, mut gradient) = (0.0, Vector2::zeros());
    let (mut complete, mut squares) = (Matrix2::zeros(), Matrix2::zeros());
    for (node, log_weight) in gauss_hermite() {
        let u = mode + std::f64::consts::SQRT_2 * spread * node;
        let weight = (log_weight + node * node + log_integrand(u) - peak).exp();
        let p = logistic(intercept + sd * u);
        let slope = Vector2::new(1.0, u);
        let score = slope * (world.events - world.runs * p);
        integral += weight;
        gradient += weight * score;
        complete -= weight * world.runs * p * (1.0 - p) * slope * slope.transpose();
        squares += weight * score * score.transpose();
    }
    gradient /= integral;
    complete /= integral;
    let hessian = complete + squares / integral - gradient * gradient.transpose();
    // The integral is over u of exp(log_integrand) / sqrt(2 pi).
    let log_likelihood = peak + (spread * integral / PI.sqrt()).ln();
    Derivatives { log_likelihood, gradient, hessian, complete }
}

/// The u at which the integrand is largest, and 1 / sqrt(its curvature) there. The log integrand is
/// concave, with a derivative whose root lies between the bounds, kept by bisection.
fn mode(world: &WorldCounts, intercept: f64, sd: f64) -> (f64, f64) {
    let slope = |u: f64| {
        let p = logistic(intercept + sd * u);
        (sd * (world.events - world.runs * p) - u, sd * sd * world.runs * p * (1.0 - p) + 1.0)
    };
    // |u| = |sd (events - runs p)| at the root.
    let bound = sd.abs() * world.runs + 1.0;
    let (mut low, mut high, mut u) = (-bound, bound, 0.0);
    for _ in 0..200 {
        let (first, curvature) = slope(u);
        if first > 0.0 {
            low = u
        } else {
            high = u
        }
        let newton = u + first / curvature;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - u).abs() <= 1e-13 * (1.0 + u.abs()) {
            break;
        }
        u = next;
    }
    (u, slope(u).1.sqrt().recip())
}

/// Nodes and log weights of Gauss-Hermite quadrature, from the eigenvalues of the polynomials'
/// recurrence (Golub and Welsch 1969).
fn gauss_hermite() -> &'static [(f64, f64)] {
    static RULE: OnceLock<Vec<(f64, f64)>> = OnceLock::new();
    RULE.get_or_init(|| {
        let off = |i: usize, j: usize| {
            if i.abs_diff(j) == 1 { (i.max(j) as f64 / 2.0).sqrt() } else { 0.0 }
        };
        let eigen = SymmetricEigen::new(DMatrix::from_fn(NODES, NODES, off));
        let vectors = eigen.eigenvectors;
        let node = |at: usize| {
            let weight = PI.sqrt() * vectors[(0, at)].powi(2);
            (eigen.eigenvalues[at], weight.ln())
        };
        let mut rule: Vec<(f64, f64)> = (0..NODES).map(node).collect();
        rule.sort_by(|a, b| a.0.total_cmp(&b.0));
        rule
    })
}
