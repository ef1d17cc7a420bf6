//! Labels as numbers.

/// The number of each label, counted from 0 in sorted order, and the distinct labels.
pub(crate) fn numbered<T: Ord + Clone>(labels: &[T]) -> (Vec<usize>, Vec<T>) {
    let mut levels = labels.to_vec();
    levels.sort_unstable();
    levels.dedup();
    let number = |label: &T| levels.partition_point(|level| level < label);
    (labels.iter().map(number).collect(), levels)
}
