//! Tables of counts: chi-square, Cramer's V, Fisher's exact test.

use crate::AnalysisError;
use crate::inference::interval::Caution;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContingencyOptions {
    /// The exact test enumerates tables of the same margins up to this number, and draws beyond.
    pub tables_max: u64,
    /// Number of drawn tables.
    pub draws: usize,
    pub seed: u64,
}

/// Where the reported p comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContingencyMethod {
    /// Pearson's chi-square: all expected counts are 5 or more.
    ChiSquare,
    /// Fisher's test (Freeman and Halton 1951) over all tables of the same margins.
    Exact,
    /// The same over drawn tables.
    ExactByDraws,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContingencyTest {
    /// Sum of the counts.
    pub total: u64,
    /// Expected counts without association. Zero in an empty row or column.
    pub expected: Vec<Vec<f64>>,
    pub smallest_expected: f64,
    /// Adjusted standardized residuals (Haberman 1973), about normal without association; `None` in
    /// an empty row or column.
    pub residuals: Vec<Vec<Option<f64>>>,
    pub chi_square: f64,
    /// Degrees of freedom, without empty rows and columns.
    pub df: usize,
    pub p_chi_square: f64,
    /// Exact p, computed where an expected count is below 5.
    pub p_exact: Option<f64>,
    /// Monte Carlo standard error of `p_exact`, 0 if all tables were enumerated.
    pub p_exact_error: Option<f64>,
    /// The p to report: the exact one where it is computed.
    pub p: f64,
    pub method: ContingencyMethod,
    /// 0 no association, 1 complete association.
    pub cramers_v: f64,
    /// Without the upward bias of small samples (Bergsma 2013).
    pub cramers_v_corrected: f64,
    pub cautions: Vec<Caution>,
}

/// Association of the rows and columns of a table of counts.
///
/// # Errors
/// Rows of different lengths, or fewer than two rows or columns that have counts.
pub fn contingency_test(
    counts: &[Vec<u64>],
    options: &ContingencyOptions,
) -> Result<ContingencyTest, AnalysisError> {
    todo!()
}
