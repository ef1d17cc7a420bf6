//! A taxonomy of trajectories: k-medoids over standardized features (Kaufman and Rousseeuw 1990).

use crate::AnalysisError;
use crate::inference::interval::Caution;
use serde::Serialize;
use std::ops::RangeInclusive;

/// A clustering around k of the rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MedoidClustering {
    /// Row of each cluster's medoid, its exemplar; clusters are in falling order of size.
    pub medoids: Vec<usize>,
    /// Cluster of each row.
    pub labels: Vec<usize>,
    /// Rows of each cluster.
    pub sizes: Vec<usize>,
    /// Sum of the distances of rows to their medoids.
    pub cost: f64,
    /// Silhouette of each row, -1 to 1; 0 in a cluster of one row.
    pub silhouettes: Vec<f64>,
    /// Mean of `silhouettes`.
    pub mean_silhouette: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taxonomy {
    /// Number of clusters that was chosen: the one of the highest mean silhouette.
    pub k: usize,
    pub clustering: MedoidClustering,
    /// Mean silhouette of each k that was tried.
    pub tried: Vec<(usize, f64)>,
    /// Features that do not vary, and so are not used.
    pub constant_features: Vec<usize>,
    pub cautions: Vec<Caution>,
}

/// Clusters rows of features, each standardized to mean 0 and standard deviation 1, by Euclidean
/// distance; the number of clusters in `k` with the highest mean silhouette is chosen, the lowest of
/// equals.
///
/// # Errors
/// Fewer than 3 distinct rows, rows of different lengths, values that are not finite, no feature
/// that varies, more than 5,000 rows (the method needs all distances).
pub fn taxonomy(
    features: &[Vec<f64>],
    k: RangeInclusive<usize>,
) -> Result<Taxonomy, AnalysisError> {
    todo!()
}

/// k-medoids with the deterministic start BUILD and swaps as in PAM, found by FastPAM1 (Schubert
/// and Rousseeuw 2019). `distances` is a symmetric matrix of n x n values, row by row.
///
/// # Errors
/// k is not in 2..n, or the distances are not such a matrix.
pub fn k_medoids(distances: &[f64], n: usize, k: usize) -> Result<MedoidClustering, AnalysisError> {
    todo!()
}
