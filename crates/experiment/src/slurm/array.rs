/// Part of a model's tasks, as one array: indices 0..count, which stand for tasks offset..offset +
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskArray {
    /// The first task.
    pub offset: usize,
    /// Tasks.
    pub count: usize,
}

/// Cuts tasks into arrays. `array_size_max` is Slurm's MaxArraySize, which bounds the index rather
/// than the count; `room` is how many jobs may still be submitted. Tasks beyond it are left out:
/// each task takes runs until none is left, so fewer tasks do the same work later.
pub fn split_into_arrays(tasks: usize, array_size_max: usize, room: usize) -> Vec<TaskArray> {
    let (tasks, size) = (tasks.min(room), array_size_max.max(1));
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
    fn twelve_tasks_in_arrays_of_five() {
        let cut: Vec<_> =
            split_into_arrays(12, 5, 100).iter().map(|c| (c.offset, c.count)).collect();
        assert_eq!(cut, [(0, 5), (5, 5), (10, 2)]);
        assert!(split_into_arrays(12, 5, 0).is_empty());
    }

    proptest! {
        #[test]
        fn each_task_once_and_no_limit_passed(tasks in 0usize..2000, size in 1usize..1100, room in 0usize..3000) {
            let cut = split_into_arrays(tasks, size, room);
            let all: Vec<usize> = cut.iter().flat_map(|c| c.offset..c.offset + c.count).collect();
            prop_assert_eq!(all, (0..tasks.min(room)).collect::<Vec<_>>());
            prop_assert!(cut.iter().all(|c| (1..=size).contains(&c.count)));
        }
    }
}
