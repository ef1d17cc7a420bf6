//! Proportions and their differences.

use crate::AnalysisError;
use crate::inference::interval::{Caution, ConfidenceInterval};
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
    pub cautions: Vec<Caution>,
}

/// A share with Wilson's interval (Wilson 1927), for independent trials.
///
/// # Errors
/// No trials, or more successes than trials.
pub fn wilson(successes: u64, total: u64, level: f64) -> Result<Proportion, AnalysisError> {
    todo!()
}

/// Difference of two independent shares, second minus first, each given as (successes, trials), with
/// Newcombe's interval (Newcombe 1998, method 10).
///
/// # Errors
/// As [`wilson`].
pub fn newcombe_difference(
    first: (u64, u64),
    second: (u64, u64),
    level: f64,
) -> Result<ProportionDifference, AnalysisError> {
    todo!()
}

/// Difference of shares of treated and control rows, with errors that allow for worlds. The
/// proportions' own intervals are Wilson's and do not.
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
    todo!()
}
