//! A fork-join pool for work that lasts microseconds.
//!
//! A job is a function of a part number; parts are claimed from a counter, so a thread that the
//! system has taken off its core delays only the part it holds. Idle threads spin for a bounded
//! time, then park. Which thread computes which part is never the same twice: kernels must (and do)
//! give the same bits for any assignment.
#![allow(unsafe_code)]

mod gate;
mod pin;
mod worker;

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::DeviceError;
use gate::Shared;

/// How to build a [`Pool`].
#[derive(Debug, Clone, Default)]
pub struct PoolOptions {
    /// Threads that compute, the caller's included; `None` takes the cores that this process may
    /// use.
    pub threads: Option<usize>,
    /// Cores to pin the helper threads to, one each, in order (on a NUMA machine: the cores of one
    /// node). Empty: unpinned.
    pub cores: Vec<usize>,
}

/// How long a closing pool waits for its helpers, which are idle by then.
const CLOSE: Duration = Duration::from_secs(2);

/// A fork-join pool. The thread that calls [`Pool::run`] works too.
pub struct Pool {
    shared: Arc<Shared>,
    /// Held by the thread whose job is running: jobs of several callers take turns.
    turn: Mutex<()>,
    helpers: Vec<JoinHandle<()>>,
}

thread_local! {
    /// Whether this thread is inside a job: a nested job then runs on this thread alone.
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool of `threads` threads, the caller's included.
    ///
    /// # Errors
    /// [`DeviceError::ThreadRefused`].
    pub fn new(threads: usize) -> Result<Self, DeviceError> {
        Self::with(&PoolOptions { threads: Some(threads), cores: Vec::new() })
    }

    /// A pool as `options` say.
    ///
    /// # Errors
    /// [`DeviceError::ThreadRefused`].
    pub fn with(options: &PoolOptions) -> Result<Self, DeviceError> {
        let threads = options.threads.unwrap_or_else(usable_cores).max(1);
        let mut pool = Self {
            shared: Arc::new(Shared::new(threads)),
            turn: Mutex::new(()),
            helpers: Vec::new(),
        };
        for index in 1..threads {
            let core = options.cores.get(index - 1).copied();
            let helper = worker::spawn(pool.shared.clone(), index, core);
            let refused = |source| DeviceError::ThreadRefused { index, threads, source };
            pool.helpers.push(helper.map_err(refused)?); // on an error the drop below ends those already started
        }
        pool.shared.know(pool.helpers.iter().map(|helper| helper.thread().clone()).collect());
        Ok(pool)
    }

    /// Threads that compute, the caller's included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job(part, parts)` once for every part, on whichever threads are free, and returns
    /// when all calls have returned.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`] if a call panicked; the others were still made.
    pub fn run(
        &self,
        parts: usize,
        job: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), DeviceError> {
        if parts <= 1 || self.helpers.is_empty() || IN_JOB.get() {
            return alone(parts, job);
        }
        let _turn: MutexGuard<'_, ()> = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        IN_JOB.set(true);
        let result = self.shared.run(parts, job);
        IN_JOB.set(false);
        result
    }

    /// Calls `job` with consecutive ranges of at most `chunk` items that together are `0..items`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_chunks(
        &self,
        items: usize,
        chunk: usize,
        job: &(dyn Fn(Range<usize>) + Sync),
    ) -> Result<(), DeviceError> {
        let chunk = chunk.max(1);
        self.run(items.div_ceil(chunk), &|part, _| {
            job(part * chunk..((part + 1) * chunk).min(items))
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
        let until = Instant::now() + CLOSE;
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            while !helper.is_finished() && Instant::now() < until {
                std::thread::yield_now();
            }
            // Past the deadline the thread is left to end by itself: it holds nothing but the
            // shared counters.
        }
    }
}

/// Runs every part on this thread.
fn alone(parts: usize, job: &(dyn Fn(usize, usize) + Sync)) -> Result<(), DeviceError> {
    let mut first = Ok(());
    for part in 0..parts {
        let result = guarded(part, parts, job);
        first = first.and(result);
    }
    first
}

/// One part; a panic becomes an error.
fn guarded(
    part: usize,
    parts: usize,
    job: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DeviceError> {
    catch_unwind(AssertUnwindSafe(|| job(part, parts))).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let message = text
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "(no message)".into());
        DeviceError::WorkerPanicked { message }
    })
}

/// Cores that this process may use (affinity and CPU quota counted).
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests;
