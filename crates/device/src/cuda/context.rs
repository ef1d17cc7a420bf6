use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cudarc::driver::sys::{CUcontext, CUdevice};

use super::api::{Api, Code, code};
use super::{CudaError, Driver};

/// One GPU's primary context, and what this process knows of the GPU: whether it is lost, and what
/// memory was taken.
///
/// Everything that has a handle of the driver's holds its context in an `Arc`.
pub(super) struct Context {
    pub(super) api: &'static Api,
    pub(super) handle: CUcontext,
    /// Of this context alone: a GPU's context that was given up and taken again may have the
    /// handle of before.
    id: u64,
    device: CUdevice,
    /// The GPU's number.
    pub(super) ordinal: usize,
    lost: OnceLock<CudaError>,
    /// A deadline has passed: the GPU may hang, and nothing that waits for it may be called any
    /// more.
    late: AtomicBool,
    pub(super) account: Account,
}

// SAFETY: the driver's functions may be called from any thread with any handle; the context is made
// current in each (`enter`).
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

thread_local! {
    /// The number of the context that is current in this thread. Only this file changes it: nothing else in the process uses the driver.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Calls a function of the driver in a context: `call!(context, cuStreamCreate(&mut stream, 1))`.
/// It needs an unsafe block around it.
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
    /// The primary context of a GPU, with at most `quota_bytes` of its memory.
    pub(super) fn open(
        driver: &Driver,
        device: CUdevice,
        ordinal: usize,
        quota_bytes: u64,
    ) -> Result<Context, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a local; the device is one that the driver gave.
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
    /// [`CudaError::Lost`], always, once it was found.
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

    /// A call's result; what ends the GPU is kept and given from now on.
    pub(super) fn checked(&self, call: &'static str, code: Code) -> Result<(), CudaError> {
        if code == code::SUCCESS {
            return Ok(());
        }
        if !code::is_final(code) {
            return Err(self.api.failed(Some(self.ordinal), call, code));
        }
        let (name, meaning) = self.api.words(code);
        Err(self
            .lost
            .get_or_init(|| CudaError::Lost { ordinal: self.ordinal, call, code, name, meaning })
            .clone())
    }

    /// Whether what was asked about is done: the result of a query.
    pub(super) fn is_done(&self, call: &'static str, code: Code) -> Result<bool, CudaError> {
        if code == code::NOT_READY {
            return Ok(false);
        }
        self.checked(call, code).map(|()| true)
    }

    /// Remembers that a deadline has passed.
    pub(super) fn set_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// Whether freeing, which waits for the GPU, may be tried. A GPU that is lost or hangs keeps
    /// its memory until the process ends.
    pub(super) fn may_free(&self) -> bool {
        self.lost.get().is_none() && !self.late.load(Ordering::Relaxed)
    }

    /// Free and total bytes, as the driver says.
    pub(super) fn memory(&self) -> Result<(u64, u64), CudaError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the pointers are to locals.
        unsafe { call!(self, cuMemGetInfo_v2(&raw mut free, &raw mut total)) }?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.may_free() {
            CURRENT.set(0);
            // SAFETY: retained once, in `open`; nothing of the context is left, since everything
            // holds it. A failure leaves it to the process's end.
            unsafe {
                (self.api.cuCtxSetCurrent)(std::ptr::null_mut());
                (self.api.cuDevicePrimaryCtxRelease_v2)(self.device);
            }
        }
    }
}

/// Bytes of one GPU.
#[derive(Default)]
pub(super) struct Account {
    pub(super) quota_bytes: u64,
    reserved: AtomicU64,
    /// The most that was reserved at a time.
    peak: AtomicU64,
    allocated: AtomicU64,
}

impl Account {
    /// Counts `bytes` as taken from the driver, unless that would pass the quota; then what is
    /// taken is the error.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let more =
            |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.quota_bytes);
        let before = self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)?;
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives `bytes` back.
    pub(super) fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` as handed out.
    pub(super) fn allocate(&self, bytes: u64) {
        self.allocated.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` as handed out no more.
    pub(super) fn free(&self, bytes: u64) {
        self.allocated.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Taken from the driver, and handed out of that.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.reserved.load(Ordering::Relaxed), self.allocated.load(Ordering::Relaxed))
    }

    /// The most that was taken from the driver at a time.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_a_hard_limit() {
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
