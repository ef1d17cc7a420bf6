//! Access to the data of a lock after a thread panicked while holding it.

use std::sync::{LockResult, PoisonError};

/// The value returned by `lock`, by a wait on a condition variable or by `into_inner`, even if the
/// lock is poisoned. Use it only for data whose invariants hold after every statement, so that the
/// data stay valid if the lock's holder panics.
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
