//! Time at risk, and covariates of it.

/// Rows of time at risk. All vectors have one element a row; `strata`, `clusters` and `subjects`
/// may be empty: one stratum, each subject a cluster, each row a subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RiskData {
    /// The row is at risk in (start, stop].
    pub start: Vec<f64>,
    pub stop: Vec<f64>,
    /// What ended the row: 0 nothing (censored, or the subject's next row follows), else a cause.
    pub cause: Vec<u32>,
    pub strata: Vec<u32>,
    /// Independent units, of which robust errors are computed.
    pub clusters: Vec<u32>,
    /// The subject to which the row belongs.
    pub subjects: Vec<u32>,
}

/// Values of covariates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Covariates {
    pub names: Vec<String>,
    /// Values by row: those of row r are `values[r * names.len()..][..names.len()]`.
    pub values: Vec<f64>,
}
