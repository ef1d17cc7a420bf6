//! A response against the dose as a smooth curve, and the dose at which it tips.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::bootstrap::{BootstrapOptions, Resampled};
use crate::inference::interval::{ConfidenceInterval, check_finite, check_lengths};
use crate::inference::linear::{ols, ols_estimates};
use crate::inference::logit::{logistic, logit, logit_estimates};
use crate::inference::spline::{KNOTS_MAX, KNOTS_MIN, dose_spline, spline_covariates};
use crate::inference::terms::wald_f;
use crate::inference::tipping::{Curve, ResponseKind, Tip, Tips};
use crate::numeric::distribution::{f_p, t_critical};
use crate::numeric::spline::RestrictedCubicSpline;
use crate::survival::Covariates;
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoseResponseOptions {
    pub kind: ResponseKind,
    /// Knots of the spline, 3 to 5; fewer are used if there are fewer distinct doses.
    pub knots: usize,
    /// Points of the curve, evenly spaced between the lowest and the highest dose.
    pub points: usize,
    pub bootstrap: BootstrapOptions,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DosePoint {
    pub dose: f64,
    /// Probability or mean.
    pub response: f64,
    /// Pointwise, from cluster-robust errors and t(G - 1); a probability's is computed on the logit
    /// scale.
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TippingPoint {
    pub dose: f64,
    /// Response at this dose.
    pub response: f64,
    /// Change of the response per unit of dose at this dose.
    pub slope: f64,
    /// Percentile interval of the bootstrap over worlds; `None` if under half of the resamples
    /// have such a dose.
    pub interval: Option<ConfidenceInterval>,
    /// Resamples that gave no such dose.
    pub failed: usize,
    /// The dose is the lowest or highest of the data: the curve may tip outside of them.
    pub at_edge: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoseResponse {
    pub kind: ResponseKind,
    pub rows: usize,
    pub clusters: usize,
    /// Doses at which the pieces of the spline meet.
    pub knots: Vec<f64>,
    pub curve: Vec<DosePoint>,
    /// Cluster-robust F test that the curve is flat, and that it is straight (on the logit scale
    /// for a probability); `None` where the model has no curvature or too few clusters.
    pub p_flat: Option<f64>,
    pub p_straight: Option<f64>,
    /// Where the curve is steepest in its main direction; `None` for a flat curve.
    pub steepest: Option<TippingPoint>,
    /// The lowest dose at which the response is halfway between the lowest and the highest value
    /// of the curve; `None` for a flat curve.
    pub halfway: Option<TippingPoint>,
    pub warnings: Vec<FitWarning>,
}

/// Fits a restricted cubic spline (Harrell 2015, section 2.4.5) of the dose, not forced to be
/// monotone. `outcome` is 0 or 1 for a probability. The knots stay the same in resamples.
///
/// # Errors
/// Lengths that differ, fewer than 3 distinct doses or 2 clusters, an outcome that does not vary, a
/// dose that separates the outcomes completely.
pub fn dose_response(
    dose: &[f64],
    outcome: &[f64],
    clusters: &[u32],
    options: &DoseResponseOptions,
) -> Result<DoseResponse, AnalysisError> {
    check_lengths(("the doses", dose.len()), ("the outcome", outcome.len()))?;
    check_finite("dose", dose)?;
    if !(KNOTS_MIN..=KNOTS_MAX).contains(&options.knots) {
        let text = format!("{} knots: expected {KNOTS_MIN} to {KNOTS_MAX}", options.knots);
        return Err(AnalysisError::Usage(text));
    }
    if options.points < 2 {
        return Err(AnalysisError::Usage("expected at least 2 points of the curve".to_owned()));
    }
    let spline = dose_spline(dose, options.knots)?;
    let all: Vec<usize> = (0..dose.len()).collect();
    let fit = RobustFit::new(options, outcome, &spline_covariates(&spline, dose, &all), clusters)?;
    let low = dose.iter().copied().fold(f64::INFINITY, f64::min);
    let high = dose.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let curve =
        |estimates: Vec<f64>| Curve::new(options.kind, &spline, estimates, (low, high)).tips();
    let tips = curve(fit.estimates.iter().copied().collect());
    let labels =
        if clusters.is_empty() { (0..dose.len() as u32).collect() } else { clusters.to_vec() };
    let resampled = Resampled::new(&labels, &options.bootstrap, |sample| {
        let covariates = spline_covariates(&spline, dose, sample.rows);
        let outcome: Vec<f64> = sample.rows.iter().map(|row| outcome[*row]).collect();
        let tips = estimates(options.kind, &outcome, &covariates).ok().map(curve);
        let dose = |tip: Option<Tip>| tip.map(|tip| tip.dose);
        let steepest = tips.and_then(|tips| dose(tips.steepest));
        vec![steepest, tips.and_then(|tips| dose(tips.halfway))]
    })?;
    let point = |tip: Option<Tip>, at: usize| {
        tip.map(|tip| TippingPoint {
            dose: tip.dose,
            response: tip.response,
            slope: tip.slope,
            interval: resampled.percentile(at),
            failed: resampled.failed(at),
            at_edge: tip.dose <= low || tip.dose >= high,
        })
    };
    let bends: Vec<usize> = (2..=spline.df()).collect();
    let p_flat = fit.p_of(&[vec![1], bends.clone()].concat());
    let step = (high - low) / (options.points as f64 - 1.0);
    let doses = (0..options.points).map(|at| (low + step * at as f64).min(high));
    Ok(DoseResponse {
        kind: options.kind,
        rows: dose.len(),
        clusters: fit.clusters,
        curve: doses.map(|dose| fit.point(options, &spline, dose)).collect(),
        p_flat,
        p_straight: fit.p_of(&bends),
        steepest: point(tips.steepest, 0),
        halfway: point(tips.halfway, 1),
        warnings: warnings(&fit, p_flat, &tips, &resampled, options),
        knots: spline.knots().to_vec(),
    })
}

fn warnings(
    fit: &RobustFit,
    p_flat: Option<f64>,
    tips: &Tips,
    resampled: &Resampled,
    options: &DoseResponseOptions,
) -> Vec<FitWarning> {
    let mut warnings = fit.warnings.clone();
    if p_flat.is_none_or(|p| p > 0.05) || tips.steepest.is_none() {
        let text = match p_flat {
            Some(p) => format!("the curve does not differ from a flat one (p = {p:.3})"),
            None => "too few worlds to tell the curve from a flat one".to_owned(),
        };
        let text = format!("{text}: where it tips is not determined");
        warnings.push(FitWarning { code: "no_tipping_point", text });
    }
    let failed = resampled.failed(0).max(resampled.failed(1));
    warnings.extend(FitWarning::failed_resamples(failed, options.bootstrap.replicates));
    warnings
}

/// The spline's coefficients with their robust covariance.
struct RobustFit {
    estimates: DVector<f64>,
    covariance: DMatrix<f64>,
    clusters: usize,
    warnings: Vec<FitWarning>,
}

impl RobustFit {
    fn new(
        options: &DoseResponseOptions,
        outcome: &[f64],
        covariates: &Covariates,
        clusters: &[u32],
    ) -> Result<RobustFit, AnalysisError> {
        let level = options.bootstrap.level;
        let (terms, covariance, clusters, warnings) = match options.kind {
            ResponseKind::Probability => {
                let fit = logit(outcome, covariates, clusters, level)?;
                (fit.terms, fit.covariance, fit.clusters, fit.warnings)
            }
            ResponseKind::Mean => {
                let fit = ols(outcome, covariates, clusters, level)?;
                (fit.terms, fit.covariance, fit.clusters, fit.warnings)
            }
        };
        let k = terms.len();
        Ok(RobustFit {
            estimates: DVector::from_iterator(k, terms.iter().map(|term| term.estimate)),
            covariance: DMatrix::from_fn(k, k, |i, j| covariance[i][j]),
            clusters,
            warnings,
        })
    }

    /// p that the coefficients at `which` are all 0.
    fn p_of(&self, which: &[usize]) -> Option<f64> {
        let f = wald_f(&self.estimates, &self.covariance, which, self.clusters)?;
        Some(f_p(f, which.len() as f64, self.clusters as f64 - 1.0))
    }

    fn point(
        &self,
        options: &DoseResponseOptions,
        spline: &RestrictedCubicSpline,
        dose: f64,
    ) -> DosePoint {
        let level = options.bootstrap.level;
        let x = DVector::from_vec([vec![1.0], spline.basis(dose)].concat());
        let center = x.dot(&self.estimates);
        let variance = (x.transpose() * &self.covariance * &x)[(0, 0)];
        let half = t_critical(level, self.clusters as f64 - 1.0) * variance.max(0.0).sqrt();
        let [low, response, high] = [center - half, center, center + half].map(|value| {
            if options.kind == ResponseKind::Probability { logistic(value) } else { value }
        });
        DosePoint { dose, response, interval: ConfidenceInterval { low, high, level } }
    }
}

/// The intercept and the coefficients of the spline's terms.
fn estimates(
    kind: ResponseKind,
    outcome: &[f64],
    covariates: &Covariates,
) -> Result<Vec<f64>, AnalysisError> {
    let estimates = match kind {
        ResponseKind::Probability => logit_estimates(outcome, covariates)?,
        ResponseKind::Mean => ols_estimates(outcome, covariates)?,
    };
    Ok(estimates.iter().copied().collect())
}
