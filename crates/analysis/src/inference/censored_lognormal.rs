//! Lognormal regression of times, some of which are lower bounds.

use crate::AnalysisError;
use crate::inference::design::DesignMatrix;
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::survival::Covariates;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use serde::Serialize;
use statrs::function::erf::erfc;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

const ITERATIONS_MAX: usize = 100;
/// The Newton decrement, about twice the log-likelihood still to be gained, that ends the
/// iteration.
const DECREMENT_MIN: f64 = 1e-16;
/// sigma below this share of the spread of ln(time): the events are on an exact line.
const SIGMA_MIN: f64 = 1e-6;

/// Less information a row on a (standardized) parameter is none.
const INFORMATION_MIN: f64 = 1e-8;

/// Times of runs, one element a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CensoredTimes<'a> {
    /// Time of the event, or until which there was none; above 0.
    pub times: &'a [f64],
    /// Whether the event happened; else the time is a lower bound.
    pub observed: &'a [bool],
}

/// ln(time) = intercept + coefficients * covariates + sigma * normal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LognormalFit {
    /// `(intercept)`, then the names of the covariates.
    pub names: Vec<String>,
    /// In the order of `names`.
    pub estimates: Vec<f64>,
    /// Standard errors from the observed information, as if runs were independent.
    pub se: Vec<f64>,
    /// SD of ln(time) around the line.
    pub sigma: f64,
    pub log_likelihood: f64,
    pub rows: usize,
    pub events: usize,
    pub iterations: usize,
}

/// Maximum likelihood of a lognormal regression with right-censored times, by Newton's method in
/// Olsen's parameters gamma = 1 / sigma and delta = coefficients / sigma, in which the
/// log-likelihood is concave (Olsen 1978).
///
/// # Errors
/// Lengths that differ, times not above 0, events no more than coefficients, a covariate that is
/// constant or a combination of others, events on an exact line, no finite maximum.
pub fn censored_lognormal(
    data: CensoredTimes<'_>,
    covariates: &Covariates,
) -> Result<LognormalFit, AnalysisError> {
    let rows = data.times.len();
    check_lengths(("the event flags", data.observed.len()), ("the times", rows))?;
    check_finite("time", data.times)?;
    if let Some(row) = data.times.iter().position(|time| *time <= 0.0) {
        return Err(AnalysisError::BadValue {
            column: "time".to_owned(),
            row: row + 1,
            expected: "a time above 0".to_owned(),
            found: data.times[row].to_string(),
        });
    }
    let design = DesignMatrix::new(covariates, rows)?;
    let events = data.observed.iter().filter(|observed| **observed).count();
    if events <= design.columns() {
        return Err(not_estimable(format!(
            "{events} events for {} coefficients and a spread: expected more",
            design.columns()
        )));
    }
    let regression = CensoredRegression::new(data, &design.z)?;
    let maximum = regression.maximize()?;
    Ok(regression.in_given_units(&maximum, &design, events))
}

/// Standardized ln(time) y against z.
struct CensoredRegression<'a> {
    y: Vec<f64>,
    observed: &'a [bool],
    z: &'a DMatrix<f64>,
    /// ln(time) = mean + scale * y.
    mean: f64,
    scale: f64,
    /// Sum of ln(time * scale) over events, the Jacobian of the density.
    jacobian: f64,
}

/// delta (k values), then gamma, and the information there.
struct LognormalMaximum {
    parameters: DVector<f64>,
    information: Cholesky<f64, Dyn>,
    log_likelihood: f64,
    iterations: usize,
}

impl<'a> CensoredRegression<'a> {
    fn new(data: CensoredTimes<'a>, z: &'a DMatrix<f64>) -> Result<Self, AnalysisError> {
        let logs: Vec<f64> = data.times.iter().map(|time| time.ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let scale = (squares / logs.len() as f64).sqrt();
        if scale <= 1e-12 * (1.0 + mean.abs()) {
            return Err(not_estimable("all times are equal: they have no spread"));
        }
        let events = logs.iter().zip(data.observed).filter(|(_, observed)| **observed);
        let jacobian = events.map(|(log, _)| log + scale.ln()).sum();
        let y = logs.iter().map(|log| (log - mean) / scale).collect();
        Ok(CensoredRegression { y, observed: data.observed, z, mean, scale, jacobian })
    }

    /// (gamma y - delta' z) of each row.
    fn residuals(&self, parameters: &DVector<f64>) -> Vec<f64> {
        let k = self.z.ncols();
        let fitted = self.z * parameters.rows(0, k);
        self.y.iter().zip(fitted.iter()).map(|(y, fitted)| parameters[k] * y - fitted).collect()
    }

    fn log_likelihood(&self, parameters: &DVector<f64>) -> f64 {
        let gamma = parameters[self.z.ncols()];
        if gamma <= 0.0 {
            return f64::NEG_INFINITY;
        }
        let density = gamma.ln() - 0.5 * TAU.ln();
        let row = |(e, observed): (f64, &bool)| {
            if *observed { density - 0.5 * e * e } else { ln_upper_tail(e) }
        };
        self.residuals(parameters).into_iter().zip(self.observed).map(row).sum::<f64>()
            - self.jacobian
    }

    /// Score and information.
    fn derivatives(&self, parameters: &DVector<f64>) -> (DVector<f64>, DMatrix<f64>) {
        let k = self.z.ncols();
        let gamma = parameters[k];
        let mut score = DVector::<f64>::zeros(k + 1);
        let mut information = DMatrix::<f64>::zeros(k + 1, k + 1);
        // d residual / d parameters = (-z, y).
        let mut slope = DVector::<f64>::zeros(k + 1);
        for (row, e) in self.residuals(parameters).into_iter().enumerate() {
            let (first, second) = if self.observed[row] {
                score[k] += 1.0 / gamma;
                information[(k, k)] += 1.0 / (gamma * gamma);
                (e, 1.0)
            } else {
                let hazard = normal_hazard(e);
                (hazard, hazard * (hazard - e))
            };
            for at in 0..k {
                slope[at] = -self.z[(row, at)];
            }
            slope[k] = self.y[row];
            score.axpy(-first, &slope, 1.0);
            information.ger(second, &slope, &slope, 1.0);
        }
        (score, information)
    }

    fn maximize(&self) -> Result<LognormalMaximum, AnalysisError> {
        let k = self.z.ncols();
        let mut parameters = DVector::<f64>::zeros(k + 1);
        parameters[k] = 1.0;
        let mut log_likelihood = self.log_likelihood(&parameters);
        for iterations in 1..=ITERATIONS_MAX {
            let (score, information) = self.derivatives(&parameters);
            let Some(information) = information.cholesky() else { break };
            let step = information.solve(&score);
            if parameters[k] > 1.0 / SIGMA_MIN {
                return Err(not_estimable("the times of events are on an exact line: no spread"));
            }
            if score.dot(&step) <= DECREMENT_MIN * self.y.len() as f64 {
                // Where lower bounds alone determine a coefficient, the likelihood levels off far
                // out, with hardly any information left.
                let least = INFORMATION_MIN * self.y.len() as f64;
                if (0..=k).any(|at| information.l_dirty()[(at, at)].powi(2) < least) {
                    return Err(no_maximum());
                }
                return Ok(LognormalMaximum {
                    parameters,
                    information,
                    log_likelihood,
                    iterations,
                });
            }
            let mut fraction = 1.0;
            loop {
                let next = &parameters + fraction * &step;
                let value = self.log_likelihood(&next);
                if value >= log_likelihood - 1e-12 * log_likelihood.abs() {
                    (parameters, log_likelihood) = (next, value);
                    break;
                }
                fraction /= 2.0;
                if fraction < 1e-12 {
                    return Err(no_maximum());
                }
            }
        }
        Err(no_maximum())
    }

    fn in_given_units(
        &self,
        maximum: &LognormalMaximum,
        design: &DesignMatrix,
        events: usize,
    ) -> LognormalFit {
        let k = self.z.ncols();
        let gamma = maximum.parameters[k];
        // Coefficients are scale * delta / gamma, and the intercept has the mean added.
        let delta = maximum.parameters.rows(0, k).into_owned();
        let mut jacobian = DMatrix::<f64>::zeros(k, k + 1);
        for at in 0..k {
            jacobian[(at, at)] = self.scale / gamma;
            jacobian[(at, k)] = -self.scale * delta[at] / (gamma * gamma);
        }
        let to_given = design.to_given_units();
        let mut estimates = &to_given * (delta * (self.scale / gamma));
        estimates[0] += self.mean;
        let jacobian = to_given * jacobian;
        let covariance = &jacobian * maximum.information.inverse() * jacobian.transpose();
        LognormalFit {
            names: design.names.clone(),
            estimates: estimates.iter().copied().collect(),
            se: covariance.diagonal().iter().map(|variance| variance.sqrt()).collect(),
            sigma: self.scale / gamma,
            log_likelihood: maximum.log_likelihood,
            rows: self.y.len(),
            events,
            iterations: maximum.iterations,
        }
    }
}

fn no_maximum() -> AnalysisError {
    not_estimable(
        "the likelihood of the times has no maximum: a covariate separates events from censored \
         times",
    )
}

/// phi(e) / (1 - Phi(e)), the inverse Mills ratio.
fn normal_hazard(e: f64) -> f64 {
    if e < FAR {
        let density = (-0.5 * e * e).exp() / TAU.sqrt();
        return density / (0.5 * erfc(e * FRAC_1_SQRT_2));
    }
    e / mills_series(e)
}

/// ln(1 - Phi(e)).
fn ln_upper_tail(e: f64) -> f64 {
    if e < FAR {
        return (0.5 * erfc(e * FRAC_1_SQRT_2)).ln();
    }
    -0.5 * e * e - 0.5 * TAU.ln() - e.ln() + mills_series(e).ln()
}

/// Beyond this, tails of the normal distribution underflow, and their series is exact.
const FAR: f64 = 25.0;

/// e (1 - Phi(e)) / phi(e) for large e, the asymptotic series.
fn mills_series(e: f64) -> f64 {
    let s = 1.0 / (e * e);
    1.0 - s * (1.0 - 3.0 * s * (1.0 - 5.0 * s * (1.0 - 7.0 * s)))
}
