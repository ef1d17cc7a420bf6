//! The bootstrap over clusters (worlds): whole clusters are drawn with replacement.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::clusters::ClusterIndex;
use crate::inference::draws::below;
use crate::inference::interval::{ConfidenceInterval, not_estimable};
use crate::numeric::distribution::check_level;
use crate::numeric::quantile::{bootstrap_quantile, mean, standard_deviation};
use base::SplitMix64;
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
    pub warnings: Vec<FitWarning>,
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
    let estimates = cluster_bootstrap_many(clusters, options, |sample| vec![statistic(sample)])?;
    let [estimate] = <[BootstrapEstimate; 1]>::try_from(estimates)
        .unwrap_or_else(|_| unreachable!("one statistic gives one estimate"));
    Ok(estimate)
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
    let resampled = Resampled::new(clusters, options, statistics)?;
    (0..resampled.of_data.len())
        .map(|at| {
            let estimate = resampled.of_data[at]
                .ok_or_else(|| not_estimable("the data do not determine the statistic"))?;
            resampled.estimate(at, estimate)
        })
        .collect()
}

/// Statistics of the data and of the resamples.
pub(super) struct Resampled {
    pub of_data: Vec<Option<f64>>,
    /// For each statistic, its values in the resamples that gave one, rising.
    sorted: Vec<Vec<f64>>,
    clusters: usize,
    options: BootstrapOptions,
}

impl Resampled {
    pub fn new(
        clusters: &[u32],
        options: &BootstrapOptions,
        mut statistics: impl FnMut(Resample<'_>) -> Vec<Option<f64>>,
    ) -> Result<Resampled, AnalysisError> {
        check_level(options.level)?;
        if options.replicates == 0 {
            return Err(AnalysisError::Usage("expected at least one replicate".to_owned()));
        }
        let index = ClusterIndex::of_rows(clusters, clusters.len())?;
        let finite = |value: &f64| value.is_finite();
        let rows: Vec<usize> = (0..clusters.len()).collect();
        let labels: Vec<u32> = index.of_row.iter().map(|cluster| *cluster as u32).collect();
        let of_data: Vec<Option<f64>> = statistics(Resample { rows: &rows, clusters: &labels })
            .into_iter()
            .map(|value| value.filter(finite))
            .collect();
        let mut sorted = vec![Vec::with_capacity(options.replicates); of_data.len()];
        let mut random = SplitMix64(options.seed);
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..options.replicates {
            rows.clear();
            labels.clear();
            for copy in 0..index.len() {
                let drawn = &index.members[below(&mut random, index.len())];
                rows.extend_from_slice(drawn);
                labels.resize(rows.len(), copy as u32);
            }
            let values = statistics(Resample { rows: &rows, clusters: &labels });
            for (values, value) in sorted.iter_mut().zip(values) {
                values.extend(value.filter(finite));
            }
        }
        sorted.iter_mut().for_each(|values| values.sort_by(f64::total_cmp));
        Ok(Resampled { of_data, sorted, clusters: index.len(), options: *options })
    }

    pub fn failed(&self, at: usize) -> usize {
        self.options.replicates - self.sorted[at].len()
    }

    /// The percentile interval of a statistic; `None` if under half of the resamples gave one.
    pub fn percentile(&self, at: usize) -> Option<ConfidenceInterval> {
        let (values, level) = (&self.sorted[at], self.options.level);
        if values.is_empty() || 2 * values.len() < self.options.replicates {
            return None;
        }
        let tail = (1.0 - level) / 2.0;
        let [low, high] = [tail, 1.0 - tail].map(|p| bootstrap_quantile(values, p));
        Some(ConfidenceInterval { low, high, level })
    }

    fn estimate(&self, at: usize, estimate: f64) -> Result<BootstrapEstimate, AnalysisError> {
        let (values, failed) = (&self.sorted[at], self.failed(at));
        let percentile = self.percentile(at).ok_or_else(|| {
            not_estimable(format!(
                "{failed} of {} resamples of the worlds do not determine the statistic",
                self.options.replicates
            ))
        })?;
        let basic = ConfidenceInterval {
            low: 2.0 * estimate - percentile.high,
            high: 2.0 * estimate - percentile.low,
            level: percentile.level,
        };
        let mut warnings: Vec<FitWarning> =
            FitWarning::few_worlds(self.clusters).into_iter().collect();
        warnings.extend(FitWarning::failed_resamples(failed, self.options.replicates));
        Ok(BootstrapEstimate {
            estimate,
            se: standard_deviation(values),
            bias: mean(values) - estimate,
            percentile,
            basic,
            clusters: self.clusters,
            replicates: values.len(),
            failed,
            warnings,
        })
    }
}
