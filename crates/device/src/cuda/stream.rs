//! Streams: queues of work on a GPU.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::{CUstream, CUstream_flags};

use super::context::{Context, call};
use super::event::Event;
use super::{CudaError, wait};

/// Flag of `cuStreamCreate`: the stream does not synchronize with the default stream, which this
/// program does not use.
const NON_BLOCKING: u32 = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;

/// A CUDA stream: work runs in the order in which it is queued.
pub(super) struct Stream {
    context: Arc<Context>,
    pub(super) handle: CUstream,
}

// SAFETY: the driver accepts a stream handle on any thread and orders concurrent calls.
unsafe impl Send for Stream {}
// SAFETY: as for `Send`.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(context: &Arc<Context>) -> Result<Stream, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the output pointer refers to a local variable.
        unsafe { call!(context, cuStreamCreate(&raw mut handle, NON_BLOCKING)) }?;
        Ok(Stream { context: context.clone(), handle })
    }

    /// Waits until no work is queued, including work that other threads queue during the wait.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or the error of the work.
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

    /// Makes later work on this stream wait for `event`, on the GPU.
    pub(super) fn wait_for(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: the stream and the event are alive; the driver reads the event's state during the
        // call.
        unsafe { call!(self.context, cuStreamWaitEvent(self.handle, event.handle, 0)) }
    }

    /// Queues a fill of `bytes` bytes with zeros, starting at `address`.
    ///
    /// # Safety
    /// The range must be live memory of this GPU that nothing else accesses until the fill is done.
    pub(super) unsafe fn zero(&self, address: u64, bytes: usize) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller.
        unsafe { call!(self.context, cuMemsetD8Async(address, 0, bytes, self.handle)) }
    }

    /// Queues a copy from pinned host memory to the GPU.
    ///
    /// # Safety
    /// Both ranges must have `bytes` bytes and stay alive, and nothing else may access them, until
    /// the copy is done.
    pub(super) unsafe fn copy_in(
        &self,
        to: u64,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller.
        unsafe { call!(self.context, cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, self.handle)) }
    }

    /// Queues a copy from the GPU to pinned host memory.
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
        // SAFETY: guaranteed by the caller.
        unsafe { call!(self.context, cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, self.handle)) }
    }

    /// Queues a copy within the GPU; the ranges must not overlap.
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
        // SAFETY: guaranteed by the caller.
        unsafe { call!(self.context, cuMemcpyDtoDAsync_v2(to, from, bytes, self.handle)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: the stream was created by `new` and is destroyed only here; the driver still
            // completes its queued work.
            unsafe { (self.context.api.cuStreamDestroy_v2)(self.handle) };
        }
    }
}
