//! Splitting a model's tasks into Slurm job arrays.

/// A Slurm job array. Its indices 0..count correspond to the tasks offset..offset + count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskArray {
    /// Number of the first task.
    pub offset: usize,
    pub count: usize,
}

/// Splits the tasks of a model into arrays. `array_size_max` is Slurm's MaxArraySize: the indices
/// of an array must be below it. `jobs_available` is the number of jobs that may still be
/// submitted; further tasks are omitted. Fewer tasks do the same work in more time, since each task
/// takes runs until none is left.
pub fn split_into_arrays(
    tasks: usize,
    array_size_max: usize,
    jobs_available: usize,
) -> Vec<TaskArray> {
    let (tasks, size) = (tasks.min(jobs_available), array_size_max.max(1));
    (0..tasks)
        .step_by(size)
        .map(|offset| TaskArray { offset, count: size.min(tasks - offset) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn twelve_tasks_become_arrays_of_at_most_five() {
        let arrays: Vec<_> =
            split_into_arrays(12, 5, 100).iter().map(|a| (a.offset, a.count)).collect();
        assert_eq!(arrays, [(0, 5), (5, 5), (10, 2)]);
        assert!(split_into_arrays(12, 5, 0).is_empty());
    }

    proptest! {
        #[test]
        fn each_task_is_in_one_array_and_no_limit_is_exceeded(
            tasks in 0usize..2000, size in 1usize..1100, available in 0usize..3000
        ) {
            let arrays = split_into_arrays(tasks, size, available);
            let all: Vec<usize> =
                arrays.iter().flat_map(|a| a.offset..a.offset + a.count).collect();
            prop_assert_eq!(all, (0..tasks.min(available)).collect::<Vec<_>>());
            prop_assert!(arrays.iter().all(|a| (1..=size).contains(&a.count)));
        }
    }
}
