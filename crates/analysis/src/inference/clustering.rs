//! A taxonomy of trajectories: k-medoids over standardized features (Kaufman and Rousseeuw 1990).

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::interval::{check_finite, check_lengths, not_estimable};
use crate::inference::medoids::{MedoidClustering, k_medoids};
use crate::numeric::quantile::{mean, standard_deviation};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// More rows need more memory for their distances than is reasonable (200 MB).
const ROWS_MAX: usize = 5000;
/// Below this mean silhouette there is no substantial structure (Kaufman and Rousseeuw 1990, p.
/// 88).
const SILHOUETTE_MIN: f64 = 0.25;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taxonomy {
    /// Number of clusters that was chosen: the one of the highest mean silhouette.
    pub k: usize,
    pub clustering: MedoidClustering,
    /// Mean silhouette of each k that was tried.
    pub tried: Vec<(usize, f64)>,
    /// Features that do not vary, and so are not used.
    pub constant_features: Vec<usize>,
    pub warnings: Vec<FitWarning>,
}

/// Clusters rows of features, each standardized to mean 0 and standard deviation 1, by Euclidean
/// distance; the number of clusters in `k` with the highest mean silhouette is chosen, the lowest
/// of equals. Numbers not in 2..(distinct rows) are not tried.
///
/// # Errors
/// Fewer than 3 distinct rows, rows of different lengths, values that are not finite, no feature
/// that varies, no k to try, more than 5,000 rows (the method needs all distances).
pub fn taxonomy(
    features: &[Vec<f64>],
    k: RangeInclusive<usize>,
) -> Result<Taxonomy, AnalysisError> {
    let n = features.len();
    if n > ROWS_MAX {
        let text = format!("{n} rows to cluster: expected at most {ROWS_MAX}; take a sample");
        return Err(AnalysisError::Usage(text));
    }
    let (columns, constant_features) = standardized(features)?;
    let distances = distances(&columns, n);
    let distinct = distinct_rows(features);
    if distinct < 3 {
        let text = format!("{distinct} distinct rows of features: clusters need at least 3");
        return Err(not_estimable(text));
    }
    let mut tried = Vec::new();
    let mut best: Option<(usize, MedoidClustering)> = None;
    for k in k.filter(|k| (2..distinct).contains(k)) {
        let clustering = k_medoids(&distances, n, k)?;
        tried.push((k, clustering.mean_silhouette));
        let least = best.as_ref().map_or(f64::NEG_INFINITY, |(_, best)| best.mean_silhouette);
        if clustering.mean_silhouette > least + 1e-12 {
            best = Some((k, clustering));
        }
    }
    let Some((k, clustering)) = best else {
        let text = format!("no number of clusters to try: expected one from 2 to {}", distinct - 1);
        return Err(AnalysisError::Usage(text));
    };
    let mut warnings = Vec::new();
    if clustering.mean_silhouette < SILHOUETTE_MIN {
        let text = format!(
            "mean silhouette {:.2}: below {SILHOUETTE_MIN} the rows have no substantial clusters",
            clustering.mean_silhouette
        );
        warnings.push(FitWarning { code: "no_clusters", text });
    }
    Ok(Taxonomy { k, clustering, tried, constant_features, warnings })
}

/// Features that vary, column by column, standardized; and the indices of those that do not.
fn standardized(features: &[Vec<f64>]) -> Result<(Vec<Vec<f64>>, Vec<usize>), AnalysisError> {
    let width = features.first().map_or(0, Vec::len);
    for row in features {
        check_lengths(("a row of features (values)", row.len()), ("the first row", width))?;
    }
    let (mut columns, mut constant) = (Vec::new(), Vec::new());
    for at in 0..width {
        let column: Vec<f64> = features.iter().map(|row| row[at]).collect();
        check_finite(&format!("feature {at}"), &column)?;
        let (center, sd) = (mean(&column), standard_deviation(&column));
        if sd <= 1e-12 * center.abs() || sd == 0.0 {
            constant.push(at);
        } else {
            columns.push(column.iter().map(|value| (value - center) / sd).collect());
        }
    }
    if columns.is_empty() {
        return Err(not_estimable(format!("none of {width} features varies: no clusters")));
    }
    Ok((columns, constant))
}

/// Euclidean distances, n x n, row by row.
fn distances(columns: &[Vec<f64>], n: usize) -> Vec<f64> {
    let mut distances = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..i {
            let square: f64 = columns.iter().map(|column| (column[i] - column[j]).powi(2)).sum();
            distances[i * n + j] = square.sqrt();
            distances[j * n + i] = square.sqrt();
        }
    }
    distances
}

fn distinct_rows(features: &[Vec<f64>]) -> usize {
    // -0 and 0 are one value.
    let key = |row: &Vec<f64>| row.iter().map(|value| (value + 0.0).to_bits()).collect::<Vec<_>>();
    features.iter().map(key).collect::<BTreeSet<_>>().len()
}
