//! Tables of counts: chi-square, Cramer's V, Fisher's exact test.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::exact_table::{ContingencyMethod, ContingencyOptions, exact_test};
use crate::inference::interval::{check_lengths, not_estimable};
use crate::numeric::distribution::chi_squared_p;
use serde::Serialize;

/// Below this expected count chi-square is no good approximation (Cochran 1954).
const EXPECTED_MIN: f64 = 5.0;

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
    pub warnings: Vec<FitWarning>,
}

/// Association of the rows and columns of a table of counts of independent cases.
///
/// # Errors
/// Rows of different lengths, or fewer than two rows or columns that have counts.
pub fn contingency_test(
    counts: &[Vec<u64>],
    options: &ContingencyOptions,
) -> Result<ContingencyTest, AnalysisError> {
    let margins = Margins::new(counts)?;
    let (rows, columns) = (margins.full_rows(), margins.full_columns());
    if rows.len() < 2 || columns.len() < 2 {
        return Err(not_estimable(format!(
            "{} rows and {} columns of the table have counts: association needs two of each",
            rows.len(),
            columns.len()
        )));
    }
    let (total, df) = (margins.total as f64, (rows.len() - 1) * (columns.len() - 1));
    let (mut chi_square, mut smallest_expected) = (0.0, f64::INFINITY);
    for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |at| (*row, *at))) {
        let expected = margins.expected(row, column);
        chi_square += (counts[row][column] as f64 - expected).powi(2) / expected;
        smallest_expected = smallest_expected.min(expected);
    }
    let p_chi_square = chi_squared_p(chi_square, df as f64);
    let mut test = ContingencyTest {
        total: margins.total,
        expected: margins.table(|row, column| margins.expected(row, column)),
        smallest_expected,
        residuals: margins.table(|row, column| margins.residual(counts, row, column)),
        chi_square,
        df,
        p_chi_square,
        p_exact: None,
        p_exact_error: None,
        p: p_chi_square,
        method: ContingencyMethod::ChiSquare,
        cramers_v: (chi_square / total / (rows.len().min(columns.len()) as f64 - 1.0)).sqrt(),
        cramers_v_corrected: corrected_v(chi_square / total, rows.len(), columns.len(), total),
        warnings: margins.warnings(&rows, &columns),
    };
    if smallest_expected < EXPECTED_MIN {
        let full: Vec<Vec<u64>> = rows
            .iter()
            .map(|row| columns.iter().map(|column| counts[*row][*column]).collect())
            .collect();
        let exact = exact_test(&full, options)?;
        test.p_exact = Some(exact.p);
        test.p_exact_error = Some(exact.error);
        test.p = exact.p;
        test.method = exact.method;
    }
    Ok(test)
}

/// Bergsma's V, from chi-square over n.
fn corrected_v(phi_squared: f64, rows: usize, columns: usize, total: f64) -> f64 {
    let (r, c) = (rows as f64, columns as f64);
    let phi_squared = phi_squared - (r - 1.0) * (c - 1.0) / (total - 1.0);
    let shrunk = |levels: f64| levels - (levels - 1.0).powi(2) / (total - 1.0) - 1.0;
    let least = shrunk(r).min(shrunk(c));
    if phi_squared <= 0.0 || least <= 0.0 { 0.0 } else { (phi_squared / least).sqrt().min(1.0) }
}

/// Sums of the rows and columns of a table.
struct Margins {
    rows: Vec<u64>,
    columns: Vec<u64>,
    total: u64,
}

impl Margins {
    fn new(counts: &[Vec<u64>]) -> Result<Margins, AnalysisError> {
        let width = counts.first().map_or(0, Vec::len);
        for row in counts {
            check_lengths(("a row of the table", row.len()), ("the first row", width))?;
        }
        let rows: Vec<u64> = counts.iter().map(|row| row.iter().sum()).collect();
        let columns: Vec<u64> =
            (0..width).map(|at| counts.iter().map(|row| row[at]).sum()).collect();
        let total = rows.iter().sum();
        Ok(Margins { rows, columns, total })
    }

    fn full_rows(&self) -> Vec<usize> {
        (0..self.rows.len()).filter(|row| self.rows[*row] > 0).collect()
    }

    fn full_columns(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|column| self.columns[*column] > 0).collect()
    }

    fn expected(&self, row: usize, column: usize) -> f64 {
        self.rows[row] as f64 * self.columns[column] as f64 / self.total as f64
    }

    fn residual(&self, counts: &[Vec<u64>], row: usize, column: usize) -> Option<f64> {
        let (total, expected) = (self.total as f64, self.expected(row, column));
        let rest =
            (1.0 - self.rows[row] as f64 / total) * (1.0 - self.columns[column] as f64 / total);
        let variance = expected * rest;
        (variance > 0.0).then(|| (counts[row][column] as f64 - expected) / variance.sqrt())
    }

    /// A table of the values of a function of (row, column).
    fn table<T>(&self, value: impl Fn(usize, usize) -> T) -> Vec<Vec<T>> {
        let row = |row| (0..self.columns.len()).map(|column| value(row, column)).collect();
        (0..self.rows.len()).map(row).collect()
    }

    fn warnings(&self, rows: &[usize], columns: &[usize]) -> Vec<FitWarning> {
        let empty = self.rows.len() + self.columns.len() - rows.len() - columns.len();
        let text = format!("{empty} empty rows and columns of the table are left out of the test");
        let warning = FitWarning { code: "empty_rows_or_columns", text };
        (empty > 0).then_some(warning).into_iter().collect()
    }
}
