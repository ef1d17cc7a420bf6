//! Small copies between host and GPU during a pass, staged through the GPU's pinned buffers: no
//! copy accesses the caller's memory, so a copy that never completes is harmless.

use std::collections::VecDeque;
use std::time::Instant;

use super::gpu::{STAGING_BUFFERS, STAGING_BYTES};
use super::{CudaError, Gpu, PinnedBuffer};

/// Most pinned buffers that one download uses at a time.
const PENDING_MAX: usize = STAGING_BUFFERS / 2;

/// A piece of a download: its offset and length in bytes.
struct PendingDownload {
    buffer: PinnedBuffer,
    at: usize,
    len: usize,
}

impl Gpu {
    /// Queues a copy of `from` to the GPU, ordered with its kernels. `from` may change as soon as
    /// this returns.
    ///
    /// # Safety
    /// `to` must be memory of this GPU, as long as `from`, that only its queued work accesses.
    pub(super) unsafe fn upload_bytes(
        &self,
        to: u64,
        from: &[u8],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        for (piece, at) in from.chunks(STAGING_BYTES).zip((0u64..).step_by(STAGING_BYTES)) {
            let mut buffer = self.staging().acquire(deadline)?;
            buffer[..piece.len()].copy_from_slice(piece);
            // SAFETY: the piece fits the buffer; the rest is required of the caller.
            unsafe { buffer.filled().copy_to_kernels(self, to + at, 0..piece.len()) }?;
        }
        Ok(())
    }

    /// Copies from the GPU to `to` after all work queued before.
    ///
    /// # Safety
    /// `from` must be memory of this GPU, as long as `to`, alive during the call.
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
        // SAFETY: required of the caller.
        unsafe { self.download_pieces(from, bytes, deadline, &mut arrive) }
    }

    /// Copies `bytes` bytes from the GPU in pieces, after all work queued before, and passes each
    /// to `arrive` in order: its offset, its length and the buffer. The next pieces are copied
    /// meanwhile.
    ///
    /// # Safety
    /// `from` must be memory of this GPU, `bytes` long, alive during the call.
    pub(super) unsafe fn download_pieces(
        &self,
        from: u64,
        bytes: usize,
        deadline: Instant,
        arrive: &mut dyn FnMut(usize, usize, PinnedBuffer) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let mut arrived = |mut pending: PendingDownload| {
            pending.buffer.wait("work queued before a download", deadline)?;
            arrive(pending.at, pending.len, pending.buffer)
        };
        let mut downloads: VecDeque<PendingDownload> = VecDeque::new();
        for at in (0..bytes).step_by(STAGING_BYTES) {
            let len = STAGING_BYTES.min(bytes - at);
            // A thread that holds buffers never waits for another one: two such threads could
            // deadlock.
            let mut buffer = loop {
                if downloads.len() < PENDING_MAX
                    && let Some(buffer) = self.staging().acquire_spare(deadline)?
                {
                    break buffer;
                }
                match downloads.pop_front() {
                    Some(first) => arrived(first)?,
                    None => break self.staging().acquire(deadline)?,
                }
            };
            // SAFETY: the piece fits the buffer; the rest is required of the caller.
            unsafe { buffer.copy_from_kernels(self, from + at as u64, len) }?;
            downloads.push_back(PendingDownload { buffer, at, len });
        }
        downloads.into_iter().try_for_each(arrived)
    }
}
