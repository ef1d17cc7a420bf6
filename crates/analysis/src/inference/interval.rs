//! What results of several methods share: an interval, and checks of what they are given.

use crate::AnalysisError;
use serde::Serialize;

/// A confidence interval, both bounds of which are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConfidenceInterval {
    pub low: f64,
    pub high: f64,
    /// The level aimed at, such as .95.
    pub level: f64,
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
