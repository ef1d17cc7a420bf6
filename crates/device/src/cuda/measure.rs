use std::time::Instant;

use super::{Buffer, CudaError, Gpu, PinnedRing};

/// Rates of large copies, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CopyRates {
    /// From pinned host memory to the GPU.
    pub to_gpu: f64,
    /// From the GPU to pinned host memory.
    pub from_gpu: f64,
    /// On the GPU: bytes read and bytes written, added.
    pub on_gpu: f64,
}

/// Bytes of one copy: large enough that its start does not show.
const PIECE_BYTES: usize = 16 << 20;

/// Measures copies with nothing beside them: at least `bytes` bytes each way, in pieces of 16 MiB,
/// after one that does not count. It takes 32 MiB of the GPU's memory and 16 MiB of pinned memory
/// for as long as it lasts.
///
/// # Errors
/// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], [`CudaError::Timeout`], or what the
/// driver says.
pub fn measure_copies(gpu: &Gpu, bytes: usize, deadline: Instant) -> Result<CopyRates, CudaError> {
    let pieces = bytes.div_ceil(PIECE_BYTES).max(1);
    let ring = PinnedRing::new(gpu, 1, PIECE_BYTES)?;
    let from = Buffer::<u8>::new(gpu, PIECE_BYTES)?;
    let mut to = Buffer::<u8>::new(gpu, PIECE_BYTES)?;
    let timed = |copy: &mut dyn FnMut() -> Result<(), CudaError>| -> Result<f64, CudaError> {
        copy()?;
        gpu.await_kernels("a copy that is measured", deadline)?;
        let started = Instant::now();
        (0..pieces).try_for_each(|_| copy())?;
        gpu.await_kernels("a copy that is measured", deadline)?;
        Ok((pieces * PIECE_BYTES) as f64 / started.elapsed().as_secs_f64())
    };
    let mut buffer = ring.acquire(deadline)?;
    // SAFETY: the buffers on the GPU and in pinned memory are of that size and outlive the copies,
    // which are waited for.
    let from_gpu =
        timed(&mut || unsafe { buffer.copy_from_kernels(gpu, from.address(), PIECE_BYTES) })?;
    let mut bytes = buffer.filled();
    let to_gpu = timed(&mut || bytes.copy_for_kernels(0..PIECE_BYTES, &mut to, 0))?;
    let on_gpu = 2.0 * timed(&mut || to.copy_from(0, &from, 0..PIECE_BYTES))?;
    Ok(CopyRates { to_gpu, from_gpu, on_gpu })
}
