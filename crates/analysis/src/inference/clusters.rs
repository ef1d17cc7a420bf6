//! Rows by cluster.

use crate::AnalysisError;
use crate::inference::interval::{check_lengths, not_estimable};
use crate::numbering::numbered;

/// Clusters numbered 0, 1, 2, ... in the order of their labels.
pub(super) struct ClusterIndex {
    /// Number of the cluster of each row.
    pub of_row: Vec<usize>,
    /// Rows of each cluster, rising.
    pub members: Vec<Vec<usize>>,
}

impl ClusterIndex {
    pub fn new(labels: &[u32]) -> ClusterIndex {
        let (of_row, levels) = numbered(labels);
        let mut members = vec![Vec::new(); levels.len()];
        for (row, cluster) in of_row.iter().enumerate() {
            members[*cluster].push(row);
        }
        ClusterIndex { of_row, members }
    }

    /// The clusters of `rows` rows; without labels, each row is a cluster.
    ///
    /// # Errors
    /// The number of labels differs from the rows; fewer than two clusters.
    pub fn of_rows(labels: &[u32], rows: usize) -> Result<ClusterIndex, AnalysisError> {
        let index = if labels.is_empty() {
            let members = (0..rows).map(|row| vec![row]).collect();
            ClusterIndex { of_row: (0..rows).collect(), members }
        } else {
            check_lengths(("the clusters", labels.len()), ("the outcome", rows))?;
            ClusterIndex::new(labels)
        };
        if index.len() < 2 {
            let text = format!("{} worlds: errors need at least two", index.len());
            return Err(not_estimable(text));
        }
        Ok(index)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }
}
