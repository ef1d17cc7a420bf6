//! How alike yes-no outcomes of runs of one world are: a logit model with random worlds.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::bootstrap::{BootstrapOptions, Resampled};
use crate::inference::clusters::ClusterIndex;
use crate::inference::icc::check_repeats;
use crate::inference::interval::{ConfidenceInterval, not_estimable};
use crate::inference::random_intercept::{RandomIntercept, WorldCounts};
use crate::numeric::distribution::chi_squared_p;
use serde::Serialize;
use std::f64::consts::PI;

/// Variance of a yes-no outcome between worlds, on the logit scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatentIcc {
    pub rows: usize,
    pub clusters: usize,
    /// Share of runs with the outcome.
    pub share: f64,
    /// Log odds in an average world.
    pub intercept: f64,
    /// SD of the worlds' log odds.
    pub world_sd: f64,
    /// world_sd^2 / (world_sd^2 + pi^2 / 3)
    pub icc: f64,
    /// Percentile intervals of the bootstrap over worlds; `None` if it was not possible.
    pub icc_interval: Option<ConfidenceInterval>,
    pub world_sd_interval: Option<ConfidenceInterval>,
    pub log_likelihood: f64,
    /// Likelihood ratio test of world_sd = 0, on the boundary: half of chi-square(1)'s tail.
    pub p: f64,
    pub warnings: Vec<FitWarning>,
}

/// A logit model with a normal random intercept for each world, by maximum likelihood with adaptive
/// Gauss-Hermite quadrature of 25 points (Pinheiro and Bates 1995).
///
/// # Errors
/// Fewer than two worlds, no world with two runs, an outcome that does not vary, or one that varies
/// in no world (the SD has no upper bound).
pub fn icc_binary(
    outcome: &[bool],
    clusters: &[u32],
    options: &BootstrapOptions,
) -> Result<LatentIcc, AnalysisError> {
    let index = ClusterIndex::of_rows(clusters, outcome.len())?;
    check_repeats(&index)?;
    let events = outcome.iter().filter(|event| **event).count();
    if events == 0 || events == outcome.len() {
        let which = if events == 0 { "no run has" } else { "all runs have" };
        return Err(not_estimable(format!("{which} the outcome: there is no variance")));
    }
    let all: Vec<usize> = (0..outcome.len()).collect();
    let fit = RandomIntercept::fit(&counts(outcome, &all, &index.of_row))?;
    let labels: Vec<u32> = index.of_row.iter().map(|cluster| *cluster as u32).collect();
    let resampled = Resampled::new(&labels, options, |sample| {
        let of_row: Vec<usize> = sample.clusters.iter().map(|cluster| *cluster as usize).collect();
        let fit = RandomIntercept::fit(&counts(outcome, sample.rows, &of_row)).ok();
        vec![fit.as_ref().map(|fit| icc(fit.sd)), fit.map(|fit| fit.sd)]
    })?;
    let mut warnings: Vec<FitWarning> = FitWarning::few_worlds(index.len()).into_iter().collect();
    warnings.extend(FitWarning::failed_resamples(resampled.failed(0), options.replicates));
    let ratio = 2.0 * (fit.log_likelihood - fit.log_likelihood_without);
    Ok(LatentIcc {
        rows: outcome.len(),
        clusters: index.len(),
        share: events as f64 / outcome.len() as f64,
        intercept: fit.intercept,
        world_sd: fit.sd,
        icc: icc(fit.sd),
        icc_interval: resampled.percentile(0),
        world_sd_interval: resampled.percentile(1),
        log_likelihood: fit.log_likelihood,
        p: if fit.sd > 0.0 { 0.5 * chi_squared_p(ratio, 1.0) } else { 1.0 },
        warnings,
    })
}

fn icc(sd: f64) -> f64 {
    sd * sd / (sd * sd + PI * PI / 3.0)
}

/// Worlds with equal numbers of events and runs have equal likelihoods.
fn counts(outcome: &[bool], rows: &[usize], of_row: &[usize]) -> Vec<WorldCounts> {
    let clusters = of_row.iter().max().map_or(0, |last| last + 1);
    let mut counts = vec![(0u32, 0u32); clusters];
    for (row, cluster) in rows.iter().zip(of_row) {
        counts[*cluster].0 += u32::from(outcome[*row]);
        counts[*cluster].1 += 1;
    }
    counts.sort_unstable();
    let of_equal = |equal: &[(u32, u32)]| WorldCounts {
        events: f64::from(equal[0].0),
        runs: f64::from(equal[0].1),
        worlds: equal.len() as f64,
    };
    counts.chunk_by(|a, b| a == b).map(of_equal).collect()
}
