//! Tests of paired differences, one for each world: control and treatment share the world.

use crate::AnalysisError;
use crate::inference::interval::{ConfidenceInterval, check_finite, not_estimable};
use crate::inference::signed_ranks::{
    EXACT_RANKS_MAX, SignedRanks, Zeros, interval_rank, lower_tail, walsh_average,
};
use crate::numeric::distribution::check_level;
use crate::numeric::distribution::{fair_coin_tail, normal_p, student_p, t_critical};
use crate::numeric::quantile::{mean, median, standard_deviation};
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
    /// The lowest p that this number of untied pairs can give.
    pub p_smallest: f64,
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
    check_finite("difference", differences)?;
    let positive = differences.iter().filter(|difference| **difference > 0.0).count();
    let negative = differences.iter().filter(|difference| **difference < 0.0).count();
    let untied = positive + negative;
    if untied == 0 {
        return Err(no_differences(differences.len()));
    }
    Ok(SignTest {
        pairs: differences.len(),
        positive,
        negative,
        ties: differences.len() - untied,
        p: twice(fair_coin_tail(positive.min(negative) as u64, untied as u64)),
        p_smallest: p_of_equal_signs(untied),
    })
}

/// Wilcoxon's signed-rank test. With tied sizes the distribution is that of the mean ranks at hand.
///
/// # Errors
/// No difference other than 0, or one that is not finite.
pub fn wilcoxon_signed_rank(
    differences: &[f64],
    zeros: Zeros,
) -> Result<WilcoxonTest, AnalysisError> {
    check_finite("difference", differences)?;
    let ranks = SignedRanks::new(differences, zeros);
    let [positive, negative] = ranks.sums();
    let count = ranks.doubled.len();
    if count == 0 {
        return Err(no_differences(differences.len()));
    }
    let exact = count <= EXACT_RANKS_MAX;
    let p = if exact {
        twice(lower_tail(&ranks.magnitudes(), positive.min(negative)))
    } else {
        let squares: f64 = ranks.magnitudes().iter().map(|rank| (*rank as f64).powi(2)).sum();
        normal_p((positive as f64 - negative as f64) / squares.sqrt())
    };
    Ok(WilcoxonTest {
        pairs: differences.len(),
        zeros: differences.iter().filter(|difference| **difference == 0.0).count(),
        tied: ranks.tied,
        positive_ranks: positive as f64 / 2.0,
        negative_ranks: negative as f64 / 2.0,
        rank_biserial: (positive as f64 - negative as f64) / (positive + negative) as f64,
        p: p.max(f64::MIN_POSITIVE),
        p_smallest: p_of_equal_signs(count),
        exact,
    })
}

/// Median difference and Hodges-Lehmann estimate (Hodges and Lehmann 1963). The closed interval
/// covers at least at its level with tied differences too (Noether 1967). Above 2,000 pairs its
/// ranks are those of the normal approximation.
///
/// # Errors
/// No differences, or one that is not finite.
pub fn hodges_lehmann(differences: &[f64], level: f64) -> Result<HodgesLehmann, AnalysisError> {
    check_level(level)?;
    check_finite("difference", differences)?;
    let n = differences.len();
    if n == 0 {
        return Err(no_differences(0));
    }
    let mut sorted = differences.to_vec();
    sorted.sort_by(f64::total_cmp);
    let walsh = n as u64 * (n as u64 + 1) / 2;
    let middle = [walsh.div_ceil(2), walsh / 2 + 1].map(|k| walsh_average(&sorted, k));
    let (rank, coverage) = interval_rank(n, level);
    let interval = (rank > 0).then(|| ConfidenceInterval {
        low: walsh_average(&sorted, rank),
        high: walsh_average(&sorted, walsh + 1 - rank),
        level,
    });
    let estimate = 0.5 * (middle[0] + middle[1]);
    Ok(HodgesLehmann { pairs: n, median: median(&sorted), estimate, interval, coverage })
}

/// Mean difference with its t interval.
///
/// # Errors
/// Fewer than two differences, differences that are all equal, or one that is not finite.
pub fn mean_difference(differences: &[f64], level: f64) -> Result<MeanDifference, AnalysisError> {
    check_level(level)?;
    check_finite("difference", differences)?;
    let pairs = differences.len();
    if pairs < 2 {
        return Err(not_estimable(format!("{pairs} pairs: a mean's error needs at least two")));
    }
    let (mean, sd) = (mean(differences), standard_deviation(differences));
    if sd <= 1e-14 * mean.abs() || sd == 0.0 {
        let text = format!("all {pairs} differences are {mean}: their spread is 0");
        return Err(not_estimable(text));
    }
    let (se, df) = (sd / (pairs as f64).sqrt(), pairs - 1);
    let half = t_critical(level, df as f64) * se;
    let interval = ConfidenceInterval { low: mean - half, high: mean + half, level };
    let (t, p) = (mean / se, student_p(mean / se, df as f64));
    Ok(MeanDifference { pairs, mean, sd, se, t, df, p, interval })
}

fn no_differences(pairs: usize) -> AnalysisError {
    if pairs == 0 {
        return not_estimable("no pairs");
    }
    not_estimable(format!("all {pairs} pairs are tied: no difference has a sign"))
}

/// A two-sided p from the smaller tail of a symmetric distribution.
fn twice(tail: f64) -> f64 {
    (2.0 * tail).min(1.0)
}

/// p of n differences of one sign.
fn p_of_equal_signs(n: usize) -> f64 {
    0.5f64.powf(n as f64 - 1.0).max(f64::MIN_POSITIVE)
}
