//! GPU memory that is filled while weights are loaded.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::GpuBytes;
use super::allocation::Allocation;
use crate::cuda::{CudaError, Gpu};

/// GPU memory that becomes [`GpuBytes`] once it is filled; divided into [`GpuPart`]s that threads
/// fill independently.
pub struct GpuRegion {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    /// Number of bytes handed out as parts so far.
    handed_out: usize,
    progress: Arc<FillProgress>,
}

/// Progress of filling a region.
#[derive(Default)]
struct FillProgress {
    /// Number of bytes for which a copy or a kernel was queued.
    queued: AtomicUsize,
    /// Whether a copy was queued on the copy stream.
    copied: AtomicBool,
    /// Whether a kernel was queued on the compute stream.
    computed: AtomicBool,
}

impl GpuRegion {
    /// A region of bytes `offset..offset + len` of `allocation`. The caller guarantees that nothing
    /// else uses these bytes.
    pub(super) fn new(gpu: Gpu, allocation: Arc<Allocation>, offset: usize, len: usize) -> Self {
        Self { gpu, allocation, offset, len, handed_out: 0, progress: Arc::default() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `len` bytes of the region as one part.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] if fewer bytes remain.
    pub fn part(&mut self, len: usize) -> Result<GpuPart, CudaError> {
        let range = self.handed_out..self.handed_out.saturating_add(len);
        super::check_range("a region of a GPU arena (bytes)", &range, self.len)?;
        let offset = self.offset + self.handed_out;
        self.handed_out += len;
        let (gpu, allocation, progress) =
            (self.gpu.clone(), self.allocation.clone(), self.progress.clone());
        Ok(GpuPart { gpu, allocation, offset, len, progress })
    }

    /// All remaining bytes as one part.
    ///
    /// # Errors
    /// Never fails at present; returns a `Result` as [`Self::part`] does.
    pub fn whole(&mut self) -> Result<GpuPart, CudaError> {
        self.part(self.len - self.handed_out)
    }

    /// Consecutive parts with the given lengths in bytes.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] if fewer bytes remain.
    pub fn parts(&mut self, lens: &[usize]) -> Result<Vec<GpuPart>, CudaError> {
        lens.iter().map(|&len| self.part(len)).collect()
    }

    /// Waits until every copy and kernel that fills the region is done. This also waits for all
    /// other work queued so far on the same streams, so finish all regions at the end of loading,
    /// not one by one.
    ///
    /// # Errors
    /// [`CudaError::Unfilled`] unless every byte was copied or was part of a successful
    /// [`GpuPart::fill`]; [`CudaError::Timeout`]; or the error of the copies and kernels.
    pub fn finish(self, deadline: Instant) -> Result<GpuBytes, CudaError> {
        let filled = self.progress.queued.load(Ordering::Acquire);
        if filled != self.len {
            let (filled_bytes, expected_bytes) = (filled as u64, self.len as u64);
            return Err(CudaError::Unfilled {
                ordinal: self.gpu.ordinal(),
                filled_bytes,
                expected_bytes,
            });
        }
        if self.progress.copied.load(Ordering::Acquire) {
            self.gpu.await_copies("the copy of weights", deadline)?;
        }
        if self.progress.computed.load(Ordering::Acquire) {
            self.gpu.await_kernels("the conversion of weights", deadline)?;
        }
        Ok(GpuBytes::filled(self.gpu, self.allocation, self.offset, self.len))
    }
}

/// Exclusive access to a part of a [`GpuRegion`] until it is filled: by [`Self::fill`], or by a
/// copy from a [`PinnedBytes`](crate::cuda::PinnedBytes).
pub struct GpuPart {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    progress: Arc<FillProgress>,
}

impl GpuPart {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Calls `fill`, which must queue kernels that write every byte of the part. The bytes count as
    /// filled if `fill` returns `Ok`.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn fill<E>(self, fill: impl FnOnce(&mut FillSpan<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut span = FillSpan {
            gpu: &self.gpu,
            address: self.address(),
            len: self.len,
            region: PhantomData,
        };
        fill(&mut span)?;
        self.progress.computed.store(true, Ordering::Release);
        self.progress.queued.fetch_add(self.len, Ordering::Release);
        Ok(())
    }

    pub(in crate::cuda) fn address(&self) -> u64 {
        self.allocation.address() + self.offset as u64
    }

    /// Records that a copy to all bytes of the part was queued on the copy stream.
    pub(in crate::cuda) fn copied(self) {
        self.progress.copied.store(true, Ordering::Release);
        self.progress.queued.fetch_add(self.len, Ordering::Release);
    }
}

/// The GPU memory of a [`GpuPart`], of which the kernels queued by [`GpuPart::fill`] must write
/// every byte.
pub struct FillSpan<'a> {
    gpu: &'a Gpu,
    address: u64,
    len: usize,
    region: PhantomData<&'a mut ()>,
}

impl FillSpan<'_> {
    pub fn gpu(&self) -> &Gpu {
        self.gpu
    }

    /// Device address of the first byte.
    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
