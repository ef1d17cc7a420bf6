//! Fork-join thread pool for jobs of microseconds.
//!
//! A job is a function of a part index. Threads claim parts from a counter, so a preempted thread
//! delays only the part it has claimed. Idle threads spin for a bounded time, then park. The
//! assignment of parts to threads varies, so kernels must give the same bits for any assignment.
#![allow(unsafe_code)]

mod gate;
mod worker;

use base::{unpoisoned, usable_cores};
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::DeviceError;
use crate::numa::NumaLayout;
use gate::PoolState;

/// Options of a [`Pool`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolOptions {
    /// Number of threads, including the caller's. Default: the cores available to the process.
    pub threads: Option<usize>,
}

/// Maximum time that dropping a pool waits for its idle helpers.
const CLOSE: Duration = Duration::from_secs(2);

/// Fork-join thread pool. The thread that calls [`Pool::run`] computes parts too.
pub struct Pool {
    state: Arc<PoolState>,
    /// Held while a job runs: jobs of several callers are serialized.
    running: Mutex<()>,
    helpers: Vec<JoinHandle<()>>,
}

thread_local! {
    /// Whether this thread is inside a job. A nested job runs on this thread only.
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool of `threads` threads, including the caller's.
    ///
    /// # Errors
    /// [`DeviceError::ThreadRefused`].
    pub fn new(threads: usize) -> Result<Self, DeviceError> {
        Self::with(&PoolOptions { threads: Some(threads) })
    }

    /// A pool with `options`. On a machine with several NUMA nodes, its helper threads are confined
    /// to the nodes by turns.
    ///
    /// # Errors
    /// [`DeviceError::ThreadRefused`].
    pub fn with(options: &PoolOptions) -> Result<Self, DeviceError> {
        let threads = options.threads.unwrap_or_else(usable_cores).max(1);
        let mut pool = Self {
            state: Arc::new(PoolState::new(threads)),
            running: Mutex::new(()),
            helpers: Vec::new(),
        };
        for index in 1..threads {
            let cores = NumaLayout::system().cores_of_thread(index);
            let helper = worker::spawn(pool.state.clone(), index, cores);
            let refused = |source| DeviceError::ThreadRefused { index, threads, source };
            // On an error, dropping the pool ends the helpers that were started.
            pool.helpers.push(helper.map_err(refused)?);
        }
        pool.state.set_helpers(pool.helpers.iter().map(|helper| helper.thread().clone()).collect());
        Ok(pool)
    }

    /// Number of threads, including the caller's.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job(part, parts)` once for every part, in parallel, and returns after the last call.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`] if a call panicked. The remaining calls are made
    /// nevertheless.
    pub fn run(
        &self,
        parts: usize,
        job: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), DeviceError> {
        if parts <= 1 || self.helpers.is_empty() || IN_JOB.get() {
            return run_serially(parts, job);
        }
        let _running: MutexGuard<'_, ()> = unpoisoned(self.running.lock());
        IN_JOB.set(true);
        let result = self.state.run(parts, job);
        IN_JOB.set(false);
        result
    }

    /// Divides `0..items` into ranges of at most `chunk` items and calls `job` once for each.
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
        self.state.close();
        let until = Instant::now() + CLOSE;
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            while !helper.is_finished() && Instant::now() < until {
                std::thread::yield_now();
            }
            // After the deadline the thread is detached. It holds only a reference to the pool's
            // state.
        }
    }
}

/// Runs every part on this thread.
fn run_serially(parts: usize, job: &(dyn Fn(usize, usize) + Sync)) -> Result<(), DeviceError> {
    let mut first = Ok(());
    for part in 0..parts {
        let result = guarded(part, parts, job);
        first = first.and(result);
    }
    first
}

/// Runs one part and converts a panic to an error.
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

#[cfg(test)]
mod tests;
