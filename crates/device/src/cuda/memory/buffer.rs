//! Typed GPU buffers for activations and caches.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::allocation::Allocation;
use crate::cuda::{CudaError, Gpu};
use crate::memory::Plain;

/// Elements in GPU memory that kernels read and write: activations, `[rows, width]` row-major, and
/// KV caches.
///
/// All operations are queued on the compute stream of the GPU, in call order. Only
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
    /// `len` zeros in a separate allocation. Allocating waits for the GPU, so allocate buffers once
    /// and reuse them.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or the driver's error.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self, CudaError> {
        let allocation = Arc::new(Allocation::new(gpu.context(), bytes_of::<T>(len)?)?);
        let offset = allocation.suballocate(bytes_of::<T>(len)?)?;
        Self::zeroed(gpu.clone(), allocation, offset, len)
    }

    /// A buffer of `len` zeros from byte `offset` of `allocation` on. The caller guarantees that
    /// nothing else uses these bytes.
    pub(super) fn zeroed(
        gpu: Gpu,
        allocation: Arc<Allocation>,
        offset: usize,
        len: usize,
    ) -> Result<Self, CudaError> {
        let buffer = Self { gpu, allocation, offset, len, capacity: len, kind: PhantomData };
        // SAFETY: the bytes belong to this buffer only. If it is dropped before the fill has run,
        // the bytes are not reused until then: the driver waits for queued work when it frees
        // memory, and an arena never hands out bytes twice.
        unsafe { buffer.gpu.compute().zero(buffer.address(), buffer.bytes()) }?;
        Ok(buffer)
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of elements that fit without a new allocation.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Size of the elements in bytes.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Device address of the first element.
    pub fn address(&self) -> u64 {
        self.allocation.address() + self.offset as u64
    }

    /// Device address of element `at`, which may be one past the last.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`].
    pub fn address_of(&self, at: usize) -> Result<u64, CudaError> {
        super::check_range("a GPU buffer", &(at..at), self.len)?;
        Ok(self.address() + (at * size_of::<T>()) as u64)
    }

    /// Changes the number of elements. Their values are unspecified (old elements or zeros).
    /// Growing beyond the capacity allocates, which waits for the GPU.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or the driver's error; the buffer
    /// is then unchanged.
    pub fn resize(&mut self, len: usize) -> Result<(), CudaError> {
        if len > self.capacity {
            *self = Self::new(&self.gpu, len)?;
        }
        self.len = len;
        Ok(())
    }

    /// Queues a fill of all elements with zeros.
    ///
    /// # Errors
    /// The driver's error.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        // SAFETY: as in `zeroed`, and the borrow is exclusive.
        unsafe { self.gpu.compute().zero(self.address(), self.bytes()) }
    }

    /// Queues a copy of `from` to the elements that start at index `at`. `from` may change as soon
    /// as the call returns; `deadline` limits the wait for a free pinned buffer.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::Timeout`], or the driver's error.
    pub fn upload(&mut self, at: usize, from: &[T], deadline: Instant) -> Result<(), CudaError> {
        super::check_range("a GPU buffer", &(at..at.saturating_add(from.len())), self.len)?;
        let to = self.address_of(at)?;
        // SAFETY: `T` has no padding; the range lies inside this buffer, which is borrowed
        // exclusively.
        unsafe { self.gpu.upload_bytes(to, as_bytes(from), deadline) }
    }

    /// Copies elements `range` to the host, after all work queued so far, and waits for the copy.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`] if `range` exceeds the buffer or its length differs from that of
    /// `to`; [`CudaError::Timeout`]; or the error of earlier work.
    pub fn download(
        &self,
        range: Range<usize>,
        to: &mut [T],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        super::check_range("a GPU buffer", &range, self.len)?;
        super::check_range("the target of a download", &(0..range.len()), to.len())?;
        super::check_range("a download", &(0..to.len()), range.len())?;
        // SAFETY: any bits are a valid `T`; the range lies inside this buffer.
        unsafe {
            self.gpu.download_bytes(self.address_of(range.start)?, as_bytes_mut(to), deadline)
        }
    }

    /// Queues a copy of elements `range` of `from`, a buffer on the same GPU, to the elements of
    /// this buffer that start at index `at`.
    ///
    /// # Errors
    /// [`CudaError::OutOfRange`], [`CudaError::WrongGpu`], or the driver's error.
    pub fn copy_from(
        &mut self,
        at: usize,
        from: &Buffer<T>,
        range: Range<usize>,
    ) -> Result<(), CudaError> {
        super::check_range("a GPU buffer", &range, from.len)?;
        super::check_range("a GPU buffer", &(at..at.saturating_add(range.len())), self.len)?;
        self.gpu.same("the source of a copy", &from.gpu)?;
        let (to, source) = (self.address_of(at)?, from.address_of(range.start)?);
        // SAFETY: both ranges lie inside their buffers, which do not overlap; see `zeroed` for
        // their lifetime.
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

/// Size of `len` elements in bytes.
pub(super) fn bytes_of<T: Plain>(len: usize) -> Result<usize, CudaError> {
    let max = isize::MAX as usize / size_of::<T>();
    super::check_range("the address space", &(0..len), max)?;
    Ok(len * size_of::<T>())
}

fn as_bytes<T: Plain>(elements: &[T]) -> &[u8] {
    // SAFETY: `Plain` types have no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

fn as_bytes_mut<T: Plain>(elements: &mut [T]) -> &mut [u8] {
    // SAFETY: as above; any bits are a valid value of a `Plain` type.
    unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), size_of_val(elements)) }
}
