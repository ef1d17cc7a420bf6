//! What results of several methods share: an interval, and a caution beside a result.

use crate::AnalysisError;
use serde::Serialize;

/// Below this number of clusters, cluster-robust errors are too small even with t(G - 1).
const WORLDS_MIN: usize = 20;

/// A confidence interval, both bounds of which are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConfidenceInterval {
    pub low: f64,
    pub high: f64,
    /// The level aimed at, such as .95.
    pub level: f64,
}

/// Why a result is to be read with care. The result holds, under a condition that the text names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Caution {
    /// A stable name: `few_worlds`, `few_events`, `weak_instrument`.
    pub code: &'static str,
    pub text: String,
}

impl Caution {
    /// The caution for a number of clusters on which robust errors and bootstraps rely, if it is
    /// low.
    pub(super) fn few_worlds(clusters: usize) -> Option<Caution> {
        (clusters < WORLDS_MIN).then(|| Caution {
            code: "few_worlds",
            text: format!(
                "{clusters} worlds: errors are uncertain below {WORLDS_MIN}; more worlds help, \
                 more runs of the same worlds do not"
            ),
        })
    }

    /// The caution for resamples that gave no statistic, if there are any.
    pub(super) fn failed_resamples(failed: usize, replicates: usize) -> Option<Caution> {
        (failed > 0).then(|| Caution {
            code: "failed_resamples",
            text: format!(
                "{failed} of {replicates} resamples do not determine the statistic; the interval \
                 is that of the others"
            ),
        })
    }
}

/// # Errors
/// The level is not between 0 and 1.
pub(super) fn check_level(level: f64) -> Result<(), AnalysisError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(AnalysisError::Usage(format!("expected a confidence level such as 0.95, found {level}")))
}

/// # Errors
/// A value is not finite.
pub(super) fn check_finite(column: &str, values: &[f64]) -> Result<(), AnalysisError> {
    let Some(row) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    Err(AnalysisError::BadValue {
        column: column.to_owned(),
        row: row + 1,
        expected: "a finite number".to_owned(),
        found: if values[row].is_nan() { "no value".to_owned() } else { values[row].to_string() },
    })
}

/// # Errors
/// The lengths differ. `what` and `of` name the two.
pub(super) fn check_lengths(
    (what, length): (&str, usize),
    (of, expected): (&str, usize),
) -> Result<(), AnalysisError> {
    if length == expected {
        return Ok(());
    }
    let text = format!("{what} has {length} rows, {of} has {expected}: expected the same number");
    Err(AnalysisError::Usage(text))
}

pub(super) fn not_estimable(text: impl Into<String>) -> AnalysisError {
    AnalysisError::NotEstimable(text.into())
}
