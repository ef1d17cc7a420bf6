//! Permutation of treatment labels (doses) within blocks (worlds).

use crate::AnalysisError;
use crate::inference::interval::Caution;
use serde::Serialize;

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
    /// All arrangements are enumerated if there are at most so many, else some are drawn.
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
    pub cautions: Vec<Caution>,
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
    statistic: impl FnMut(&[f64]) -> f64,
) -> Result<PermutationTest, AnalysisError> {
    todo!()
}
