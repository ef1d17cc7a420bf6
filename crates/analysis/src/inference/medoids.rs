//! k-medoids: rows are put to the nearest of k rows, the medoids, so that distances are least.

use crate::AnalysisError;
use crate::inference::interval::check_lengths;
use serde::Serialize;

/// A swap has to lower the cost by more than this share of it.
const GAIN_MIN: f64 = 1e-12;

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

/// k-medoids with the deterministic start BUILD and swaps as in PAM (Kaufman and Rousseeuw 1990),
/// found by FastPAM1 (Schubert and Rousseeuw 2019). `distances` is a symmetric matrix of n x n
/// values, row by row.
///
/// # Errors
/// k is not in 2..n, or the distances are not such a matrix.
pub fn k_medoids(distances: &[f64], n: usize, k: usize) -> Result<MedoidClustering, AnalysisError> {
    check_lengths(("the distances (values)", distances.len()), ("n x n", n * n))?;
    if !(2..n).contains(&k) {
        let text = format!("{k} clusters of {n} rows: expected from 2 to {}", n.saturating_sub(1));
        return Err(AnalysisError::Usage(text));
    }
    let valid = |i: usize, j: usize| {
        let distance = distances[i * n + j];
        let is_distance = distance >= 0.0 && distance.is_finite();
        is_distance && distance == distances[j * n + i] && (i != j || distance == 0.0)
    };
    if (0..n).any(|i| (0..=i).any(|j| !valid(i, j))) {
        let text = "expected distances that are symmetric, finite, not negative and 0 from a row \
                    to itself";
        return Err(AnalysisError::Usage(text.to_owned()));
    }
    let distances = Distances { values: distances, n };
    let mut medoids = distances.build(k);
    while let Some((medoid, row)) = distances.best_swap(&medoids) {
        medoids[medoid] = row;
    }
    Ok(distances.clustering(medoids))
}

struct Distances<'a> {
    values: &'a [f64],
    n: usize,
}

/// The nearest medoid of a row, and the distances of the nearest and the second nearest.
#[derive(Clone, Copy)]
struct Nearest {
    medoid: usize,
    first: f64,
    second: f64,
}

impl Distances<'_> {
    fn from(&self, row: usize) -> &[f64] {
        &self.values[row * self.n..][..self.n]
    }

    /// BUILD: the first medoid has the least sum of distances, each next one lowers the cost most.
    fn build(&self, k: usize) -> Vec<usize> {
        let mut nearest = vec![f64::INFINITY; self.n];
        let mut medoids: Vec<usize> = Vec::with_capacity(k);
        for _ in 0..k {
            let cost = |row: usize| -> f64 {
                self.from(row).iter().zip(&nearest).map(|(new, old)| new.min(*old)).sum()
            };
            let mut best = (f64::INFINITY, 0);
            for row in (0..self.n).filter(|row| !medoids.contains(row)) {
                let cost = cost(row);
                if cost < best.0 {
                    best = (cost, row);
                }
            }
            medoids.push(best.1);
            for (old, new) in nearest.iter_mut().zip(self.from(best.1)) {
                *old = old.min(*new);
            }
        }
        medoids
    }

    fn nearest(&self, medoids: &[usize]) -> Vec<Nearest> {
        let of_row = |row: usize| {
            let mut nearest = Nearest { medoid: 0, first: f64::INFINITY, second: f64::INFINITY };
            for (medoid, at) in medoids.iter().enumerate() {
                let distance = self.from(row)[*at];
                if distance < nearest.first {
                    nearest = Nearest { medoid, first: distance, second: nearest.first };
                } else if distance < nearest.second {
                    nearest.second = distance;
                }
            }
            nearest
        };
        (0..self.n).map(of_row).collect()
    }

    /// The swap of a medoid for a row that lowers the cost most, if one lowers it. The change for
    /// all medoids and one row takes one pass over the rows.
    fn best_swap(&self, medoids: &[usize]) -> Option<(usize, usize)> {
        let nearest = self.nearest(medoids);
        let cost: f64 = nearest.iter().map(|nearest| nearest.first).sum();
        let mut removal = vec![0.0; medoids.len()];
        for nearest in &nearest {
            removal[nearest.medoid] += nearest.second - nearest.first;
        }
        let mut best = (-GAIN_MIN * cost, None);
        for row in (0..self.n).filter(|row| !medoids.contains(row)) {
            let mut change = removal.clone();
            let mut for_all = 0.0;
            for (nearest, distance) in nearest.iter().zip(self.from(row)) {
                if *distance < nearest.first {
                    // The row takes it, whichever medoid goes.
                    for_all += distance - nearest.first;
                    change[nearest.medoid] += nearest.first - nearest.second;
                } else if *distance < nearest.second {
                    change[nearest.medoid] += distance - nearest.second;
                }
            }
            for (medoid, change) in change.iter().enumerate() {
                if change + for_all < best.0 {
                    best = (change + for_all, Some((medoid, row)));
                }
            }
        }
        best.1
    }

    fn clustering(&self, medoids: Vec<usize>) -> MedoidClustering {
        let nearest = self.nearest(&medoids);
        let k = medoids.len();
        let size = |medoid: usize| nearest.iter().filter(|row| row.medoid == medoid).count();
        let sizes: Vec<usize> = (0..k).map(size).collect();
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(sizes[*at]), medoids[*at]));
        let mut cluster_of = vec![0; k];
        for (cluster, at) in order.iter().enumerate() {
            cluster_of[*at] = cluster;
        }
        let labels: Vec<usize> = nearest.iter().map(|row| cluster_of[row.medoid]).collect();
        let sizes: Vec<usize> = order.iter().map(|at| sizes[*at]).collect();
        let silhouettes = self.silhouettes(&labels, &sizes);
        MedoidClustering {
            medoids: order.iter().map(|at| medoids[*at]).collect(),
            labels,
            sizes,
            cost: nearest.iter().map(|row| row.first).sum(),
            mean_silhouette: silhouettes.iter().sum::<f64>() / self.n as f64,
            silhouettes,
        }
    }

    /// (b - a) / max(a, b), a the mean distance to the other rows of the cluster, b that to the
    /// rows of the nearest other cluster (Rousseeuw 1987).
    fn silhouettes(&self, labels: &[usize], sizes: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; sizes.len()];
        let of_row = |row: usize| {
            sums.fill(0.0);
            for (label, distance) in labels.iter().zip(self.from(row)) {
                sums[*label] += distance;
            }
            let own = labels[row];
            if sizes[own] == 1 {
                return 0.0;
            }
            let within = sums[own] / (sizes[own] - 1) as f64;
            let other = (0..sizes.len())
                .filter(|cluster| *cluster != own && sizes[*cluster] > 0)
                .map(|cluster| sums[cluster] / sizes[cluster] as f64)
                .fold(f64::INFINITY, f64::min);
            let larger = within.max(other);
            if larger > 0.0 && larger.is_finite() { (other - within) / larger } else { 0.0 }
        };
        (0..self.n).map(of_row).collect()
    }
}
