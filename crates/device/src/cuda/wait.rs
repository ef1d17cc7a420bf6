//! Waiting for a GPU: polls until a deadline.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use super::CudaError;
use super::context::Context;

/// Time that a wait spins before it sleeps: longer than a small copy takes, but too short to waste
/// a core.
const SPIN: Duration = Duration::from_micros(100);

/// Limits of a sleep, whose duration is a hundredth of the time waited so far: short waits end
/// promptly, and long waits take little CPU time.
const SLEEP_MIN: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_millis(2);

/// Waits until `is_done` returns true. `doing` names the work in the error.
///
/// # Errors
/// [`CudaError::Timeout`] after the deadline, or the error of `is_done`.
pub(super) fn until(
    context: &Context,
    doing: &'static str,
    deadline: Instant,
    mut is_done: impl FnMut() -> Result<bool, CudaError>,
) -> Result<(), CudaError> {
    let started = Instant::now();
    while !is_done()? {
        let now = Instant::now();
        if now >= deadline {
            context.set_late();
            return Err(CudaError::Timeout {
                ordinal: context.ordinal,
                doing,
                waited: now - started,
            });
        }
        match pause(now - started) {
            None => (0..32).for_each(|_| spin_loop()),
            Some(pause) => {
                minimize_timer_slack();
                std::thread::sleep(pause.min(deadline - now));
            }
        }
    }
    Ok(())
}

/// Time to sleep after having waited for `waited`; `None`: spin.
pub(super) fn pause(waited: Duration) -> Option<Duration> {
    (waited >= SPIN).then(|| (waited / 100).clamp(SLEEP_MIN, SLEEP_MAX))
}

/// Sets the timer slack of this thread to the minimum. By default Linux may extend a sleep by 50 µs
/// to coalesce wake-ups. That is a hundredth of the duration of a decode step of a large model, and
/// a twentieth for a small model.
#[cfg(target_os = "linux")]
fn minimize_timer_slack() {
    thread_local! {
        static DONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !DONE.replace(true) {
        // SAFETY: the call takes no pointers; on failure the slack does not change.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    }
}

#[cfg(not(target_os = "linux"))]
fn minimize_timer_slack() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel reports the timer slack in nanoseconds; the default is 50,000.
    #[cfg(target_os = "linux")]
    #[test]
    fn sleeps_have_no_slack() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: the call takes no pointers.
                let slack = || unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
                assert!(slack() > 1);
                minimize_timer_slack();
                assert_eq!(slack(), 1);
            });
        });
    }

    #[test]
    fn short_waits_spin_and_long_ones_sleep_a_hundredth() {
        assert_eq!(pause(Duration::from_micros(99)), None);
        assert_eq!(pause(Duration::from_micros(100)), Some(SLEEP_MIN));
        assert_eq!(pause(Duration::from_millis(50)), Some(Duration::from_micros(500)));
        assert_eq!(pause(Duration::from_secs(60)), Some(SLEEP_MAX));
    }
}
