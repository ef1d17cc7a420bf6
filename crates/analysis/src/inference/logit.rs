//! Logit with cluster-robust errors, and the detection of separation.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::design::{
    DesignMatrix, cluster_meat, inverse_gram, leverage_cautions, to_rows,
};
use crate::inference::interval::not_estimable;
use crate::inference::linear::prepared;
use crate::inference::terms::{RegressionTerm, terms};
use crate::numeric::distribution::check_level;
use crate::survival::Covariates;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use serde::Serialize;

const ITERATIONS_MAX: usize = 40;
/// A step that changes no row's log odds by more ends the iteration.
const STEP_MIN: f64 = 1e-9;
/// Below this part of the information on a coefficient that the others leave, digits are lost.
const INFORMATION_MIN: f64 = 1e-12;
/// Fewer events (or non-events) a coefficient bias the estimates (Peduzzi et al. 1996).
const EVENTS_PER_TERM_MIN: usize = 10;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogitFit {
    /// The intercept, then the covariates in their order; estimates are log odds ratios.
    pub terms: Vec<RegressionTerm>,
    /// Cluster-robust covariance of the coefficients, in the order of `terms`.
    pub covariance: Vec<Vec<f64>>,
    pub rows: usize,
    /// Rows with outcome 1.
    pub events: usize,
    pub clusters: usize,
    pub log_likelihood: f64,
    /// Log-likelihood of the intercept alone.
    pub log_likelihood_null: f64,
    pub iterations: usize,
    pub warnings: Vec<FitWarning>,
}

/// Logit by Newton's method, with an intercept. The sandwich of cluster scores is multiplied by G /
/// (G - 1); tests and intervals use t(G - 1).
///
/// # Errors
/// As [`crate::inference::ols`]; an outcome that is not 0 or 1 or does not vary; separation, named
/// with its covariates.
pub fn logit(
    outcome: &[f64],
    covariates: &Covariates,
    clusters: &[u32],
    level: f64,
) -> Result<LogitFit, AnalysisError> {
    check_level(level)?;
    let (rows, design, clusters) = prepared(outcome, covariates, clusters)?;
    let events = check_binary(outcome)?;
    let newton = Newton::run(outcome, &design)?;
    let to_given = design.to_given_units();
    let estimates = &to_given * &newton.coefficients;
    let classical = &to_given * newton.information.inverse() * to_given.transpose();
    let covariance = newton.robust_covariance(outcome, &design, &clusters);
    let covariance = &to_given * covariance * to_given.transpose();
    let groups = clusters.len();
    let share = events as f64 / rows as f64;
    let null = events as f64 * share.ln() + (rows - events) as f64 * (1.0 - share).ln();
    Ok(LogitFit {
        terms: terms(&design.names, &estimates, &covariance, &classical, groups, level)?,
        covariance: to_rows(&covariance),
        rows,
        events,
        clusters: groups,
        log_likelihood: newton.log_likelihood,
        log_likelihood_null: null,
        iterations: newton.iterations,
        warnings: warnings(events, &design, &clusters)?,
    })
}

/// The estimates of [`logit`] alone, in the order of its terms, for resamples.
pub(super) fn logit_estimates(
    outcome: &[f64],
    covariates: &Covariates,
) -> Result<DVector<f64>, AnalysisError> {
    check_binary(outcome)?;
    let design = DesignMatrix::new(covariates, outcome.len())?;
    Ok(design.to_given_units() * Newton::run(outcome, &design)?.coefficients)
}

/// The number of ones.
fn check_binary(outcome: &[f64]) -> Result<usize, AnalysisError> {
    if let Some(row) = outcome.iter().position(|value| *value != 0.0 && *value != 1.0) {
        return Err(AnalysisError::BadValue {
            column: "outcome".to_owned(),
            row: row + 1,
            expected: "0 or 1".to_owned(),
            found: outcome[row].to_string(),
        });
    }
    let events = outcome.iter().filter(|value| **value == 1.0).count();
    if events == 0 || events == outcome.len() {
        let which = if events == 0 { "no row has" } else { "all rows have" };
        return Err(not_estimable(format!("{which} the outcome: there is nothing to explain")));
    }
    Ok(events)
}

fn warnings(
    events: usize,
    design: &DesignMatrix,
    clusters: &ClusterIndex,
) -> Result<Vec<FitWarning>, AnalysisError> {
    let mut warnings: Vec<FitWarning> =
        FitWarning::few_worlds(clusters.len()).into_iter().collect();
    warnings.extend(leverage_cautions(design, &inverse_gram(&design.z)?, clusters));
    let (rarer, covariates) = (events.min(design.rows() - events), design.columns() - 1);
    if rarer < EVENTS_PER_TERM_MIN * covariates {
        let text = format!(
            "{rarer} rows of the rarer outcome for {covariates} covariates: odds ratios are biased \
             below {EVENTS_PER_TERM_MIN} a covariate"
        );
        warnings.push(FitWarning { code: "few_events", text });
    }
    Ok(warnings)
}

/// Newton's method on the standardized covariates.
struct Newton {
    coefficients: DVector<f64>,
    information: Cholesky<f64, Dyn>,
    log_likelihood: f64,
    iterations: usize,
}

impl Newton {
    fn run(outcome: &[f64], design: &DesignMatrix) -> Result<Newton, AnalysisError> {
        let k = design.columns();
        let mut coefficients = DVector::zeros(k);
        let mut log_likelihood = log_likelihood(outcome, design, &coefficients);
        let mut step = DVector::zeros(k);
        for iterations in 1..=ITERATIONS_MAX {
            let (score, information) = derivatives(outcome, design, &coefficients);
            // Weights of separated rows vanish, and with them the information.
            let diagonal = information.diagonal();
            let Some(information) = information.cholesky() else { break };
            let part = |at: usize| information.l_dirty()[(at, at)].powi(2) / diagonal[at];
            if (0..k).any(|at| part(at) < INFORMATION_MIN) {
                break;
            }
            step = information.solve(&score);
            if (&design.z * &step).amax() <= STEP_MIN {
                return Ok(Newton { coefficients, information, log_likelihood, iterations });
            }
            // The log-likelihood is concave, so some fraction of the step does not lower it, but
            // for rounding near the maximum.
            let mut fraction = 1.0;
            loop {
                let next = &coefficients + fraction * &step;
                let value = self::log_likelihood(outcome, design, &next);
                if value >= log_likelihood - 1e-12 * log_likelihood.abs() || fraction < 1e-4 {
                    (coefficients, log_likelihood) = (next, value);
                    break;
                }
                fraction /= 2.0;
            }
        }
        Err(separation(outcome, design, &step))
    }

    /// H^-1 (sum of s s') H^-1 G / (G - 1).
    fn robust_covariance(
        &self,
        outcome: &[f64],
        design: &DesignMatrix,
        clusters: &ClusterIndex,
    ) -> DMatrix<f64> {
        let odds = &design.z * &self.coefficients;
        let residuals: Vec<f64> =
            outcome.iter().zip(odds.iter()).map(|(y, odds)| residual(*y, *odds)).collect();
        let inverse = self.information.inverse();
        let groups = clusters.len() as f64;
        &inverse
            * cluster_meat(&design.z, &residuals, clusters)
            * &inverse
            * (groups / (groups - 1.0))
    }
}

/// 1 / (1 + exp(-x)).
pub(super) fn logistic(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let exp = x.exp();
        exp / (1.0 + exp)
    }
}

/// ln(1 + exp(x)).
pub(super) fn log_one_plus_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// outcome - probability, with all digits where they nearly agree, as for separated rows.
fn residual(outcome: f64, odds: f64) -> f64 {
    if outcome == 1.0 { logistic(-odds) } else { -logistic(odds) }
}

fn log_likelihood(outcome: &[f64], design: &DesignMatrix, coefficients: &DVector<f64>) -> f64 {
    let odds = &design.z * coefficients;
    let row = |(y, odds): (&f64, &f64)| y * odds - log_one_plus_exp(*odds);
    outcome.iter().zip(odds.iter()).map(row).sum()
}

/// Score and information.
fn derivatives(
    outcome: &[f64],
    design: &DesignMatrix,
    coefficients: &DVector<f64>,
) -> (DVector<f64>, DMatrix<f64>) {
    let odds = &design.z * coefficients;
    let of_row = |(y, odds): (&f64, &f64)| residual(*y, *odds);
    let residuals = DVector::from_iterator(odds.len(), outcome.iter().zip(odds.iter()).map(of_row));
    let mut weighted = design.z.clone();
    for (row, odds) in odds.iter().enumerate() {
        weighted.row_mut(row).scale_mut(logistic(*odds) * logistic(-odds));
    }
    (design.z.transpose() * residuals, design.z.transpose() * weighted)
}

/// Why Newton's method did not end. With separation, its steps converge to a direction along which
/// the log odds of events only rise and those of non-events only fall (Albert and Anderson 1984).
fn separation(outcome: &[f64], design: &DesignMatrix, step: &DVector<f64>) -> AnalysisError {
    let change = &design.z * step;
    let toward = |(y, change): (&f64, &f64)| if *y == 1.0 { *change } else { -change };
    let toward: Vec<f64> = outcome.iter().zip(change.iter()).map(toward).collect();
    let most = toward.iter().copied().fold(0.0, f64::max);
    let least = toward.iter().copied().fold(0.0, f64::min);
    if most <= 0.0 || least < -1e-3 * most {
        return not_estimable(
            "the logit model's likelihood has no maximum that Newton's method finds",
        );
    }
    let largest = step.amax();
    let involved = |at: &usize| step[*at].abs() > 1e-3 * largest;
    let names: Vec<&str> =
        (1..design.columns()).filter(involved).map(|at| design.names[at].as_str()).collect();
    not_estimable(format!(
        "separation: {} predicts the outcome of some rows perfectly, so its coefficient has no \
         finite estimate",
        names.join(" with ")
    ))
}
