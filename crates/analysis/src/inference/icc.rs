//! How alike numbers of runs of one world are: intraclass correlation and the SD of worlds.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::bootstrap::{BootstrapOptions, Resampled};
use crate::inference::clusters::ClusterIndex;
use crate::inference::interval::{ConfidenceInterval, check_finite, not_estimable};
use crate::numeric::distribution::f_p;
use crate::numeric::quantile::{mean, standard_deviation};
use serde::Serialize;

/// Variance of a number between and within worlds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VarianceComponents {
    pub rows: usize,
    pub clusters: usize,
    pub mean: f64,
    /// SD of the worlds' true means, 0 if the mean squares say less than nothing.
    pub between_sd: f64,
    /// SD of runs of one world.
    pub within_sd: f64,
    /// between_sd^2 / (between_sd^2 + within_sd^2)
    pub icc: f64,
    /// Percentile intervals of the bootstrap over worlds; `None` if it was not possible.
    pub icc_interval: Option<ConfidenceInterval>,
    pub between_sd_interval: Option<ConfidenceInterval>,
    /// F test that worlds do not differ; `None` if runs of a world are all equal.
    pub f: Option<f64>,
    pub p: Option<f64>,
    pub warnings: Vec<FitWarning>,
}

/// One-way random effects analysis of variance, by mean squares (Searle, Casella and McCulloch
/// 1992, section 3.6; unequal numbers of runs allowed). Resamples repeat worlds, which lowers the
/// variance between them by about 1 / clusters: intervals lean down with few worlds.
///
/// # Errors
/// Fewer than two worlds, no world with two runs, or values that are all equal.
pub fn icc_continuous(
    values: &[f64],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<VarianceComponents, AnalysisError> {
    check_finite("value", values)?;
    let index = ClusterIndex::of_rows(clusters, values.len())?;
    check_repeats(&index)?;
    if standard_deviation(values) <= 1e-14 * mean(values).abs() {
        return Err(not_estimable("all values are equal: there is no variance to split"));
    }
    let all: Vec<usize> = (0..values.len()).collect();
    let anova = Anova::new(values, &all, &index.of_row)
        .ok_or_else(|| not_estimable("the values do not determine variances"))?;
    // Labels for the bootstrap, of which empty ones mean a cluster a row.
    let labels: Vec<u32> = index.of_row.iter().map(|cluster| *cluster as u32).collect();
    let resampled = Resampled::new(&labels, options, |sample| {
        let of_row: Vec<usize> = sample.clusters.iter().map(|cluster| *cluster as usize).collect();
        let anova = Anova::new(values, sample.rows, &of_row);
        let icc = anova.as_ref().and_then(Anova::icc);
        vec![icc, anova.map(|anova| anova.between_variance().sqrt())]
    })?;
    let f = (anova.within > 0.0).then(|| anova.between / anova.within);
    let (df1, df2) = (index.len() as f64 - 1.0, (values.len() - index.len()) as f64);
    let mut warnings: Vec<FitWarning> = FitWarning::few_worlds(index.len()).into_iter().collect();
    warnings.extend(FitWarning::failed_resamples(resampled.failed(0), options.replicates));
    if f.is_none() {
        let text = "runs of a world are all equal: repeats of a world add nothing".to_owned();
        warnings.push(FitWarning { code: "no_within_variation", text });
    }
    Ok(VarianceComponents {
        rows: values.len(),
        clusters: index.len(),
        mean: mean(values),
        between_sd: anova.between_variance().sqrt(),
        within_sd: anova.within.sqrt(),
        icc: anova.icc().ok_or_else(|| not_estimable("all values are equal"))?,
        icc_interval: resampled.percentile(0),
        between_sd_interval: resampled.percentile(1),
        f,
        p: f.map(|f| f_p(f, df1, df2)),
        warnings,
    })
}

/// # Errors
/// No cluster has two rows: variance within clusters is not seen.
pub(super) fn check_repeats(index: &ClusterIndex) -> Result<(), AnalysisError> {
    if index.members.iter().any(|rows| rows.len() > 1) {
        return Ok(());
    }
    let text = format!("{} worlds have one run each: expected a world with two", index.len());
    Err(not_estimable(text))
}

/// Mean squares of a one-way analysis of variance.
struct Anova {
    between: f64,
    within: f64,
    /// The number of runs of a world that stands for all of them.
    runs: f64,
}

impl Anova {
    /// Of some rows, with the cluster of each; `None` if degrees of freedom are missing.
    fn new(values: &[f64], rows: &[usize], of_row: &[usize]) -> Option<Anova> {
        let clusters = of_row.iter().max()? + 1;
        let (n, g) = (rows.len() as f64, clusters as f64);
        if clusters < 2 || rows.len() <= clusters {
            return None;
        }
        let (mut counts, mut means) = (vec![0.0; clusters], vec![0.0; clusters]);
        for (row, cluster) in rows.iter().zip(of_row) {
            counts[*cluster] += 1.0;
            means[*cluster] += values[*row];
        }
        let grand = means.iter().sum::<f64>() / n;
        means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= count);
        let within: f64 =
            rows.iter().zip(of_row).map(|(row, at)| (values[*row] - means[*at]).powi(2)).sum();
        let between: f64 =
            means.iter().zip(&counts).map(|(mean, count)| count * (mean - grand).powi(2)).sum();
        let squares: f64 = counts.iter().map(|count| count * count).sum();
        Some(Anova {
            between: between / (g - 1.0),
            within: within / (n - g),
            runs: (n - squares / n) / (g - 1.0),
        })
    }

    fn between_variance(&self) -> f64 {
        ((self.between - self.within) / self.runs).max(0.0)
    }

    fn icc(&self) -> Option<f64> {
        let total = self.between_variance() + self.within;
        (total > 0.0).then(|| self.between_variance() / total)
    }
}
