//! The bootstrap over clusters (worlds): whole clusters are drawn with replacement.

use crate::AnalysisError;
use crate::inference::interval::{Caution, ConfidenceInterval};
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapOptions {
    /// Number of resamples, 999 or more for intervals.
    pub replicates: usize,
    pub seed: u64,
    /// Confidence level, such as .95.
    pub level: f64,
}

/// One resample of the rows. A cluster that is drawn twice gives two clusters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resample<'a> {
    /// Indices of rows, with repetitions.
    pub rows: &'a [usize],
    /// For each of `rows`, the number of its drawn cluster: 0, 1, 2, ...
    pub clusters: &'a [u32],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootstrapEstimate {
    /// The statistic of the data themselves.
    pub estimate: f64,
    /// Standard deviation of the resamples' statistics.
    pub se: f64,
    /// Mean of the resamples' statistics minus the estimate.
    pub bias: f64,
    /// Quantiles of the resamples' statistics.
    pub percentile: ConfidenceInterval,
    /// The percentile interval mirrored at the estimate.
    pub basic: ConfidenceInterval,
    pub clusters: usize,
    /// Resamples that gave a statistic.
    pub replicates: usize,
    /// Resamples that gave none. They are left out of the interval.
    pub failed: usize,
    pub cautions: Vec<Caution>,
}

/// Bootstrap of one statistic over clusters (Davison and Hinkley 1997, sections 2.4, 5.2, 5.3).
/// `clusters` has the cluster of each row. The closure computes the statistic of a resample, `None`
/// where that resample does not determine it; the first call gets the data themselves.
///
/// # Errors
/// Fewer than two clusters; no statistic of the data; more than half of the resamples without one.
pub fn cluster_bootstrap(
    clusters: &[u32],
    options: &BootstrapOptions,
    mut statistic: impl FnMut(Resample<'_>) -> Option<f64>,
) -> Result<BootstrapEstimate, AnalysisError> {
    todo!()
}

/// As [`cluster_bootstrap`], for several statistics of the same resamples. The number of statistics
/// is that of the first call. One statistic that cannot be computed is `None` in its place.
///
/// # Errors
/// As [`cluster_bootstrap`], for any of the statistics.
pub fn cluster_bootstrap_many(
    clusters: &[u32],
    options: &BootstrapOptions,
    statistics: impl FnMut(Resample<'_>) -> Vec<Option<f64>>,
) -> Result<Vec<BootstrapEstimate>, AnalysisError> {
    todo!()
}
