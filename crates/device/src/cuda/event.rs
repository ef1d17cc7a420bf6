//! CUDA events: markers in a stream's queue that complete when the work queued before them is done.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::{CUevent, CUevent_flags};

use super::context::{Context, call};
use super::stream::Stream;
use super::{CudaError, wait};

/// Flag of `cuEventCreate`: events without timestamps are cheaper.
const DISABLE_TIMING: u32 = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;

/// A CUDA event without timestamps.
pub(super) struct Event {
    context: Arc<Context>,
    pub(super) handle: CUevent,
}

// SAFETY: the driver accepts an event's handle on any thread.
unsafe impl Send for Event {}
// SAFETY: as for `Send`.
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn new(context: &Arc<Context>) -> Result<Event, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the output pointer refers to a local variable.
        unsafe { call!(context, cuEventCreate(&raw mut handle, DISABLE_TIMING)) }?;
        Ok(Event { context: context.clone(), handle })
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Records the event after all work queued so far on a stream of the same GPU.
    pub(super) fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: the event and the stream are alive and belong to the same context.
        unsafe { call!(self.context, cuEventRecord(self.handle, stream.handle)) }
    }

    /// Whether the recorded work is done; true for an event that was never recorded.
    pub(super) fn is_done(&self) -> Result<bool, CudaError> {
        self.context.enter()?;
        // SAFETY: the event is alive.
        self.context
            .is_done("cuEventQuery", unsafe { (self.context.api.cuEventQuery)(self.handle) })
    }

    /// Waits until the recorded work is done.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or the error of the recorded work.
    pub(super) fn wait(&self, doing: &'static str, deadline: Instant) -> Result<(), CudaError> {
        wait::until(&self.context, doing, deadline, || self.is_done())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: the event was created by `new` and is destroyed only here; the driver keeps
            // its state while streams wait for it.
            unsafe { (self.context.api.cuEventDestroy_v2)(self.handle) };
        }
    }
}
