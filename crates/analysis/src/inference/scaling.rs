//! Time to an event against model size: a censored lognormal regression.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::bootstrap::{BootstrapEstimate, BootstrapOptions, cluster_bootstrap_many};
use crate::inference::censored_lognormal::{CensoredTimes, LognormalFit, censored_lognormal};
use crate::inference::interval::{check_lengths, not_estimable};
use crate::survival::Covariates;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScalingFit {
    /// d ln(time) / d ln(parameters), with intervals of the bootstrap over worlds.
    pub exponent: BootstrapEstimate,
    /// Factor of the time when the parameters are tenfold.
    pub tenfold_ratio: BootstrapEstimate,
    /// Median time by distinct size, in rising order: (parameters, median time).
    pub medians: Vec<(f64, BootstrapEstimate)>,
    pub fit: LognormalFit,
    pub warnings: Vec<FitWarning>,
}

/// Scaling of the time with the number of parameters of the model: `parameters` has that number for
/// each run, `clusters` its world. The regression is [`censored_lognormal`] of the time on
/// ln(parameters).
///
/// # Errors
/// As [`censored_lognormal`]; parameters not above 0; fewer than two distinct sizes; as
/// [`crate::inference::cluster_bootstrap`].
pub fn scaling_law(
    data: CensoredTimes<'_>,
    parameters: &[f64],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<ScalingFit, AnalysisError> {
    let rows = data.times.len();
    check_lengths(("the parameters", parameters.len()), ("the times", rows))?;
    check_lengths(("the event flags", data.observed.len()), ("the times", rows))?;
    check_lengths(("the clusters", clusters.len()), ("the times", rows))?;
    if let Some(row) = parameters.iter().position(|size| !size.is_finite() || *size <= 0.0) {
        return Err(AnalysisError::BadValue {
            column: "parameters".to_owned(),
            row: row + 1,
            expected: "a number above 0".to_owned(),
            found: parameters[row].to_string(),
        });
    }
    let mut sizes = parameters.to_vec();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    if sizes.len() < 2 {
        let text = format!("{} sizes of models: scaling needs at least two", sizes.len());
        return Err(not_estimable(text));
    }
    let all: Vec<usize> = (0..rows).collect();
    let fit = fit_rows(data, parameters, &all)?;
    let estimates = cluster_bootstrap_many(clusters, options, |sample| {
        let fit = fit_rows(data, parameters, sample.rows).ok();
        let line = fit.map(|fit| (fit.estimates[0], fit.estimates[1]));
        let exponent = line.map(|(_, exponent)| exponent);
        let ratio = exponent.map(|exponent| 10f64.powf(exponent));
        let median = |size: &f64| line.map(|(start, slope)| (start + slope * size.ln()).exp());
        [exponent, ratio].into_iter().chain(sizes.iter().map(median)).collect()
    })?;
    let mut estimates = estimates.into_iter();
    let missing = || not_estimable("the bootstrap gave fewer statistics than asked for");
    let exponent = estimates.next().ok_or_else(missing)?;
    let tenfold_ratio = estimates.next().ok_or_else(missing)?;
    let mut warnings = exponent.warnings.clone();
    if sizes.len() == 2 {
        let text = "two sizes of models: whether ln(time) is a line cannot be seen".to_owned();
        warnings.push(FitWarning { code: "two_sizes", text });
    }
    Ok(ScalingFit {
        exponent,
        tenfold_ratio,
        medians: sizes.into_iter().zip(estimates).collect(),
        fit,
        warnings,
    })
}

/// The regression of some of the rows.
fn fit_rows(
    data: CensoredTimes<'_>,
    parameters: &[f64],
    rows: &[usize],
) -> Result<LognormalFit, AnalysisError> {
    let times: Vec<f64> = rows.iter().map(|row| data.times[*row]).collect();
    let observed: Vec<bool> = rows.iter().map(|row| data.observed[*row]).collect();
    let covariates = Covariates {
        names: vec!["ln(parameters)".to_owned()],
        values: rows.iter().map(|row| parameters[*row].ln()).collect(),
    };
    censored_lognormal(CensoredTimes { times: &times, observed: &observed }, &covariates)
}
