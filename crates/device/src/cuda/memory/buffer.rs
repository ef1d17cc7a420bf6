use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::allocation::Allocation;
use crate::cuda::{CudaError, Gpu};
use crate::memory::Plain;

/// Numbers on a GPU that kernels read and write: activations, `[rows, width]` row-major, and
/// caches.
///
/// Everything that is done to it is queued in order on the GPU's stream of kernels. Only
/// [`Self::download`] waits.
pub struct Buffer<T: Plain> {
    gpu: Gpu,
    allocation: Arc<Allocation>,
    offset: usize,
    len: usize,
    capacity: usize,
    kind: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// `len` zeros in memory of their own. Taking it from the driver waits for the GPU: take
    /// buffers once and use them again.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or what the driver says.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self, CudaError> {
        let allocation = Arc::new(Allocation::new(gpu.context(), bytes_of::<T>(len)?)?);
        let offset = allocation.cut(bytes_of::<T>(len)?)?;
        Self::zeroed(gpu.clone(), allocation, offset, len)
    }

    /// The caller promises that the bytes of `allocation` from `offset` on belong to nobody else.
    pub(super) fn zeroed(
        gpu: Gpu,
        allocation: Arc<Allocation>,
        offset: usize,
        len: usize,
    ) -> Result<Self, CudaError> {
        let buffer = Self { gpu, allocation, offset, len, capacity: len, kind: PhantomData };
        // SAFETY: the bytes are the buffer's own. It may be dropped before they are written, but
        // its memory is not given to others before: the driver waits for queued work when
        // it frees, and an arena never gives bytes twice.
        unsafe { buffer.gpu.compute().zero(buffer.address(), buffer.bytes()) }?;
        Ok(buffer)
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers that fit without asking for memory.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// The first number on the GPU.
    pub fn address(&self) -> u64 {
        self.allocation.address() + self.offset as u64
    }

    /// The number at `at` on the GPU, which may be one past the last.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`].
    pub fn address_of(&self, at: usize) -> Result<u64, CudaError> {
        super::inside("a GPU's buffer", &(at..at), self.len)?;
        Ok(self.address() + (at * size_of::<T>()) as u64)
    }

    /// Makes it `len` numbers long. What they hold is unspecified (what was there, or zeros).
    /// Growing past the capacity takes new memory, and waits for the GPU.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or what the driver says; the buffer
    /// is then as it was.
    pub fn resize(&mut self, len: usize) -> Result<(), CudaError> {
        if len > self.capacity {
            *self = Self::new(&self.gpu, len)?;
        }
        self.len = len;
        Ok(())
    }

    /// Fills it with zeros.
    ///
    /// # Errors
    /// What the driver says.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        // SAFETY: as in `zeroed`, and the borrow is exclusive.
        unsafe { self.gpu.compute().zero(self.address(), self.bytes()) }
    }

    /// Copies `from` to the numbers from `at` on. `from` may be changed as soon as this returns;
    /// the deadline is for a place among the GPU's pinned buffers.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::Timeout`], or what the driver says.
    pub fn upload(&mut self, at: usize, from: &[T], deadline: Instant) -> Result<(), CudaError> {
        super::inside("a GPU's buffer", &(at..at.saturating_add(from.len())), self.len)?;
        let to = self.address_of(at)?;
        // SAFETY: T is plain numbers without padding; the range lies inside and is the buffer's
        // own.
        unsafe { self.gpu.upload_bytes(to, as_bytes(from), deadline) }
    }

    /// Copies the numbers of `range` to the host, once everything queued before is done.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] where `to` is not as long as the range or the range is outside;
    /// [`CudaError::Timeout`]; or what the work queued before failed with.
    pub fn download(
        &self,
        range: Range<usize>,
        to: &mut [T],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        super::inside("a GPU's buffer", &range, self.len)?;
        super::inside("the place for a download", &(0..range.len()), to.len())?;
        super::inside("a download", &(0..to.len()), range.len())?;
        // SAFETY: T is plain numbers for which any bits are a value; the range lies inside.
        unsafe {
            self.gpu.download_bytes(self.address_of(range.start)?, as_bytes_mut(to), deadline)
        }
    }

    /// Copies the numbers of `range` of `from`, which is on the same GPU, to those from `at` on.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::WrongGpu`], or what the driver says.
    pub fn copy_from(
        &mut self,
        at: usize,
        from: &Buffer<T>,
        range: Range<usize>,
    ) -> Result<(), CudaError> {
        super::inside("a GPU's buffer", &range, from.len)?;
        super::inside("a GPU's buffer", &(at..at.saturating_add(range.len())), self.len)?;
        self.gpu.same("the source of a copy", &from.gpu)?;
        let (to, source) = (self.address_of(at)?, from.address_of(range.start)?);
        // SAFETY: both ranges lie inside their buffers, which do not overlap; see `zeroed` for how
        // long they live.
        unsafe { self.gpu.compute().copy_on_gpu(to, source, range.len() * size_of::<T>()) }
    }
}

impl<T: Plain> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Buffer({} {} on CUDA device {})",
            self.len,
            std::any::type_name::<T>(),
            self.gpu.ordinal()
        )
    }
}

/// Bytes of `len` numbers.
pub(super) fn bytes_of<T: Plain>(len: usize) -> Result<usize, CudaError> {
    let most = isize::MAX as usize / size_of::<T>();
    super::inside("the address space", &(0..len), most)?;
    Ok(len * size_of::<T>())
}

fn as_bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: plain numbers have no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

fn as_bytes_mut<T: Plain>(numbers: &mut [T]) -> &mut [u8] {
    // SAFETY: as above; any bits are a value of a plain number.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}
