//! Small copies between host and GPU in the course of a pass, through the GPU's own pinned buffers:
//! no copy ever reads or writes memory of the caller's, so that one which never ends harms nobody.

use std::collections::VecDeque;
use std::time::Instant;

use super::gpu::STAGING;
use super::{CudaError, Gpu, PinnedBuffer};

/// Most pinned buffers that one copy from the GPU has on their way at once.
const PENDING_MAX: usize = STAGING.0 / 2;

/// A piece of GPU memory on its way to a pinned buffer: where it begins among all bytes, and how
/// many it has.
struct PendingDownload {
    buffer: PinnedBuffer,
    at: usize,
    len: usize,
}

impl Gpu {
    /// Queues a copy of `from` to the GPU, in order with its kernels. `from` may be changed as soon
    /// as this returns.
    ///
    /// # Safety
    /// `to` and as many bytes as `from` has must be memory of this GPU that only its queued work
    /// uses.
    pub(super) unsafe fn upload_bytes(
        &self,
        to: u64,
        from: &[u8],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        for (piece, at) in from.chunks(STAGING.1).zip((0u64..).step_by(STAGING.1)) {
            let mut buffer = self.staging().acquire(deadline)?;
            buffer[..piece.len()].copy_from_slice(piece);
            // SAFETY: the piece fits, and the caller's promise.
            unsafe { buffer.filled().copy_to_kernels(self, to + at, 0..piece.len()) }?;
        }
        Ok(())
    }

    /// Copies from the GPU to `to`, once everything that was queued before is done.
    ///
    /// # Safety
    /// `from` and as many bytes as `to` has must be memory of this GPU, alive during the call.
    pub(super) unsafe fn download_bytes(
        &self,
        from: u64,
        to: &mut [u8],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        let bytes = to.len();
        let mut arrive = |at: usize, len: usize, buffer: PinnedBuffer| {
            to[at..at + len].copy_from_slice(&buffer[..len]);
            Ok(())
        };
        // SAFETY: the caller's promise.
        unsafe { self.bring_down(from, bytes, deadline, &mut arrive) }
    }

    /// Copies `bytes` bytes from the GPU piece by piece, once everything that was queued before is
    /// done, and gives each piece to `arrive`, in order: where it begins, how many bytes it
    /// has, and the buffer that holds them. While one is handled, the next are on their way.
    ///
    /// # Safety
    /// `from` and that many bytes must be memory of this GPU, alive during the call.
    pub(super) unsafe fn bring_down(
        &self,
        from: u64,
        bytes: usize,
        deadline: Instant,
        arrive: &mut dyn FnMut(usize, usize, PinnedBuffer) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let mut arrived = |mut coming: PendingDownload| {
            coming.buffer.wait("the work before a copy from it", deadline)?;
            arrive(coming.at, coming.len, coming.buffer)
        };
        let mut all: VecDeque<PendingDownload> = VecDeque::new();
        for at in (0..bytes).step_by(STAGING.1) {
            let len = STAGING.1.min(bytes - at);
            // Nobody waits for a buffer while holding some: two that did could wait for each other.
            let mut buffer = loop {
                if all.len() < PENDING_MAX
                    && let Some(buffer) = self.staging().acquire_spare(deadline)?
                {
                    break buffer;
                }
                match all.pop_front() {
                    Some(first) => arrived(first)?,
                    None => break self.staging().acquire(deadline)?,
                }
            };
            // SAFETY: the piece fits, and the caller's promise.
            unsafe { buffer.copy_from_kernels(self, from + at as u64, len) }?;
            all.push_back(PendingDownload { buffer, at, len });
        }
        all.into_iter().try_for_each(arrived)
    }
}
