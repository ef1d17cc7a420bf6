//! Small copies between host and GPU during a pass, staged through the GPU's pinned buffers: no
//! asynchronous copy accesses the caller's memory, so one that never completes is harmless.

use std::collections::VecDeque;
use std::time::Instant;

use super::gpu::{STAGING_BUFFERS, STAGING_BYTES};
use super::{CudaError, Gpu, PinnedBuffer};

/// Largest number of pinned buffers that one download uses at a time.
const PENDING_MAX: usize = STAGING_BUFFERS / 2;

/// A queued piece of a download: its pinned buffer, and its offset and length in bytes.
struct PendingDownload {
    buffer: PinnedBuffer,
    at: usize,
    len: usize,
}

impl Gpu {
    /// Queues a copy of `from` to the GPU, ordered with its kernels. `from` may change as soon as
    /// the call returns; `deadline` limits the wait for a free pinned buffer.
    ///
    /// # Safety
    /// `to` must be the address of live memory of this GPU, as long as `from`, that only work on
    /// the compute stream accesses.
    pub(super) unsafe fn upload_bytes(
        &self,
        to: u64,
        from: &[u8],
        deadline: Instant,
    ) -> Result<(), CudaError> {
        for (piece, at) in from.chunks(STAGING_BYTES).zip((0u64..).step_by(STAGING_BYTES)) {
            let mut buffer = self.staging().acquire(deadline)?;
            buffer[..piece.len()].copy_from_slice(piece);
            // SAFETY: the piece fits in the buffer; the caller guarantees the rest.
            unsafe { buffer.filled().copy_to_kernels(self, to + at, 0..piece.len()) }?;
        }
        Ok(())
    }

    /// Copies from address `from` of the GPU to `to`, after all work queued so far on the compute
    /// stream, and waits for the copy.
    ///
    /// # Safety
    /// `from` must be the address of memory of this GPU, as long as `to`, that stays alive during
    /// the call.
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
        // SAFETY: guaranteed by the caller.
        unsafe { self.download_pieces(from, bytes, deadline, &mut arrive) }
    }

    /// Copies `bytes` bytes from the GPU in pieces, after all work queued so far on the compute
    /// stream. Calls `arrive` for each piece in order, with its offset and length in bytes and the
    /// pinned buffer that contains it; meanwhile the next pieces are copied.
    ///
    /// # Safety
    /// `from` must be the address of `bytes` bytes of memory of this GPU that stay alive during the
    /// call.
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
            // A thread that holds pinned buffers never waits for another buffer: two such threads
            // could deadlock.
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
            // SAFETY: the piece fits in the buffer; the caller guarantees the rest.
            unsafe { buffer.copy_from_kernels(self, from + at as u64, len) }?;
            downloads.push_back(PendingDownload { buffer, at, len });
        }
        downloads.into_iter().try_for_each(arrived)
    }
}
