//! One pinned allocation and the copies that use it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::CU_MEMHOSTALLOC_PORTABLE as PORTABLE;

use crate::cuda::api::code;
use crate::cuda::context::{Context, call};
use crate::cuda::event::Event;
use crate::cuda::stream::Stream;
use crate::cuda::{CudaError, wait};

/// Time that dropping pinned memory waits for copies that still use it. After that the memory is
/// leaked.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// Pinned host memory, and the copies from or to it. While a copy is pending, the host must not
/// write to the bytes, nor read bytes that the copy writes.
pub(super) struct PinnedMemory {
    context: Arc<Context>,
    start: *mut u8,
    bytes: usize,
    /// The last copy on each stream that has used the memory.
    copies: Vec<PendingCopy>,
}

struct PendingCopy {
    /// The stream's handle, unique within its context.
    stream: usize,
    event: Event,
    pending: bool,
}

// SAFETY: the memory has one owner; contexts and events may be used on any thread.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// Allocates `bytes` bytes of zeros.
    ///
    /// # Errors
    /// [`CudaError::HostMemory`], or the driver's error.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<PinnedMemory, CudaError> {
        let mut start = std::ptr::null_mut();
        // `PORTABLE` makes the memory usable in every context. The driver rejects an allocation of
        // 0 bytes.
        let size = bytes.max(1);
        // SAFETY: the output pointer refers to a local variable.
        match unsafe { call!(context, cuMemHostAlloc(&raw mut start, size, PORTABLE)) } {
            Err(CudaError::Failed { code: code::OUT_OF_MEMORY, name, .. }) => {
                return Err(CudaError::HostMemory { bytes: size as u64, name });
            }
            done => done?,
        }
        let start = start.cast::<u8>();
        // SAFETY: the memory was just allocated with `size` bytes.
        unsafe { start.write_bytes(0, size) };
        Ok(PinnedMemory { context: context.clone(), start, bytes, copies: Vec::new() })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Records that a copy from or to this memory was queued on `stream`, a stream of `context`.
    pub(super) fn used_by(
        &mut self,
        context: &Arc<Context>,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        let key = stream.handle.addr();
        let same =
            |copy: &PendingCopy| copy.stream == key && Arc::ptr_eq(copy.event.context(), context);
        let at = match self.copies.iter().position(same) {
            Some(at) => at,
            None => {
                self.copies.push(PendingCopy {
                    stream: key,
                    event: Event::new(context)?,
                    pending: false,
                });
                self.copies.len() - 1
            }
        };
        self.copies[at].pending = true;
        self.copies[at].event.record(stream)
    }

    /// Whether no copy is pending.
    pub(super) fn is_idle(&mut self) -> Result<bool, CudaError> {
        for copy in &mut self.copies {
            copy.pending = copy.pending && !copy.event.is_done()?;
        }
        Ok(self.copies.iter().all(|copy| !copy.pending))
    }

    /// Waits until no copy is pending.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or the error of a copy.
    pub(super) fn wait(&mut self, doing: &'static str, deadline: Instant) -> Result<(), CudaError> {
        for copy in self.copies.iter_mut().filter(|copy| copy.pending) {
            copy.event.wait(doing, deadline)?;
            copy.pending = false;
        }
        Ok(())
    }
}

impl Deref for PinnedMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes were initialized by `new`; callers wait for copies that write to them
        // before they read them (`wait`).
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }
}

impl DerefMut for PinnedMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        let started = Instant::now();
        while let Ok(false) = self.is_idle() {
            let waited = started.elapsed();
            let unfreeable =
                self.copies.iter().any(|copy| copy.pending && !copy.event.context().may_free());
            if unfreeable || waited > DROP_TIMEOUT {
                return; // Leaked: a copy may still access the bytes.
            }
            std::thread::sleep(wait::pause(waited).unwrap_or_default());
        }
        let failed = self.copies.iter().any(|copy| copy.pending);
        if !failed && self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: the memory was allocated by `new` and is freed only here; no copy uses it.
            unsafe { (self.context.api.cuMemFreeHost)(self.start.cast()) };
        }
    }
}
