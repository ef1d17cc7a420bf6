//! Fisher's exact test of a table with fixed margins (Freeman and Halton 1951): p is the
//! probability of the tables that are no more probable than the one at hand.

use crate::AnalysisError;
use crate::inference::draws::{p_error, shuffle};
use base::SplitMix64;
use serde::Serialize;
use statrs::function::gamma::ln_gamma;

/// Log probabilities that differ by less are equal.
const TIE: f64 = 1e-7;

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

/// Result of the exact test.
pub(super) struct ExactTest {
    pub p: f64,
    /// Monte Carlo standard error, 0 if all tables were enumerated.
    pub error: f64,
    pub method: ContingencyMethod,
}

/// `counts` has no empty rows and columns.
///
/// # Errors
/// Tables have to be drawn, and the number of draws is 0.
pub(super) fn exact_test(
    counts: &[Vec<u64>],
    options: &ContingencyOptions,
) -> Result<ExactTest, AnalysisError> {
    let tables = Tables::new(counts);
    if let Some(p) = tables.enumerated(options.tables_max) {
        return Ok(ExactTest { p, error: 0.0, method: ContingencyMethod::Exact });
    }
    if options.draws == 0 {
        return Err(AnalysisError::Usage("expected at least one draw".to_owned()));
    }
    let p = tables.drawn(options.draws, options.seed);
    let error = p_error(p, options.draws as u64);
    Ok(ExactTest { p, error, method: ContingencyMethod::ExactByDraws })
}

/// The tables with given margins, of which one was observed.
struct Tables {
    rows: Vec<u64>,
    columns: Vec<u64>,
    /// Sum of ln n! over the margins less ln total!: the log probability of a table is this less
    /// the sum of ln n! over its cells.
    constant: f64,
    /// Log probability of the observed table.
    observed: f64,
}

/// State of the enumeration.
struct Walk {
    /// What of the rows' sums is not yet placed.
    rest: Vec<u64>,
    /// Tables that may still be visited.
    left: u64,
    /// Probability of the tables no more probable than the observed one, and of all so far.
    extreme: f64,
    all: f64,
}

impl Tables {
    fn new(counts: &[Vec<u64>]) -> Tables {
        let rows: Vec<u64> = counts.iter().map(|row| row.iter().sum()).collect();
        let columns: Vec<u64> =
            (0..counts[0].len()).map(|at| counts.iter().map(|row| row[at]).sum()).collect();
        let total = rows.iter().sum();
        let margins = rows.iter().chain(&columns).map(|n| ln_factorial(*n)).sum::<f64>();
        let constant = margins - ln_factorial(total);
        let observed = constant - counts.iter().flatten().map(|n| ln_factorial(*n)).sum::<f64>();
        Tables { rows, columns, constant, observed }
    }

    fn is_extreme(&self, log_probability: f64) -> bool {
        log_probability <= self.observed + TIE
    }

    /// p from all tables; `None` if there are more than `tables_max`.
    fn enumerated(&self, tables_max: u64) -> Option<f64> {
        let mut walk = Walk { rest: self.rows.clone(), left: tables_max, extreme: 0.0, all: 0.0 };
        let complete = self.fill((0, 0), self.columns[0], self.constant, &mut walk);
        complete.then(|| (walk.extreme / walk.all).min(1.0))
    }

    /// Fills the table from a cell on, column by column; `open` of the column's sum is not yet
    /// placed. Returns whether all tables were visited.
    fn fill(
        &self,
        (row, column): (usize, usize),
        open: u64,
        log_probability: f64,
        walk: &mut Walk,
    ) -> bool {
        if column + 1 == self.columns.len() {
            // What is left of the rows is the last column.
            if walk.left == 0 {
                return false;
            }
            walk.left -= 1;
            let log_probability =
                log_probability - walk.rest.iter().map(|n| ln_factorial(*n)).sum::<f64>();
            walk.all += log_probability.exp();
            if self.is_extreme(log_probability) {
                walk.extreme += log_probability.exp();
            }
            return true;
        }
        // Rows below have to take what this row does not.
        let below: u64 = walk.rest[row + 1..].iter().sum();
        for cell in open.saturating_sub(below)..=open.min(walk.rest[row]) {
            walk.rest[row] -= cell;
            let (next, open) = if row + 1 == self.rows.len() {
                ((0, column + 1), self.columns[column + 1])
            } else {
                ((row + 1, column), open - cell)
            };
            let complete = self.fill(next, open, log_probability - ln_factorial(cell), walk);
            walk.rest[row] += cell;
            if !complete {
                return false;
            }
        }
        true
    }

    /// p from tables drawn by shuffling the columns of the cases.
    fn drawn(&self, draws: usize, seed: u64) -> f64 {
        let mut cases: Vec<usize> = Vec::new();
        for (column, count) in self.columns.iter().enumerate() {
            cases.extend(std::iter::repeat_n(column, *count as usize));
        }
        let ln_factorials: Vec<f64> = (0..=cases.len() as u64).map(ln_factorial).collect();
        let mut random = SplitMix64(seed);
        let mut extreme = 0u64;
        let mut counts = vec![0usize; self.columns.len()];
        for _ in 0..draws {
            shuffle(&mut random, &mut cases);
            let mut log_probability = self.constant;
            let mut first = 0;
            for row in &self.rows {
                let end = first + *row as usize;
                counts.fill(0);
                cases[first..end].iter().for_each(|column| counts[*column] += 1);
                log_probability -= counts.iter().map(|n| ln_factorials[*n]).sum::<f64>();
                first = end;
            }
            extreme += u64::from(self.is_extreme(log_probability));
        }
        (1.0 + extreme as f64) / (1.0 + draws as f64)
    }
}

fn ln_factorial(n: u64) -> f64 {
    if n < 2 { 0.0 } else { ln_gamma(n as f64 + 1.0) }
}
