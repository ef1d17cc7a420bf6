use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::guarded;
use crate::DeviceError;

/// How long an idle thread looks for work before it parks. Longer than the gaps between a model's
/// layers; short enough to leave the core to others when there is nothing to do.
const SPIN: Duration = Duration::from_micros(60);

/// Turns of the spin loop between looks at the clock.
const TURNS: u32 = 64;

/// A park is never longer than this, so that no missed wake-up can become a hang.
const PARK: Duration = Duration::from_millis(50);

type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What the threads of a pool share.
///
/// `gate` holds the whole protocol in one word: the job's number (upper 32 bits), whether helpers
/// may still enter (bit 31), and how many are inside (the rest). A helper enters by
/// compare-and-swap, so it can only be inside a job that is still open; the caller closes the gate
/// and waits for those inside, never for those who did not come.
pub(super) struct Shared {
    gate: AtomicU64,
    job: UnsafeCell<Option<(*const Job<'static>, usize)>>,
    next: AtomicUsize,
    failure: Mutex<Option<DeviceError>>,
    failed: AtomicBool,
    closing: AtomicBool,
    /// One flag a helper: it is parked, or about to be.
    parked: Vec<AtomicBool>,
    helpers: OnceLock<Vec<Thread>>,
    /// The caller, while it is parked in wait for helpers.
    caller: Mutex<Option<Thread>>,
    caller_parked: AtomicBool,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

// SAFETY: `job` is the only field that is not Sync by itself. It is written by the caller (who
// holds the pool's turn) while the gate is closed and nobody is inside, and read only by helpers
// that are inside.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only while the closure it points to is borrowed by `run`,
// and the closure is Sync.
unsafe impl Send for Shared {}

impl Shared {
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

    /// Tells whom to wake.
    pub(super) fn know(&self, helpers: Vec<Thread>) {
        // A second call cannot happen: `Pool::with` calls this once.
        let _ = self.helpers.set(helpers);
    }

    /// Ends the helpers once they are idle.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// The caller's side: opens the gate, works, closes it, waits for those inside.
    pub(super) fn run(&self, parts: usize, job: &Job<'_>) -> Result<(), DeviceError> {
        // SAFETY: only the lifetime is erased; the pointer is not used after this function returns
        // (see `retire`).
        let erased: *const Job<'static> =
            unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        // SAFETY: the gate is closed and nobody is inside (the last run ended so), hence nobody
        // reads the cell.
        unsafe { *self.job.get() = Some((erased, parts)) };
        self.next.store(0, Ordering::Relaxed);
        let number = (self.gate.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        self.gate.store(number << 32 | OPEN, Ordering::SeqCst);
        self.wake_parked(parts - 1);
        self.work(job, parts);
        self.retire();
        if self.failed.swap(false, Ordering::Relaxed) {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            return failure.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Wakes up to `wanted` parked helpers.
    fn wake_parked(&self, wanted: usize) {
        let helpers = self.helpers.get().map_or(&[][..], Vec::as_slice);
        let asleep = helpers
            .iter()
            .zip(&self.parked[1..])
            .filter(|(_, parked)| parked.load(Ordering::SeqCst));
        for (helper, _) in asleep.take(wanted) {
            helper.unpark();
        }
    }

    /// Claims and computes parts until none is left.
    fn work(&self, job: &Job<'_>, parts: usize) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            if let Err(error) = guarded(part, parts, job) {
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Closes the gate and waits until nobody is inside; after that nobody holds the job's pointer.
    fn retire(&self) {
        let mut inside = self.gate.fetch_and(!OPEN, Ordering::AcqRel) & INSIDE;
        let mut idle = Idle::new();
        while inside > 0 {
            if idle.spin() {
                self.park_caller();
            }
            inside = self.gate.load(Ordering::Acquire) & INSIDE;
        }
    }

    fn park_caller(&self) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        if self.gate.load(Ordering::SeqCst) & INSIDE > 0 {
            thread::park_timeout(PARK);
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }

    /// A helper's life: waits for jobs and takes part in them until the pool closes.
    pub(super) fn help(&self, index: usize) {
        let mut seen = 0;
        while let Some(number) = self.wait_for_job(index, seen) {
            seen = number;
            if self.enter(number) {
                // SAFETY: inside an open gate the cell is not written, and the closure is alive
                // until we leave.
                let job = unsafe { *self.job.get() };
                if let Some((job, parts)) = job {
                    // SAFETY: as above.
                    self.work(unsafe { &*job }, parts);
                }
                self.leave();
            }
        }
    }

    /// The number of a job that is not `seen`, or `None` once the pool closes.
    fn wait_for_job(&self, index: usize, seen: u64) -> Option<u64> {
        let mut idle = Idle::new();
        loop {
            let number = self.gate.load(Ordering::Acquire) >> 32;
            if number != seen {
                return Some(number);
            }
            if self.closing.load(Ordering::Relaxed) {
                return None;
            }
            if idle.spin() {
                self.parked[index].store(true, Ordering::SeqCst);
                // The caller publishes a job before it reads the flag, and we set the flag before
                // we look for a job: one of the two sees the other.
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
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(caller) = caller {
                caller.unpark();
            }
        }
    }
}

/// Bounded spinning.
struct Idle {
    turns: u32,
    until: Option<Instant>,
}

impl Idle {
    fn new() -> Self {
        Self { turns: 0, until: None }
    }

    /// One turn of waiting. True once it is time to park.
    fn spin(&mut self) -> bool {
        spin_loop();
        self.turns = self.turns.wrapping_add(1);
        if !self.turns.is_multiple_of(TURNS) {
            return false;
        }
        let now = Instant::now();
        now >= *self.until.get_or_insert(now + SPIN)
    }
}
