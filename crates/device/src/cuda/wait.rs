//! Waiting for a GPU: asking again and again, never longer than a deadline.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use super::CudaError;
use super::context::Context;

/// How long a wait spins before it sleeps: longer than a small copy takes, shorter than anybody
/// misses a core.
const SPIN: Duration = Duration::from_micros(100);

/// A sleep is a hundredth of what was waited so far, within these: what ends is found soon, and a
/// long wait costs no core.
const SLEEP_MIN: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_millis(2);

/// Waits until `is_done`.
///
/// # Errors
/// [`CudaError::Timeout`] after the deadline, or what `is_done` found.
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
                wake_in_time();
                std::thread::sleep(pause.min(deadline - now));
            }
        }
    }
    Ok(())
}

/// How long to sleep after having waited for so long; `None`: not yet.
pub(super) fn pause(waited: Duration) -> Option<Duration> {
    (waited >= SPIN).then(|| (waited / 100).clamp(SLEEP_MIN, SLEEP_MAX))
}

/// Lets this thread's sleeps end when they are over. The kernel may add 50 microseconds, so that it
/// wakes several threads at a time: a hundredth of a pass of a large model on a GPU, and a
/// twentieth of one of a small model.
#[cfg(target_os = "linux")]
fn wake_in_time() {
    thread_local! {
        static ASKED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !ASKED.replace(true) {
        // SAFETY: no pointers; a failure leaves the sleeps as they were.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    }
}

#[cfg(not(target_os = "linux"))]
fn wake_in_time() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sleep is asked for in microseconds, and the slack is in nanoseconds: 1, and not the
    /// default of 50,000.
    #[cfg(target_os = "linux")]
    #[test]
    fn sleeps_have_no_slack() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: no pointers.
                let slack = || unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
                assert!(slack() > 1);
                wake_in_time();
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
