//! Tests of paired differences, one for each world: control and treatment share the world.

use crate::AnalysisError;
use crate::inference::interval::ConfidenceInterval;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignTest {
    pub pairs: usize,
    pub positive: usize,
    pub negative: usize,
    /// Differences of 0, left out of the test.
    pub ties: usize,
    /// Exact, two-sided.
    pub p: f64,
    /// The lowest p that so many untied pairs can give.
    pub p_smallest: f64,
}

/// What to do with differences of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Zeros {
    /// Leave them out before ranking (Wilcoxon 1945).
    Drop,
    /// Rank them, then leave out their ranks (Pratt 1959).
    Pratt,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WilcoxonTest {
    pub pairs: usize,
    /// Differences of 0.
    pub zeros: usize,
    /// Differences other than 0 whose size another difference has too.
    pub tied: usize,
    /// Sum of the ranks of positive and of negative differences; tied sizes share their mean rank.
    pub positive_ranks: f64,
    pub negative_ranks: f64,
    /// (positive - negative) / (positive + negative): -1 to 1.
    pub rank_biserial: f64,
    /// Two-sided.
    pub p: f64,
    /// The lowest p that these ranks can give.
    pub p_smallest: f64,
    /// p is from the distribution over all signs, given the ranks; else from the normal
    /// approximation, above 2,000 pairs.
    pub exact: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HodgesLehmann {
    pub pairs: usize,
    /// Median of the differences.
    pub median: f64,
    /// Hodges-Lehmann estimate: median of the means of all pairs of differences.
    pub estimate: f64,
    /// Interval of the Hodges-Lehmann estimate, from the signed-rank distribution; `None` if no
    /// interval of so few pairs reaches the level.
    pub interval: Option<ConfidenceInterval>,
    /// Coverage of the interval, at least the level; 0 without interval.
    pub coverage: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeanDifference {
    pub pairs: usize,
    pub mean: f64,
    /// Standard deviation of the differences.
    pub sd: f64,
    pub se: f64,
    pub t: f64,
    pub df: usize,
    /// Two-sided.
    pub p: f64,
    pub interval: ConfidenceInterval,
}

/// Exact sign test.
///
/// # Errors
/// No difference other than 0, or one that is not finite.
pub fn sign_test(differences: &[f64]) -> Result<SignTest, AnalysisError> {
    todo!()
}

/// Wilcoxon's signed-rank test. With tied sizes the distribution is that of the mean ranks at hand.
///
/// # Errors
/// No difference other than 0, or one that is not finite.
pub fn wilcoxon_signed_rank(
    differences: &[f64],
    zeros: Zeros,
) -> Result<WilcoxonTest, AnalysisError> {
    todo!()
}

/// Median difference and Hodges-Lehmann estimate (Hodges and Lehmann 1963). The closed interval
/// covers at least at its level with tied differences too (Noether 1967).
///
/// # Errors
/// No differences, or one that is not finite.
pub fn hodges_lehmann(differences: &[f64], level: f64) -> Result<HodgesLehmann, AnalysisError> {
    todo!()
}

/// Mean difference with its t interval.
///
/// # Errors
/// Fewer than two differences, differences that are all equal, or one that is not finite.
pub fn mean_difference(differences: &[f64], level: f64) -> Result<MeanDifference, AnalysisError> {
    todo!()
}
