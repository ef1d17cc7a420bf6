use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::GpuBytes;
use super::allocation::Allocation;
use crate::cuda::{CudaError, Gpu};

/// GPU memory on its way to become [`GpuBytes`]: cut into [`GpuPart`]s that threads fill
/// independently.
pub struct GpuRegion {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    /// Bytes given out as parts so far.
    cut: usize,
    arrivals: Arc<Arrivals>,
}

/// What is on its way into a region.
#[derive(Default)]
struct Arrivals {
    /// Bytes whose copy or kernel was queued.
    queued: AtomicUsize,
    /// Some were queued on the stream of copies.
    copied: AtomicBool,
    /// Some were queued on the stream of kernels.
    computed: AtomicBool,
}

impl GpuRegion {
    /// The caller promises that `offset..offset + len` of `allocation` belongs to nobody else.
    pub(super) fn new(gpu: Gpu, allocation: Arc<Allocation>, offset: usize, len: usize) -> Self {
        Self { gpu, allocation, offset, len, cut: 0, arrivals: Arc::default() }
    }

    /// Bytes of the region.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `len` bytes of the region that were not cut yet.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where fewer are left.
    pub fn part(&mut self, len: usize) -> Result<GpuPart, CudaError> {
        let range = self.cut..self.cut.saturating_add(len);
        super::inside("a region of a GPU's arena, in bytes,", &range, self.len)?;
        let offset = self.offset + self.cut;
        self.cut += len;
        let (gpu, allocation, arrivals) =
            (self.gpu.clone(), self.allocation.clone(), self.arrivals.clone());
        Ok(GpuPart { gpu, allocation, offset, len, arrivals })
    }

    /// All bytes that were not cut yet, as one part.
    ///
    /// # Errors
    /// None at present; fallible like [`Self::part`].
    pub fn whole(&mut self) -> Result<GpuPart, CudaError> {
        self.part(self.len - self.cut)
    }

    /// Consecutive parts of the given lengths.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where they are longer than what is left.
    pub fn parts(&mut self, lens: &[usize]) -> Result<Vec<GpuPart>, CudaError> {
        lens.iter().map(|&len| self.part(len)).collect()
    }

    /// The filled region, once every copy and kernel that fills it is done. What was queued on the
    /// GPU in between is waited for too: finish regions late, not one by one.
    ///
    /// # Errors
    /// [`CudaError::Unfilled`] unless every byte was part of a successful [`GpuPart::fill`] or was
    /// copied to; [`CudaError::Timeout`]; or what the work failed with.
    pub fn finish(self, deadline: Instant) -> Result<GpuBytes, CudaError> {
        let filled = self.arrivals.queued.load(Ordering::Acquire);
        if filled != self.len {
            let (filled_bytes, expected_bytes) = (filled as u64, self.len as u64);
            return Err(CudaError::Unfilled {
                ordinal: self.gpu.ordinal(),
                filled_bytes,
                expected_bytes,
            });
        }
        if self.arrivals.copied.load(Ordering::Acquire) {
            self.gpu.await_copies("the copy of weights to it", deadline)?;
        }
        if self.arrivals.computed.load(Ordering::Acquire) {
            self.gpu.await_kernels("the making of weights on it", deadline)?;
        }
        Ok(GpuBytes::filled(self.gpu, self.allocation, self.offset, self.len))
    }
}

/// Exclusive, owned access to some bytes of a [`GpuRegion`] until they are filled: by
/// [`Self::fill`], or by a [`PinnedBytes`](crate::cuda::PinnedBytes), which copies to it.
pub struct GpuPart {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    arrivals: Arc<Arrivals>,
}

impl GpuPart {
    /// Bytes of the part.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Lets `fill` queue kernels that write every byte. The bytes count as filled if it returns
    /// `Ok`.
    ///
    /// # Errors
    /// What `fill` returned.
    pub fn fill<E>(self, fill: impl FnOnce(&mut GpuSpan<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut span =
            GpuSpan { gpu: &self.gpu, address: self.address(), len: self.len, region: PhantomData };
        fill(&mut span)?;
        self.arrivals.computed.store(true, Ordering::Release);
        self.arrivals.queued.fetch_add(self.len, Ordering::Release);
        Ok(())
    }

    pub(in crate::cuda) fn address(&self) -> u64 {
        self.allocation.address() + self.offset as u64
    }

    /// All bytes' copies were queued on the stream of copies.
    pub(in crate::cuda) fn copied(self) {
        self.arrivals.copied.store(true, Ordering::Release);
        self.arrivals.queued.fetch_add(self.len, Ordering::Release);
    }
}

/// GPU memory that a kernel is about to write, all of it.
pub struct GpuSpan<'a> {
    gpu: &'a Gpu,
    address: u64,
    len: usize,
    region: PhantomData<&'a mut ()>,
}

impl GpuSpan<'_> {
    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        self.gpu
    }

    /// The first byte on the GPU.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
