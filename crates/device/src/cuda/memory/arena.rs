//! GPU memory arenas: one allocation from the driver, divided into regions and buffers.

use std::sync::Arc;

use super::allocation::{ALIGNMENT_BYTES, Allocation};
use super::{Buffer, GpuRegion};
use crate::cuda::{CudaError, Gpu};
use crate::memory::Plain;

/// One allocation on a GPU, divided into aligned regions and buffers up to a hard limit.
///
/// The whole limit is reserved at once, so that a plan that does not fit fails before anything is
/// loaded. Regions and buffers keep the memory alive after the arena is dropped; it is freed when
/// the last of them is dropped.
#[derive(Clone)]
pub struct GpuArena {
    gpu: Gpu,
    allocation: Arc<Allocation>,
}

impl GpuArena {
    /// Alignment of every region and buffer.
    pub const ALIGNMENT_BYTES: usize = ALIGNMENT_BYTES;

    /// Reserves `limit_bytes`, which may be 0.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or the driver's error.
    pub fn new(gpu: &Gpu, limit_bytes: usize) -> Result<Self, CudaError> {
        let allocation = Arc::new(Allocation::new(gpu.context(), limit_bytes)?);
        Ok(Self { gpu: gpu.clone(), allocation })
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Allocated bytes, padding included.
    pub fn used_bytes(&self) -> usize {
        self.allocation.used()
    }

    pub fn limit_bytes(&self) -> usize {
        self.allocation.bytes()
    }

    /// Allocates `len` bytes to be filled, possibly by several threads.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`].
    pub fn region(&self, len: usize) -> Result<GpuRegion, CudaError> {
        let offset = self.allocation.suballocate(len)?;
        Ok(GpuRegion::new(self.gpu.clone(), self.allocation.clone(), offset, len))
    }

    /// Allocates a writable buffer of `len` zeros, for caches and activations. The fill with zeros
    /// is queued before any later work.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`], or the driver's error.
    pub fn zeroed<T: Plain>(&self, len: usize) -> Result<Buffer<T>, CudaError> {
        let bytes = super::buffer::bytes_of::<T>(len)?;
        let offset = self.allocation.suballocate(bytes)?;
        Buffer::zeroed(self.gpu.clone(), self.allocation.clone(), offset, len)
    }
}
