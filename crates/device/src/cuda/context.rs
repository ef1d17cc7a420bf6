//! A GPU's primary context, its error state and the accounting of its memory.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cudarc::driver::sys::{CUcontext, CUdevice};

use super::api::{Api, Code, code};
use super::{CudaError, Driver};

/// The primary context of one GPU, with its error state and memory account.
///
/// Every wrapper of a driver handle keeps its context alive through an `Arc`.
pub(super) struct Context {
    pub(super) api: &'static Api,
    pub(super) handle: CUcontext,
    /// Unique per `Context`, unlike `handle`: a primary context that is released and retained again
    /// may get the same handle.
    id: u64,
    device: CUdevice,
    pub(super) ordinal: usize,
    lost: OnceLock<CudaError>,
    /// Whether a wait for the GPU has exceeded its deadline. The GPU may then hang, so the driver
    /// is no longer called to free memory, which would wait for the GPU.
    late: AtomicBool,
    pub(super) account: Account,
}

// SAFETY: driver functions accept any handle on any thread once the context is current (`enter`).
unsafe impl Send for Context {}
// SAFETY: as for `Send`.
unsafe impl Sync for Context {}

thread_local! {
    /// `Context::id` of the context that is current in this thread; 0: none. Only this module
    /// changes the current context, since nothing else in the process uses the driver.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Makes the context current and calls a driver function: `call!(context, cuStreamCreate(&mut
/// stream, 1))`. It must be inside an `unsafe` block.
macro_rules! call {
    ($context:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let context = &*$context;
        match context.enter() {
            Ok(()) => context.checked(stringify!($function), (context.api.$function)($($argument),*)),
            Err(error) => Err(error),
        }
    }};
}
pub(super) use call;

impl Context {
    /// Retains the primary context of a GPU. `quota_bytes` limits the memory that arenas and
    /// buffers can reserve on the GPU.
    pub(super) fn open(
        driver: &Driver,
        device: CUdevice,
        ordinal: usize,
        quota_bytes: u64,
    ) -> Result<Context, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the output pointer refers to a local variable; the device handle comes from the
        // driver.
        let retained = unsafe { (driver.api.cuDevicePrimaryCtxRetain)(&raw mut handle, device) };
        driver.checked(Some(ordinal), "cuDevicePrimaryCtxRetain", retained)?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let account = Account { quota_bytes, ..Account::default() };
        Ok(Context {
            api: driver.api,
            handle,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            device,
            ordinal,
            lost: OnceLock::new(),
            late: AtomicBool::new(false),
            account,
        })
    }

    /// Makes the context current in this thread.
    ///
    /// # Errors
    /// [`CudaError::Lost`] after a sticky error, or the driver's error.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        if CURRENT.get() == self.id {
            return Ok(());
        }
        // SAFETY: the handle is that of a retained context.
        self.checked("cuCtxSetCurrent", unsafe { (self.api.cuCtxSetCurrent)(self.handle) })?;
        CURRENT.set(self.id);
        Ok(())
    }

    /// Converts a driver's result code to a `Result`. A sticky error is stored and returned by
    /// every later call.
    pub(super) fn checked(&self, call: &'static str, code: Code) -> Result<(), CudaError> {
        if code == code::SUCCESS {
            return Ok(());
        }
        if !code::is_final(code) {
            return Err(self.api.failed(Some(self.ordinal), call, code));
        }
        let (name, meaning) = self.api.describe(code);
        Err(self
            .lost
            .get_or_init(|| CudaError::Lost { ordinal: self.ordinal, call, code, name, meaning })
            .clone())
    }

    /// Converts the result code of a stream or event query: true if the work is done, false if it
    /// is pending.
    pub(super) fn is_done(&self, call: &'static str, code: Code) -> Result<bool, CudaError> {
        if code == code::NOT_READY {
            return Ok(false);
        }
        self.checked(call, code).map(|()| true)
    }

    /// Records that a wait for the GPU has exceeded its deadline.
    pub(super) fn set_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// Whether memory may be freed. Freeing waits for the GPU, so a GPU that is lost or has
    /// exceeded a deadline keeps its memory until the process ends.
    pub(super) fn may_free(&self) -> bool {
        self.lost.get().is_none() && !self.late.load(Ordering::Relaxed)
    }

    /// Free and total bytes of GPU memory, as the driver reports them.
    pub(super) fn memory(&self) -> Result<(u64, u64), CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the output pointers refer to local variables.
        unsafe { call!(self, cuMemGetInfo_v2(&raw mut free, &raw mut total)) }?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.may_free() {
            CURRENT.set(0);
            // SAFETY: the context was retained once, in `open`; every object in it held an `Arc` of
            // this `Context`, so none is left. On failure the context lives until the process ends.
            unsafe {
                (self.api.cuCtxSetCurrent)(std::ptr::null_mut());
                (self.api.cuDevicePrimaryCtxRelease_v2)(self.device);
            }
        }
    }
}

/// Bytes of GPU memory that are reserved from the driver, and the part of them that is allocated.
#[derive(Default)]
pub(super) struct Account {
    pub(super) quota_bytes: u64,
    reserved: AtomicU64,
    /// Highest value of `reserved` so far.
    peak: AtomicU64,
    allocated: AtomicU64,
}

impl Account {
    /// Counts `bytes` as reserved from the driver. If that would exceed the quota, counts nothing
    /// and returns the bytes reserved so far as the error.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let more =
            |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.quota_bytes);
        let before = self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)?;
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts `bytes` as returned to the driver.
    pub(super) fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` of the reserved bytes as allocated.
    pub(super) fn allocate(&self, bytes: u64) {
        self.allocated.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` as no longer allocated.
    pub(super) fn free(&self, bytes: u64) {
        self.allocated.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes reserved from the driver, and bytes allocated from these reservations.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.reserved.load(Ordering::Relaxed), self.allocated.load(Ordering::Relaxed))
    }

    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_never_exceed_the_quota() {
        let account = Account { quota_bytes: 100, ..Account::default() };
        assert_eq!(account.reserve(60), Ok(()));
        assert_eq!(account.reserve(41), Err(60));
        assert_eq!(account.reserve(u64::MAX), Err(60));
        assert_eq!(account.reserve(40), Ok(()));
        account.allocate(7);
        account.release(60);
        assert_eq!((account.bytes(), account.reserve(61)), ((40, 7), Err(40)));
        assert_eq!(account.peak_bytes(), 100);
    }
}
