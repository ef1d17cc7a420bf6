//! Proportions and their differences.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::interval::{ConfidenceInterval, check_lengths, not_estimable};
use crate::inference::linear::ols;
use crate::numeric::distribution::check_level;
use crate::numeric::distribution::normal_critical;
use crate::survival::Covariates;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proportion {
    pub successes: u64,
    pub total: u64,
    pub share: f64,
    /// Wilson's score interval.
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProportionDifference {
    pub first: Proportion,
    pub second: Proportion,
    /// Share of the second minus share of the first.
    pub difference: f64,
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusteredDifference {
    /// Rows, successes and share of the control rows.
    pub control: Proportion,
    pub treated: Proportion,
    /// Share of the treated minus share of the controls.
    pub difference: f64,
    /// Cluster-robust (CR1).
    pub se: f64,
    pub t: f64,
    /// Two-sided, from t(clusters - 1).
    pub p: f64,
    pub interval: ConfidenceInterval,
    pub clusters: usize,
    pub warnings: Vec<FitWarning>,
}

/// A share with Wilson's interval (Wilson 1927), for independent trials.
///
/// # Errors
/// No trials, or more successes than trials.
pub fn wilson(successes: u64, total: u64, level: f64) -> Result<Proportion, AnalysisError> {
    check_level(level)?;
    if total == 0 {
        return Err(not_estimable("no trials: there is no share"));
    }
    if successes > total {
        let text = format!("{successes} successes of {total} trials: expected no more than trials");
        return Err(AnalysisError::Usage(text));
    }
    let (n, share) = (total as f64, successes as f64 / total as f64);
    let z = normal_critical(level);
    let width = 1.0 + z * z / n;
    let center = (share + z * z / (2.0 * n)) / width;
    let half = z / width * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // Exact bounds where rounding would leave 1e-17.
    let low = if successes == 0 { 0.0 } else { (center - half).max(0.0) };
    let high = if successes == total { 1.0 } else { (center + half).min(1.0) };
    let interval = ConfidenceInterval { low, high, level };
    Ok(Proportion { successes, total, share, interval })
}

/// Difference of two independent shares, second minus first, each given as (successes, trials),
/// with Newcombe's interval (Newcombe 1998, method 10).
///
/// # Errors
/// As [`wilson`].
pub fn newcombe_difference(
    first: (u64, u64),
    second: (u64, u64),
    level: f64,
) -> Result<ProportionDifference, AnalysisError> {
    let [first, second] = [first, second].map(|(successes, total)| wilson(successes, total, level));
    let (first, second) = (first?, second?);
    let difference = second.share - first.share;
    let below = |proportion: &Proportion| proportion.share - proportion.interval.low;
    let above = |proportion: &Proportion| proportion.interval.high - proportion.share;
    let interval = ConfidenceInterval {
        low: difference - below(&second).hypot(above(&first)),
        high: difference + above(&second).hypot(below(&first)),
        level,
    };
    Ok(ProportionDifference { first, second, difference, interval })
}

/// Difference of shares of treated and control rows, with errors that allow for worlds: least
/// squares of the outcome on the treatment ([`crate::inference::ols`]). The proportions' own
/// intervals are Wilson's and do not allow for worlds.
///
/// # Errors
/// Lengths that differ, no treated or no control rows, fewer than two clusters, outcomes that are
/// all equal within both groups.
pub fn clustered_difference(
    outcome: &[bool],
    treated: &[bool],
    clusters: &[u32],
    level: f64,
) -> Result<ClusteredDifference, AnalysisError> {
    check_lengths(("the treatment", treated.len()), ("the outcome", outcome.len()))?;
    let group = |which: bool| {
        let rows = || outcome.iter().zip(treated).filter(move |(_, treated)| **treated == which);
        let successes = rows().filter(|(outcome, _)| **outcome).count() as u64;
        match rows().count() as u64 {
            0 => Err(not_estimable(format!(
                "no {} rows: there is no difference",
                if which { "treated" } else { "control" }
            ))),
            total => wilson(successes, total, level),
        }
    };
    let (control, treated_share) = (group(false)?, group(true)?);
    let equal = |group: &Proportion| group.successes == 0 || group.successes == group.total;
    if equal(&control) && equal(&treated_share) {
        return Err(not_estimable(format!(
            "{} of {} control rows and {} of {} treated rows have the outcome: worlds show no \
             spread from which to tell an error",
            control.successes, control.total, treated_share.successes, treated_share.total
        )));
    }
    let number = |value: &bool| f64::from(u8::from(*value));
    let covariates = Covariates {
        names: vec!["treated".to_owned()],
        values: treated.iter().map(number).collect(),
    };
    let outcome: Vec<f64> = outcome.iter().map(number).collect();
    let fit = ols(&outcome, &covariates, clusters, level)?;
    let term = &fit.terms[1];
    Ok(ClusteredDifference {
        difference: treated_share.share - control.share,
        control,
        treated: treated_share,
        se: term.se,
        t: term.t,
        p: term.p,
        interval: term.interval,
        clusters: fit.clusters,
        warnings: fit.warnings,
    })
}
