//! Synchronization between the caller of a job and the helper threads.

use base::unpoisoned;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::guarded;
use crate::DeviceError;

/// Time that an idle thread spins before it parks: longer than the gaps between the operations of a
/// model, short enough to release the core when the model is idle.
const SPIN: Duration = Duration::from_micros(60);

/// Iterations of the spin loop between reads of the clock.
const ITERATIONS: u32 = 64;

/// Maximum time to park, so that a lost wake-up cannot become a hang.
const PARK: Duration = Duration::from_millis(50);

type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Shared state of the threads of a pool.
///
/// `gate` holds the state of the protocol in one word: the job's number (upper 32 bits), whether
/// helpers may enter the job (bit 31), and the number of helpers inside (lower 31 bits). A helper
/// enters by compare-and-swap, so it can only enter an open job. The caller closes the gate and
/// waits for the helpers inside, but not for helpers that have not entered.
pub(super) struct PoolState {
    gate: AtomicU64,
    job: UnsafeCell<Option<(*const Job<'static>, usize)>>,
    next: AtomicUsize,
    failure: Mutex<Option<DeviceError>>,
    failed: AtomicBool,
    closing: AtomicBool,
    /// Whether each helper thread is parked or about to park.
    parked: Vec<AtomicBool>,
    helpers: OnceLock<Vec<Thread>>,
    /// The caller, while it is parked to wait for helpers.
    caller: Mutex<Option<Thread>>,
    caller_parked: AtomicBool,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

// SAFETY: `job` is the only field that is not Sync itself. The caller, which holds the pool's lock,
// writes it while the gate is closed and no helper is inside; only helpers inside read it.
unsafe impl Sync for PoolState {}
// SAFETY: the pointer in `job` is used only while `run` borrows the closure, which is Sync.
unsafe impl Send for PoolState {}

impl PoolState {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            parked: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            helpers: OnceLock::new(),
            caller: Mutex::new(None),
            caller_parked: AtomicBool::new(false),
        }
    }

    /// Stores handles of the helper threads, by which they are woken.
    pub(super) fn set_helpers(&self, helpers: Vec<Thread>) {
        // Cannot fail: `Pool::with` calls this once.
        let _ = self.helpers.set(helpers);
    }

    /// Makes the helpers exit once they are idle.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Runs a job from its caller: opens the gate, computes parts, closes the gate, waits for the
    /// helpers inside.
    pub(super) fn run(&self, parts: usize, job: &Job<'_>) -> Result<(), DeviceError> {
        // SAFETY: only the lifetime is erased; `retire` guarantees that the pointer is not used
        // after this function returns.
        let erased: *const Job<'static> =
            unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        // SAFETY: since the end of the last run the gate is closed and no helper is inside, so no
        // thread reads the cell.
        unsafe { *self.job.get() = Some((erased, parts)) };
        self.next.store(0, Ordering::Relaxed);
        let number = (self.gate.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        self.gate.store(number << 32 | OPEN, Ordering::SeqCst);
        self.wake_parked(parts - 1);
        self.work(job, parts);
        self.retire();
        if self.failed.swap(false, Ordering::Relaxed) {
            let failure = unpoisoned(self.failure.lock()).take();
            return failure.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Wakes at most `count` parked helpers.
    fn wake_parked(&self, count: usize) {
        let helpers = self.helpers.get().map_or(&[][..], Vec::as_slice);
        let parked = helpers
            .iter()
            .zip(&self.parked[1..])
            .filter(|(_, parked)| parked.load(Ordering::SeqCst));
        for (helper, _) in parked.take(count) {
            helper.unpark();
        }
    }

    /// Claims and computes parts until all are claimed.
    fn work(&self, job: &Job<'_>, parts: usize) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            if let Err(error) = guarded(part, parts, job) {
                unpoisoned(self.failure.lock()).get_or_insert(error);
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Closes the gate and waits until no helper is inside. Afterwards no helper has the pointer to
    /// the job.
    fn retire(&self) {
        let mut inside = self.gate.fetch_and(!OPEN, Ordering::AcqRel) & INSIDE;
        let mut wait = SpinWait::new();
        while inside > 0 {
            if wait.spin() {
                self.park_caller();
            }
            inside = self.gate.load(Ordering::Acquire) & INSIDE;
        }
    }

    fn park_caller(&self) {
        *unpoisoned(self.caller.lock()) = Some(thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        if self.gate.load(Ordering::SeqCst) & INSIDE > 0 {
            thread::park_timeout(PARK);
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }

    /// Main loop of a helper: waits for jobs and computes parts of them until the pool closes.
    pub(super) fn help(&self, index: usize) {
        let mut seen = 0;
        while let Some(number) = self.wait_for_job(index, seen) {
            seen = number;
            if self.enter(number) {
                // SAFETY: while a helper is inside, the cell is not written and the closure is
                // alive.
                let job = unsafe { *self.job.get() };
                if let Some((job, parts)) = job {
                    // SAFETY: as for the cell, the closure is alive while a helper is inside.
                    self.work(unsafe { &*job }, parts);
                }
                self.leave();
            }
        }
    }

    /// Waits for a job whose number is not `seen`; returns `None` when the pool closes.
    fn wait_for_job(&self, index: usize, seen: u64) -> Option<u64> {
        let mut wait = SpinWait::new();
        loop {
            let number = self.gate.load(Ordering::Acquire) >> 32;
            if number != seen {
                return Some(number);
            }
            if self.closing.load(Ordering::Relaxed) {
                return None;
            }
            if wait.spin() {
                self.parked[index].store(true, Ordering::SeqCst);
                // The caller publishes a job before it reads the flag; the helper sets the flag
                // before it checks for a job. So at least one of the two sees the write of the
                // other.
                if self.gate.load(Ordering::SeqCst) >> 32 == seen
                    && !self.closing.load(Ordering::SeqCst)
                {
                    thread::park_timeout(PARK);
                }
                self.parked[index].store(false, Ordering::SeqCst);
            }
        }
    }

    fn enter(&self, number: u64) -> bool {
        let mut gate = self.gate.load(Ordering::Relaxed);
        while gate >> 32 == number && gate & OPEN != 0 {
            match self.gate.compare_exchange_weak(
                gate,
                gate + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
        false
    }

    fn leave(&self) {
        let before = self.gate.fetch_sub(1, Ordering::SeqCst);
        if before & INSIDE == 1 && before & OPEN == 0 && self.caller_parked.load(Ordering::SeqCst) {
            let caller = unpoisoned(self.caller.lock()).clone();
            if let Some(caller) = caller {
                caller.unpark();
            }
        }
    }
}

/// Bounded spin loop.
struct SpinWait {
    iterations: u32,
    until: Option<Instant>,
}

impl SpinWait {
    fn new() -> Self {
        Self { iterations: 0, until: None }
    }

    /// One iteration of the loop; returns true when it is time to park.
    fn spin(&mut self) -> bool {
        spin_loop();
        self.iterations = self.iterations.wrapping_add(1);
        if !self.iterations.is_multiple_of(ITERATIONS) {
            return false;
        }
        let now = Instant::now();
        now >= *self.until.get_or_insert(now + SPIN)
    }
}
