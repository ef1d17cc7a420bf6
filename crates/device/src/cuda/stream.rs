use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::{CUstream, CUstream_flags};

use super::context::{Context, call};
use super::event::Event;
use super::{CudaError, wait};

/// Does not wait for the default stream, which nobody uses here.
const NON_BLOCKING: u32 = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;

/// A queue of a GPU's work, done in order.
pub(super) struct Stream {
    context: Arc<Context>,
    pub(super) handle: CUstream,
}

// SAFETY: the driver takes a stream's handle from any thread; calls on one stream are ordered by
// the driver.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(context: &Arc<Context>) -> Result<Stream, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a local.
        unsafe { call!(context, cuStreamCreate(&raw mut handle, NON_BLOCKING)) }?;
        Ok(Stream { context: context.clone(), handle })
    }

    /// Waits until everything that was queued is done.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or what the work failed with.
    pub(super) fn synchronize(
        &self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        wait::until(&self.context, doing, deadline, || {
            self.context.enter()?;
            // SAFETY: the stream is alive.
            self.context
                .is_done("cuStreamQuery", unsafe { (self.context.api.cuStreamQuery)(self.handle) })
        })
    }

    /// What is queued from now on waits, on the GPU, until `event` has happened.
    pub(super) fn wait_for(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both are alive; the driver keeps what it needs of the event.
        unsafe { call!(self.context, cuStreamWaitEvent(self.handle, event.handle, 0)) }
    }

    /// Fills `bytes` bytes from `address` with zeros.
    ///
    /// # Safety
    /// They must be memory of this GPU that nobody else uses, and stay until that is done.
    pub(super) unsafe fn zero(&self, address: u64, bytes: usize) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { call!(self.context, cuMemsetD8Async(address, 0, bytes, self.handle)) }
    }

    /// Copies from pinned host memory to the GPU.
    ///
    /// # Safety
    /// Both ranges must be alive, and unused by others, until it is done.
    pub(super) unsafe fn copy_in(
        &self,
        to: u64,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { call!(self.context, cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, self.handle)) }
    }

    /// Copies from the GPU to pinned host memory.
    ///
    /// # Safety
    /// As for [`Self::copy_in`].
    pub(super) unsafe fn copy_out(
        &self,
        to: *mut u8,
        from: u64,
        bytes: usize,
    ) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { call!(self.context, cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, self.handle)) }
    }

    /// Copies on the GPU; the ranges must not overlap.
    ///
    /// # Safety
    /// As for [`Self::copy_in`].
    pub(super) unsafe fn copy_on_gpu(
        &self,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { call!(self.context, cuMemcpyDtoDAsync_v2(to, from, bytes, self.handle)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: made by `new`, destroyed once; the driver finishes what is queued on its own.
            unsafe { (self.context.api.cuStreamDestroy_v2)(self.handle) };
        }
    }
}
