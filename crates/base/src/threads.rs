//! Work on several threads of the calling function.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Number of cores available to the process, by affinity and CPU quota.
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work(0)` on this thread and `work(1)` to `work(threads - 1)` on threads of their own, and
/// returns when all have ended. A thread that the system refuses, as under a limit on processes or
/// on address space, is left out, so `work` takes its items from a counter or a queue that all
/// threads share. A panic of `work` is one of this function.
pub fn on_threads(threads: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        (1..threads).for_each(|thread| {
            drop(Builder::new().spawn_scoped(scope, move || work(thread)));
        });
        work(0);
    });
}

/// Applies `work` to all items on up to `threads` threads; the results are in the order of the
/// items. A panic of `work` is one of this function.
pub fn in_parallel<T: Sync, R: Send + Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let results: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    on_threads(threads.min(items.len()), |_| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(result)) = (items.get(at), results.get(at)) else { return };
            result.get_or_init(|| work(item));
        }
    });
    // Each index below the number of items was taken by one thread, which filled its result.
    results.into_iter().filter_map(OnceLock::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use super::{in_parallel, on_threads};
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    #[test]
    fn each_thread_runs_the_work_once() {
        let seen = Mutex::new(BTreeSet::new());
        on_threads(4, |thread| assert!(seen.lock().unwrap().insert(thread)));
        assert_eq!(seen.into_inner().unwrap(), BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn results_are_in_the_order_of_the_items_on_any_number_of_threads() {
        let items: Vec<u64> = (0..97).collect();
        let squares: Vec<u64> = items.iter().map(|item| item * item).collect();
        for threads in [0, 1, 2, 7, 200] {
            let found = in_parallel(threads, &items, |&item| {
                std::thread::sleep(Duration::from_micros(item * 31 % 50));
                item * item
            });
            assert_eq!(found, squares, "{threads} threads");
        }
        assert!(in_parallel(3, &[] as &[u64], |&item| item).is_empty());
    }

    #[test]
    #[should_panic]
    fn a_panic_of_the_work_is_not_swallowed() {
        in_parallel(2, &[1, 2, 3], |&item| assert_ne!(item, 2));
    }
}
