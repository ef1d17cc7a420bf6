use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::host::PinnedMemory;
use crate::cuda::context::Context;
use crate::cuda::memory::inside;
use crate::cuda::{Buffer, CudaError, Gpu, GpuPart};

/// A fixed number of pinned host buffers that readers fill and GPUs copy from, at the same time.
///
/// Any number of threads may use a ring. A reader takes a buffer ([`Self::acquire`]), writes to it,
/// queues copies of it to any GPUs ([`PinnedBytes::copy`]) and drops it; it comes available to the ring
/// at once, and is given out again when its copies are done. Of those the last one is given first:
/// its bytes are still in the processor's cache, where they are written, and copied from, at twice
/// the rate of memory. A reader that is stuck in the kernel keeps its buffer for ever, and the ring
/// has one less.
#[derive(Clone)]
pub struct PinnedRing {
    state: Arc<RingState>,
}

struct RingState {
    buffers: usize,
    bytes: usize,
    /// Those that no reader has; copies may still use them.
    available: Mutex<VecDeque<PinnedMemory>>,
    returned: Condvar,
}

impl RingState {
    fn available(&self) -> MutexGuard<'_, VecDeque<PinnedMemory>> {
        self.available.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PinnedRing {
    /// `buffers` buffers of `bytes` bytes each, usable with every GPU of the process. Pinning takes
    /// about a second for 2 GiB.
    ///
    /// # Errors
    /// [`CudaError::HostMemory`], or what the driver says.
    pub fn new(gpu: &Gpu, buffers: usize, bytes: usize) -> Result<PinnedRing, CudaError> {
        PinnedRing::in_context(gpu.context(), buffers, bytes)
    }

    pub(in crate::cuda) fn in_context(
        context: &Arc<Context>,
        buffers: usize,
        bytes: usize,
    ) -> Result<PinnedRing, CudaError> {
        let available =
            (0..buffers).map(|_| PinnedMemory::new(context, bytes)).collect::<Result<_, _>>()?;
        let state = RingState {
            buffers,
            bytes,
            available: Mutex::new(available),
            returned: Condvar::new(),
        };
        Ok(PinnedRing { state: Arc::new(state) })
    }

    /// How many buffers there are.
    pub fn buffers(&self) -> usize {
        self.state.buffers
    }

    /// Bytes of each.
    pub fn buffer_bytes(&self) -> usize {
        self.state.bytes
    }

    /// A buffer that no copy uses, once there is one. It begins at a page, as direct reads want it;
    /// what it holds is unspecified.
    ///
    /// # Errors
    /// [`CudaError::RingExhausted`] where readers have all of them until the deadline,
    /// [`CudaError::Timeout`] where the copies from one do not end, or what a copy failed with.
    pub fn acquire(&self, deadline: Instant) -> Result<PinnedBuffer, CudaError> {
        let memory = self.next(deadline)?;
        self.ready(memory, deadline)
    }

    /// As [`Self::acquire`], but `None` where readers have all of them now.
    pub(in crate::cuda) fn acquire_spare(
        &self,
        deadline: Instant,
    ) -> Result<Option<PinnedBuffer>, CudaError> {
        let memory = take(&mut self.state.available());
        memory.map(|memory| self.ready(memory, deadline)).transpose()
    }

    /// Waits for the copies; a failure gives the buffer available.
    fn ready(&self, memory: PinnedMemory, deadline: Instant) -> Result<PinnedBuffer, CudaError> {
        let mut buffer =
            PinnedBuffer { memory: ManuallyDrop::new(memory), ring: self.state.clone() };
        buffer.wait("a copy from a pinned buffer", deadline)?;
        Ok(buffer)
    }

    fn next(&self, deadline: Instant) -> Result<PinnedMemory, CudaError> {
        let started = Instant::now();
        let mut available = self.state.available();
        loop {
            if let Some(memory) = take(&mut available) {
                return Ok(memory);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(CudaError::RingExhausted {
                    buffers: self.state.buffers,
                    waited: now - started,
                });
            }
            let waited = self.state.returned.wait_timeout(available, deadline - now);
            available = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all buffers are available and no copy uses any: every byte that was handed to
    /// [`PinnedBytes::copy`] is on its GPU. One thread may do so at a time, after the last
    /// reader.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn drain(&self, deadline: Instant) -> Result<(), CudaError> {
        let all = (0..self.state.buffers).map(|_| self.acquire(deadline));
        all.collect::<Result<Vec<_>, _>>().map(drop)
    }
}

/// The buffer that came available last among those that no copy uses; where copies use all of them, the
/// first, whose copies end first. One whose copies failed counts as unused: whoever takes it is
/// told.
fn take(available: &mut VecDeque<PinnedMemory>) -> Option<PinnedMemory> {
    let unused = (0..available.len()).rev().find(|&at| available[at].is_idle().unwrap_or(true));
    available.remove(unused.unwrap_or(0))
}

/// A pinned buffer in the hands of one thread, which may write to it. Dropping it gives it available to
/// its ring.
pub struct PinnedBuffer {
    /// Taken when it is dropped.
    memory: ManuallyDrop<PinnedMemory>,
    ring: Arc<RingState>,
}

impl PinnedBuffer {
    /// What was written is all: from here on GPUs copy from it.
    pub fn filled(self) -> PinnedBytes {
        PinnedBytes(self)
    }

    /// Queues a copy of GPU memory to the first `bytes` bytes, in order with the GPU's kernels.
    /// They may be read after [`Self::wait`].
    ///
    /// # Safety
    /// The GPU's memory must be alive until then; `bytes` at most the buffer's.
    pub(in crate::cuda) unsafe fn copy_from_kernels(
        &mut self,
        gpu: &Gpu,
        address: u64,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise, and `used_by`.
        unsafe { gpu.compute().copy_out(self.memory.start(), address, bytes) }?;
        self.memory.used_by(gpu.context(), gpu.compute())
    }

    /// Waits until no copy uses the buffer.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or what a copy failed with.
    pub(in crate::cuda) fn wait(
        &mut self,
        doing: &'static str,
        deadline: Instant,
    ) -> Result<(), CudaError> {
        self.memory.wait(doing, deadline)
    }
}

impl Deref for PinnedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for PinnedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and not used after.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        self.ring.available().push_back(memory);
        self.ring.returned.notify_one();
    }
}

/// A pinned buffer that was filled: GPUs copy from it, and nobody writes to it any more. Dropping
/// it gives it available to its ring, which waits for the copies before it gives it to somebody else.
pub struct PinnedBytes(PinnedBuffer);

impl PinnedBytes {
    /// Queues a copy of the bytes of `range` to `part`, on its GPU's stream of copies, which fills
    /// the part. Any number of copies may be made, to any GPUs.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where the range lies outside or the part is of another length; or
    /// what the driver says.
    pub fn copy(&mut self, range: Range<usize>, part: GpuPart) -> Result<(), CudaError> {
        inside("a pinned buffer, in bytes,", &range, self.0.len())?;
        if range.len() != part.len() {
            let (start, end) = (range.start as u64, range.end as u64);
            return Err(CudaError::OutOfRange {
                what: "a part of a region",
                start,
                end,
                len: part.len() as u64,
            });
        }
        let (gpu, memory) = (part.gpu(), &mut self.0.memory);
        // SAFETY: the range lies inside; the buffer is written to by nobody before the event after
        // the copy (`used_by`), and the part's bytes are its own until the region is
        // finished, which waits for the copy.
        unsafe {
            gpu.copies().copy_in(part.address(), memory.start().add(range.start), range.len())
        }?;
        memory.used_by(gpu.context(), gpu.copies())?;
        part.copied();
        Ok(())
    }

    /// Queues a copy of the bytes of `range` to those of `to` from `at` on, in order with the GPU's
    /// kernels: for what a kernel then converts into its last place ([`GpuPart::fill`]).
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], or what the driver says.
    pub fn copy_for_kernels(
        &mut self,
        range: Range<usize>,
        to: &mut Buffer<u8>,
        at: usize,
    ) -> Result<(), CudaError> {
        inside("a pinned buffer, in bytes,", &range, self.0.len())?;
        inside("a GPU's buffer", &(at..at.saturating_add(range.len())), to.len())?;
        let (gpu, address) = (to.gpu().clone(), to.address_of(at)?);
        // SAFETY: as above; the buffer on the GPU is borrowed exclusively, and its uses are in the
        // same stream.
        unsafe { self.copy_to_kernels(&gpu, address, range) }
    }

    /// As [`Self::copy_for_kernels`], to an address.
    ///
    /// # Safety
    /// `range` must lie in the buffer; the GPU's memory must be alive and used by this GPU's
    /// kernels only, until the copy is done.
    pub(in crate::cuda) unsafe fn copy_to_kernels(
        &mut self,
        gpu: &Gpu,
        address: u64,
        range: Range<usize>,
    ) -> Result<(), CudaError> {
        let memory = &mut self.0.memory;
        // SAFETY: the caller's promise, and `used_by`.
        unsafe { gpu.compute().copy_in(address, memory.start().add(range.start), range.len()) }?;
        memory.used_by(gpu.context(), gpu.compute())
    }
}

impl Deref for PinnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
