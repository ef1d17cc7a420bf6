//! Locks whose data stay valid when a thread panics.

use std::sync::{LockResult, PoisonError};

/// The value of a lock, a wait on a condition variable or `into_inner`, poisoned or not. For data
/// whose invariants hold between any two statements: a panic elsewhere then leaves them usable.
pub fn unpoisoned<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::unpoisoned;
    use std::sync::Mutex;

    #[test]
    fn a_lock_stays_usable_after_its_holder_panicked() {
        let lock = Mutex::new(7);
        std::thread::scope(|scope| {
            let _ends_at_the_scope = scope.spawn(|| {
                std::panic::catch_unwind(|| {
                    let _held = lock.lock();
                    panic!("while holding the lock");
                })
            });
        });
        assert!(lock.is_poisoned());
        assert_eq!(*unpoisoned(lock.lock()), 7);
        assert_eq!(unpoisoned(lock.into_inner()), 7);
    }
}
