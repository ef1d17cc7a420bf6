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

/// How long dropped memory waits for copies that still use it. After that it is leaked until the
/// process ends.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// Pinned memory and the copies that use it. While a copy is pending, its bytes must not be
/// accessed.
pub(super) struct PinnedMemory {
    context: Arc<Context>,
    start: *mut u8,
    bytes: usize,
    /// The last copy on each stream.
    copies: Vec<PendingCopy>,
}

struct PendingCopy {
    /// The stream's handle, unique within its context.
    stream: usize,
    event: Event,
    pending: bool,
}

// SAFETY: memory with one owner; contexts and events may be used on any thread.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above; a shared borrow reads only.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// Allocates `bytes` zeros.
    ///
    /// # Errors
    /// [`CudaError::HostMemory`], or the driver's error.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<PinnedMemory, CudaError> {
        let mut start = std::ptr::null_mut();
        // Portable: usable in every context. The driver refuses an allocation of 0 bytes.
        let size = bytes.max(1);
        // SAFETY: the pointer is to a local.
        match unsafe { call!(context, cuMemHostAlloc(&raw mut start, size, PORTABLE)) } {
            Err(CudaError::Failed { code: code::OUT_OF_MEMORY, name, .. }) => {
                return Err(CudaError::HostMemory { bytes: size as u64, name });
            }
            done => done?,
        }
        let start = start.cast::<u8>();
        // SAFETY: just allocated with that size.
        unsafe { start.write_bytes(0, size) };
        Ok(PinnedMemory { context: context.clone(), start, bytes, copies: Vec::new() })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Records that a copy of these bytes was queued on `stream`.
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
        // SAFETY: initialized when allocated; callers wait for copies before they borrow (`wait`).
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
            // SAFETY: allocated by `new`, freed once; no copy uses it.
            unsafe { (self.context.api.cuMemFreeHost)(self.start.cast()) };
        }
    }
}
