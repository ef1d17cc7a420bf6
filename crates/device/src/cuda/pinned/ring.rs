//! A ring of a fixed number of pinned buffers, which file readers fill and GPUs copy from.

use base::unpoisoned;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::host::PinnedMemory;
use crate::cuda::context::Context;
use crate::cuda::memory::check_range;
use crate::cuda::{Buffer, CudaError, Gpu, GpuPart};

/// A fixed number of pinned host buffers that readers fill and GPUs copy from, concurrently.
///
/// Any number of threads may use a ring. A reader takes a buffer ([`Self::acquire`]), fills it,
/// queues copies to any GPUs ([`PinnedBytes::copy`]) and drops it; the buffer returns to the ring
/// at once and is reused when its copies are done. The most recently returned idle buffer is reused
/// first: its bytes are still in the CPU's cache, which doubles the rate of writing and copying
/// them. A reader that hangs in the kernel keeps its buffer forever, so the ring has one buffer
/// less.
#[derive(Clone)]
pub struct PinnedRing {
    state: Arc<RingState>,
}

struct RingState {
    buffers: usize,
    bytes: usize,
    /// Buffers that no reader holds; copies from them may still be pending.
    available: Mutex<VecDeque<PinnedMemory>>,
    returned: Condvar,
}

impl RingState {
    fn available(&self) -> MutexGuard<'_, VecDeque<PinnedMemory>> {
        unpoisoned(self.available.lock())
    }
}

impl PinnedRing {
    /// Pins `buffers` buffers of `bytes` bytes each, usable with every GPU of the process. Pinning
    /// takes about 1 s for 2 GiB.
    ///
    /// # Errors
    /// [`CudaError::HostMemory`], or the driver's error.
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

    pub fn buffers(&self) -> usize {
        self.state.buffers
    }

    /// Bytes of one buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.state.bytes
    }

    /// Waits for a buffer that no copy uses. It is page-aligned, as direct I/O requires; its
    /// contents are unspecified.
    ///
    /// # Errors
    /// [`CudaError::RingExhausted`] if readers hold all buffers until the deadline,
    /// [`CudaError::Timeout`] if the copies from a buffer do not complete, or the error of a copy.
    pub fn acquire(&self, deadline: Instant) -> Result<PinnedBuffer, CudaError> {
        let memory = self.next_available(deadline)?;
        self.ready(memory, deadline)
    }

    /// As [`Self::acquire`], but returns `None` if readers hold all buffers now.
    pub(in crate::cuda) fn acquire_spare(
        &self,
        deadline: Instant,
    ) -> Result<Option<PinnedBuffer>, CudaError> {
        let memory = take(&mut self.state.available());
        memory.map(|memory| self.ready(memory, deadline)).transpose()
    }

    /// Waits until no copy uses the buffer; on failure the buffer returns to the ring.
    fn ready(&self, memory: PinnedMemory, deadline: Instant) -> Result<PinnedBuffer, CudaError> {
        let mut buffer =
            PinnedBuffer { memory: ManuallyDrop::new(memory), ring: self.state.clone() };
        buffer.wait("a copy from a pinned buffer", deadline)?;
        Ok(buffer)
    }

    fn next_available(&self, deadline: Instant) -> Result<PinnedMemory, CudaError> {
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
            available = unpoisoned(waited).0;
        }
    }

    /// Waits until all buffers have returned and no copy uses them, so that everything passed to
    /// [`PinnedBytes::copy`] is in GPU memory. Call from one thread at a time, after the last
    /// reader has finished.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn drain(&self, deadline: Instant) -> Result<(), CudaError> {
        let all = (0..self.state.buffers).map(|_| self.acquire(deadline));
        all.collect::<Result<Vec<_>, _>>().map(drop)
    }
}

/// Takes the most recently returned buffer that no copy uses. If copies use all buffers, takes the
/// one that was returned first, since its copies complete first. A buffer whose copies failed
/// counts as unused: its next user gets the error.
fn take(available: &mut VecDeque<PinnedMemory>) -> Option<PinnedMemory> {
    let idle = (0..available.len()).rev().find(|&at| available[at].is_idle().unwrap_or(true));
    available.remove(idle.unwrap_or(0))
}

/// A pinned buffer to which one thread may write. It returns to its ring when dropped.
pub struct PinnedBuffer {
    /// Returned to the ring on drop.
    memory: ManuallyDrop<PinnedMemory>,
    ring: Arc<RingState>,
}

impl PinnedBuffer {
    /// Ends writing, so that GPUs may copy from the buffer.
    pub fn filled(self) -> PinnedBytes {
        PinnedBytes(self)
    }

    /// Queues a copy of `bytes` bytes of GPU memory at `address` to the start of this buffer,
    /// ordered with the GPU's kernels. The bytes may be read after [`Self::wait`].
    ///
    /// # Safety
    /// The GPU memory must stay alive until the copy is done; `bytes` must not exceed the length of
    /// the buffer.
    pub(in crate::cuda) unsafe fn copy_from_kernels(
        &mut self,
        gpu: &Gpu,
        address: u64,
        bytes: usize,
    ) -> Result<(), CudaError> {
        // SAFETY: guaranteed by the caller; `used_by` records the copy, so that the buffer is not
        // reused before the copy is done.
        unsafe { gpu.compute().copy_out(self.memory.start(), address, bytes) }?;
        self.memory.used_by(gpu.context(), gpu.compute())
    }

    /// Waits until no copy uses the buffer.
    ///
    /// # Errors
    /// [`CudaError::Timeout`], or the error of a copy.
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
        // SAFETY: `memory` is taken only here and not used afterwards.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        self.ring.available().push_back(memory);
        self.ring.returned.notify_one();
    }
}

/// A filled pinned buffer that GPUs copy from. It returns to its ring when dropped; the ring waits
/// for the copies before it reuses the buffer.
pub struct PinnedBytes(PinnedBuffer);

impl PinnedBytes {
    /// Queues a copy of bytes `range` of this buffer to `part`, on the copy stream of the part's
    /// GPU, and marks the part as filled. Any number of copies to any GPUs may be queued.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] if `range` exceeds the buffer or its length differs from that of
    /// the part; or the driver's error.
    pub fn copy(&mut self, range: Range<usize>, part: GpuPart) -> Result<(), CudaError> {
        check_range("a pinned buffer (bytes)", &range, self.0.len())?;
        if range.len() != part.len() {
            let (start, end) = (range.start as u64, range.end as u64);
            return Err(CudaError::OutOfRange {
                what: "a part of a region (bytes)",
                start,
                end,
                len: part.len() as u64,
            });
        }
        let (gpu, memory) = (part.gpu(), &mut self.0.memory);
        // SAFETY: `range` lies inside the buffer. The buffer is not written to before the event
        // that `used_by` records after the copy, and the part's bytes are not accessed until the
        // region is finished, which waits for the copy.
        unsafe {
            gpu.copies().copy_in(part.address(), memory.start().add(range.start), range.len())
        }?;
        memory.used_by(gpu.context(), gpu.copies())?;
        part.copied();
        Ok(())
    }

    /// Queues a copy of bytes `range` of this buffer to the bytes of `to` that start at index `at`,
    /// ordered with the GPU's kernels: for bytes that a kernel then converts to another dtype
    /// ([`GpuPart::fill`]).
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], or the driver's error.
    pub fn copy_for_kernels(
        &mut self,
        range: Range<usize>,
        to: &mut Buffer<u8>,
        at: usize,
    ) -> Result<(), CudaError> {
        check_range("a pinned buffer (bytes)", &range, self.0.len())?;
        check_range("a GPU buffer", &(at..at.saturating_add(range.len())), to.len())?;
        let (gpu, address) = (to.gpu().clone(), to.address_of(at)?);
        // SAFETY: as in `copy`; the GPU buffer is borrowed exclusively, and only work on the
        // compute stream accesses it.
        unsafe { self.copy_to_kernels(&gpu, address, range) }
    }

    /// As [`Self::copy_for_kernels`], to a device address.
    ///
    /// # Safety
    /// `range` must lie inside this buffer. Until the copy is done, the GPU memory must stay alive,
    /// and only work on this GPU's compute stream may access it.
    pub(in crate::cuda) unsafe fn copy_to_kernels(
        &mut self,
        gpu: &Gpu,
        address: u64,
        range: Range<usize>,
    ) -> Result<(), CudaError> {
        let memory = &mut self.0.memory;
        // SAFETY: guaranteed by the caller; `used_by` records the copy, so that the buffer is not
        // reused before the copy is done.
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
