//! Permutation of treatment labels (doses) within blocks (worlds).

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::draws::{below, p_error};
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::numeric::quantile::{mean, standard_deviation};
use base::SplitMix64;
use serde::Serialize;

/// Statistics that differ by less than this share of the largest one are equal.
const TIE: f64 = 1e-11;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// Twice the smaller tail, at most 1.
    TwoSided,
    /// Large statistics speak against the null hypothesis.
    Greater,
    /// Small ones do.
    Less,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PermutationOptions {
    pub alternative: Alternative,
    /// All arrangements (of memory 8 bytes each) are enumerated up to this number, else
    /// some are drawn.
    pub exact_max: u64,
    /// Number of drawn arrangements.
    pub draws: usize,
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PermutationTest {
    /// Statistic of the data.
    pub statistic: f64,
    /// Mean and SD of the statistic over the arrangements.
    pub mean: f64,
    pub sd: f64,
    /// The share of arrangements at least as extreme; (1 + count) / (1 + draws) of drawn ones.
    pub p: f64,
    /// Monte Carlo standard error of p, 0 if exact.
    pub p_error: f64,
    pub exact: bool,
    /// Arrangements enumerated or drawn.
    pub arrangements: u64,
    /// Arrangements whose statistic was not finite; they count as extreme.
    pub failed: u64,
    pub warnings: Vec<FitWarning>,
}

/// Permutation test of a statistic. `doses` are the labels of the rows, `blocks` the worlds within
/// which they are exchangeable; empty: one block. The closure computes the statistic from an
/// assignment of doses to rows. Rows of equal dose in a block are interchangeable, so each distinct
/// assignment counts once.
///
/// # Errors
/// Lengths that differ, no block with two different doses, or a statistic of the data that is not
/// finite.
pub fn permutation_test(
    doses: &[f64],
    blocks: &[u32],
    options: &PermutationOptions,
    mut statistic: impl FnMut(&[f64]) -> f64,
) -> Result<PermutationTest, AnalysisError> {
    check_finite("dose", doses)?;
    let blocks = if blocks.is_empty() { vec![0; doses.len()] } else { blocks.to_vec() };
    check_lengths(("the blocks", blocks.len()), ("the doses", doses.len()))?;
    // Blocks of one dose have one arrangement.
    let mut blocks = ClusterIndex::new(&blocks).members;
    blocks.retain(|rows| rows.iter().any(|row| doses[*row] != doses[rows[0]]));
    if blocks.is_empty() {
        return Err(not_estimable("no world has two different doses: nothing can be permuted"));
    }
    let observed = statistic(doses);
    if !observed.is_finite() {
        return Err(not_estimable("the data do not determine the statistic"));
    }
    let arrangements = arrangements(doses, &blocks);
    let exact = arrangements.is_some_and(|number| number <= options.exact_max);
    if !exact && options.draws == 0 {
        return Err(AnalysisError::Usage("expected at least one draw".to_owned()));
    }
    let values = if exact {
        enumerated(doses, &blocks, statistic)
    } else {
        drawn(doses, &blocks, options, statistic)
    };
    Ok(result(observed, &values, exact, options.alternative))
}

/// The number of distinct assignments; `None` above 2^64.
fn arrangements(doses: &[f64], blocks: &[Vec<usize>]) -> Option<u64> {
    let mut number = 1u128;
    for rows in blocks {
        let mut placed = 0u128;
        for (_, count) in levels(doses, rows) {
            // A binomial coefficient, which stays whole after each factor.
            let mut ways = 1u128;
            for chosen in 1..=count as u128 {
                placed += 1;
                ways = ways.checked_mul(placed)? / chosen;
            }
            number = number.checked_mul(ways)?;
            u64::try_from(number).ok()?;
        }
    }
    u64::try_from(number).ok()
}

/// Distinct doses of some rows, rising, with their numbers of rows.
fn levels(doses: &[f64], rows: &[usize]) -> Vec<(f64, usize)> {
    let mut sorted: Vec<f64> = rows.iter().map(|row| doses[*row]).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len())).collect()
}

fn enumerated(
    doses: &[f64],
    blocks: &[Vec<usize>],
    mut statistic: impl FnMut(&[f64]) -> f64,
) -> Vec<f64> {
    let mut assignment = doses.to_vec();
    for rows in blocks {
        let sorted =
            levels(doses, rows).into_iter().flat_map(|(dose, n)| std::iter::repeat_n(dose, n));
        for (row, dose) in rows.iter().zip(sorted) {
            assignment[*row] = dose;
        }
    }
    let mut values = vec![statistic(&assignment)];
    // Blocks count up like digits: one that is back at its first arrangement moves the next.
    while blocks.iter().any(|rows| next_arrangement(&mut assignment, rows)) {
        values.push(statistic(&assignment));
    }
    values
}

/// The next arrangement of some rows in lexicographic order; after the last, the first and false.
fn next_arrangement(values: &mut [f64], rows: &[usize]) -> bool {
    let rising = |at: &usize| values[rows[at - 1]] < values[rows[*at]];
    let Some(tail) = (1..rows.len()).rev().find(rising) else {
        reverse(values, rows);
        return false;
    };
    let pivot = values[rows[tail - 1]];
    let swap = (tail..rows.len()).rev().find(|at| values[rows[*at]] > pivot).unwrap_or(tail);
    values.swap(rows[tail - 1], rows[swap]);
    reverse(values, &rows[tail..]);
    true
}

fn reverse(values: &mut [f64], rows: &[usize]) {
    for at in 0..rows.len() / 2 {
        values.swap(rows[at], rows[rows.len() - 1 - at]);
    }
}

fn drawn(
    doses: &[f64],
    blocks: &[Vec<usize>],
    options: &PermutationOptions,
    mut statistic: impl FnMut(&[f64]) -> f64,
) -> Vec<f64> {
    let mut random = SplitMix64(options.seed);
    let mut assignment = doses.to_vec();
    let draw = |_| {
        for rows in blocks {
            for last in (1..rows.len()).rev() {
                assignment.swap(rows[last], rows[below(&mut random, last + 1)]);
            }
        }
        statistic(&assignment)
    };
    (0..options.draws).map(draw).collect()
}

fn result(observed: f64, values: &[f64], exact: bool, alternative: Alternative) -> PermutationTest {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let failed = values.len() - finite.len();
    // Equal statistics of different assignments differ by rounding.
    let largest = finite.iter().fold(observed.abs(), |largest, value| largest.max(value.abs()));
    let slack = TIE * largest;
    let count = |extreme: &dyn Fn(f64) -> bool| {
        (finite.iter().filter(|value| extreme(**value)).count() + failed) as f64
    };
    let number = values.len() as f64;
    let tail = |count: f64| if exact { count / number } else { (1.0 + count) / (1.0 + number) };
    let greater = tail(count(&|value| value >= observed - slack));
    let less = tail(count(&|value| value <= observed + slack));
    let p = match alternative {
        Alternative::TwoSided => (2.0 * greater.min(less)).min(1.0),
        Alternative::Greater => greater,
        Alternative::Less => less,
    };
    // Twice a tail has twice its error.
    let p_error = match alternative {
        _ if exact => 0.0,
        Alternative::TwoSided => 2.0 * p_error(p / 2.0, values.len() as u64),
        Alternative::Greater | Alternative::Less => p_error(p, values.len() as u64),
    };
    let mut warnings = Vec::new();
    if failed > 0 {
        let text = format!(
            "{failed} of {} arrangements do not determine the statistic; they count as extreme",
            values.len()
        );
        warnings.push(FitWarning { code: "failed_arrangements", text });
    }
    PermutationTest {
        statistic: observed,
        mean: if finite.is_empty() { observed } else { mean(&finite) },
        sd: standard_deviation(&finite),
        p,
        p_error,
        exact,
        arrangements: values.len() as u64,
        failed: failed as u64,
        warnings,
    }
}
