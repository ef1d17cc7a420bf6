//! The wild cluster bootstrap of linear models, for tests with few clusters (worlds).

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::design::inverse_gram;
use crate::inference::linear::LeastSquares;
use crate::inference::terms::terms;
use crate::inference::wild_weights::{WeightVectors, WildWeights};
use crate::numeric::distribution::check_level;
use crate::survival::Covariates;
use nalgebra::DVector;
use serde::Serialize;

/// t statistics whose squares differ by less than this share are equal.
const TIE: f64 = 1e-9;
/// The search for a bound ends 2^12 standard errors from the estimate.
const DOUBLINGS_MAX: i32 = 12;
/// Halvings of the last doubling.
const HALVINGS: usize = 26;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WildOptions {
    pub weights: WildWeights,
    /// Number of drawn weight vectors, such as 9,999.
    pub replicates: usize,
    /// All 2^G sign vectors are enumerated instead if there are at most this many.
    pub exact_max: u64,
    pub seed: u64,
    /// Level of the interval; `None`: the p alone, about 80 times as fast.
    pub level: Option<f64>,
}

/// Test of one coefficient of a linear model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WildBootstrap {
    pub name: String,
    pub estimate: f64,
    /// Cluster-robust (CR1).
    pub se: f64,
    /// estimate / se
    pub t: f64,
    /// Two-sided p that the coefficient is 0.
    pub p: f64,
    /// Monte Carlo standard error of p, 0 if exact.
    pub p_error: f64,
    /// Bounds of the values that the test does not reject; `None`: no bound on this side, or none
    /// requested.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub level: Option<f64>,
    pub clusters: usize,
    /// All sign vectors were enumerated.
    pub exact: bool,
    /// Weight vectors enumerated or drawn.
    pub replicates: u64,
    pub warnings: Vec<FitWarning>,
}

/// Wild cluster bootstrap of the t statistic with residuals of the restricted model (Cameron,
/// Gelbach and Miller 2008; the fast form is of Roodman et al. 2019). The model is that of
/// [`crate::inference::ols`]; `which` is the index of the tested covariate. The interval inverts
/// the test.
///
/// # Errors
/// As [`crate::inference::ols`]; `which` is no covariate.
pub fn wild_cluster_bootstrap(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
    which: usize,
    options: &WildOptions,
) -> Result<WildBootstrap, AnalysisError> {
    let level = options.level.unwrap_or(0.95);
    check_level(level)?;
    let k = covariates.names.len();
    if which >= k {
        let text = format!("covariate {which} of {k}: expected an index below {k}");
        return Err(AnalysisError::Usage(text));
    }
    if options.replicates == 0 {
        return Err(AnalysisError::Usage("expected at least one replicate".to_owned()));
    }
    let fit = LeastSquares::new(outcome, covariates, clusters)?;
    let groups = fit.clusters.len();
    let (coefficients, covariance) = (&fit.coefficients, &fit.covariance);
    let terms = terms(&fit.design.names, coefficients, covariance, &fit.classical, groups, level)?;
    let term = &terms[which + 1];
    let vectors = WeightVectors::new(
        groups,
        options.weights,
        options.replicates,
        options.exact_max,
        options.seed,
    );
    let test = RestrictedTest::new(outcome, &fit, which + 1)?;
    let p = test.p(0.0, &vectors);
    let scale = fit.design.scale(which);
    let bound = |direction: f64| {
        let alpha = 1.0 - options.level?;
        test.bound(term.estimate, direction * term.se, alpha, &vectors).map(|value| value / scale)
    };
    Ok(WildBootstrap {
        name: term.name.clone(),
        estimate: term.estimate / scale,
        se: term.se / scale,
        t: term.t,
        p,
        p_error: vectors.p_error(p),
        low: bound(-1.0),
        high: bound(1.0),
        level: options.level,
        clusters: groups,
        exact: vectors.exact,
        replicates: vectors.number,
        warnings: vectors.warnings(),
    })
}

/// What the bootstrap needs, by cluster g, of restricted residuals u that are linear in the value
/// of the coefficient under the null hypothesis: u = u0 - value u1.
///
/// A draw of factors v has the estimate (less the null value) sum of v_g a_g, a_g the sum over rows
/// of x u, x the row of (Z'Z)^-1 Z' of the coefficient. Its residuals are v u less their projection
/// on Z, so that the sum over the cluster's rows of x times residual is v_g a_g - h_g' S, with S
/// the sum of v_g s_g, s_g = (Z'Z)^-1 Z_g' u_g, and h_g the sum of x times the row of Z.
struct RestrictedTest {
    /// a_g of u0 and of u1.
    a: [Vec<f64>; 2],
    /// s_g of u0 and of u1, k values a cluster.
    s: [Vec<f64>; 2],
    /// h_g, k values a cluster.
    h: Vec<f64>,
    k: usize,
}

impl RestrictedTest {
    fn new(outcome: &[f64], fit: &LeastSquares, at: usize) -> Result<Self, AnalysisError> {
        let z = &fit.design.z;
        let k = z.ncols();
        let others = z.clone().remove_column(at);
        let project = inverse_gram(&others)?;
        let residual =
            |values: &DVector<f64>| values - &others * (&project * (others.transpose() * values));
        let tested = residual(&z.column(at).into_owned());
        let residuals = [residual(&DVector::from_column_slice(outcome)), tested.clone()];
        let x = &tested / tested.norm_squared();
        let groups = fit.clusters.len();
        let mut test = RestrictedTest {
            a: [vec![0.0; groups], vec![0.0; groups]],
            s: [Vec::with_capacity(groups * k), Vec::with_capacity(groups * k)],
            h: Vec::with_capacity(groups * k),
            k,
        };
        for (cluster, rows) in fit.clusters.members.iter().enumerate() {
            let sum = |factors: &DVector<f64>| {
                let mut sum = DVector::<f64>::zeros(k);
                for row in rows {
                    sum += z.row(*row).transpose() * factors[*row];
                }
                sum
            };
            for (which, u) in residuals.iter().enumerate() {
                test.a[which][cluster] = rows.iter().map(|row| x[*row] * u[*row]).sum();
                test.s[which].extend((&fit.bread * sum(u)).iter());
            }
            test.h.extend(sum(&x).iter());
        }
        Ok(test)
    }

    /// Two-sided p that the coefficient (of the standardized covariate) is `value`.
    fn p(&self, value: f64, vectors: &WeightVectors) -> f64 {
        let at = |of: &[Vec<f64>; 2]| -> Vec<f64> {
            of[0].iter().zip(&of[1]).map(|(zero, one)| zero - value * one).collect()
        };
        let (a, s) = (at(&self.a), at(&self.s));
        let mut sum = vec![0.0; self.k];
        let ones = vec![1.0; a.len()];
        let (numerator, denominator) = self.squares(&ones, &a, &s, &mut sum);
        vectors.p(|factors| {
            let (of_draw, spread) = self.squares(factors, &a, &s, &mut sum);
            // of_draw / spread >= numerator / denominator, without division by 0.
            of_draw * denominator >= numerator * spread * (1.0 - TIE)
        })
    }

    /// Squares of the estimate and of its error, but for a constant factor, of one draw.
    fn squares(&self, factors: &[f64], a: &[f64], s: &[f64], sum: &mut [f64]) -> (f64, f64) {
        sum.fill(0.0);
        let mut estimate = 0.0;
        for ((factor, a), s) in factors.iter().zip(a).zip(s.chunks_exact(self.k)) {
            estimate += factor * a;
            for (sum, s) in sum.iter_mut().zip(s) {
                *sum += factor * s;
            }
        }
        let mut spread = 0.0;
        for ((factor, a), h) in factors.iter().zip(a).zip(self.h.chunks_exact(self.k)) {
            let fitted: f64 = h.iter().zip(&*sum).map(|(h, sum)| h * sum).sum();
            spread += (factor * a - fitted).powi(2);
        }
        (estimate * estimate, spread)
    }

    /// The value farthest from the estimate on one side that the test does not reject, by doubling
    /// steps from the estimate and bisection; `None` if no value is rejected.
    fn bound(&self, estimate: f64, step: f64, alpha: f64, vectors: &WeightVectors) -> Option<f64> {
        let rejected = |steps: f64| self.p(estimate + steps * step, vectors) <= alpha;
        let mut high =
            (0..=DOUBLINGS_MAX).map(|power| f64::from(1 << power)).find(|s| rejected(*s))?;
        let mut low = if high > 1.0 { high / 2.0 } else { 0.0 };
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if rejected(middle) { high = middle } else { low = middle }
        }
        Some(estimate + low * step)
    }
}
