use std::sync::Arc;

use super::allocation::{ALIGNMENT_BYTES, Allocation};
use super::{Buffer, GpuRegion};
use crate::cuda::{CudaError, Gpu};
use crate::memory::Plain;

/// One allocation on a GPU, from which aligned regions are cut until a hard limit is reached.
///
/// All of it is taken from the driver at once, so that what was planned either fits before anything
/// is loaded or never. Regions and buffers keep the memory alive, so an arena may be dropped before
/// them; memory is given back when the last handle goes.
#[derive(Clone)]
pub struct GpuArena {
    gpu: Gpu,
    allocation: Arc<Allocation>,
}

impl GpuArena {
    /// Every region and buffer starts at a multiple of this many bytes.
    pub const ALIGNMENT_BYTES: usize = ALIGNMENT_BYTES;

    /// An arena of `limit_bytes`, which it never passes. It may be empty.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or what the driver says.
    pub fn new(gpu: &Gpu, limit_bytes: usize) -> Result<Self, CudaError> {
        let allocation = Arc::new(Allocation::new(gpu.context(), limit_bytes)?);
        Ok(Self { gpu: gpu.clone(), allocation })
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes handed out so far, padding included.
    pub fn used_bytes(&self) -> usize {
        self.allocation.used()
    }

    /// The hard limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.allocation.bytes()
    }

    /// `len` bytes to be filled, perhaps by several threads.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`].
    pub fn region(&self, len: usize) -> Result<GpuRegion, CudaError> {
        let offset = self.allocation.cut(len)?;
        Ok(GpuRegion::new(self.gpu.clone(), self.allocation.clone(), offset, len))
    }

    /// `len` zeros that stay writable, for caches and activations. The zeros are queued before
    /// whatever is queued next.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`], or what the driver says.
    pub fn zeroed<T: Plain>(&self, len: usize) -> Result<Buffer<T>, CudaError> {
        let bytes = super::buffer::bytes_of::<T>(len)?;
        let offset = self.allocation.cut(bytes)?;
        Buffer::zeroed(self.gpu.clone(), self.allocation.clone(), offset, len)
    }
}
