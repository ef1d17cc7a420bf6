//! Immutable GPU memory: the bytes of loaded weights.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::allocation::Allocation;
use crate::cuda::{CudaError, Gpu};

/// A handle to read-only bytes in GPU memory, which were filled before the handle was created.
/// Cheap to clone; keeps the memory alive.
///
/// There is no public constructor: a handle comes from [`super::GpuRegion::finish`] or is a slice
/// of another handle.
#[derive(Clone)]
pub struct GpuBytes {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
}

impl GpuBytes {
    /// A handle to bytes `offset..offset + len` of `allocation`. The caller guarantees that these
    /// bytes were filled and are never written again.
    pub(super) fn filled(gpu: Gpu, allocation: Arc<Allocation>, offset: usize, len: usize) -> Self {
        Self { gpu, allocation, offset, len }
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Device address of the first byte.
    pub fn address(&self) -> u64 {
        self.allocation.address() + self.offset as u64
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A handle to `range` of these bytes, for example the q rows of a fused qkv matrix.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`].
    pub fn slice(&self, range: Range<usize>) -> Result<Self, CudaError> {
        super::check_range("a tensor on a GPU (bytes)", &range, self.len)?;
        let (gpu, allocation) = (self.gpu.clone(), self.allocation.clone());
        Ok(Self { gpu, allocation, offset: self.offset + range.start, len: range.len() })
    }

    /// Copies all bytes to the host.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] if `to` has another length; [`CudaError::Timeout`]; or the
    /// driver's error.
    pub fn download(&self, to: &mut [u8], deadline: Instant) -> Result<(), CudaError> {
        if to.len() != self.len {
            return Err(CudaError::OutOfRange {
                what: "a tensor on a GPU (bytes)",
                start: 0,
                end: to.len() as u64,
                len: self.len as u64,
            });
        }
        // SAFETY: the bytes are filled and stay alive as long as this handle.
        unsafe { self.gpu.download_bytes(self.address(), to, deadline) }
    }
}

impl fmt::Debug for GpuBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpuBytes({} bytes on CUDA device {})", self.len, self.gpu.ordinal())
    }
}
