//! Small copies between host and card in the course of a pass, through the card's own pinned buffers: no copy ever reads or writes memory of the
//! caller's, so that one which never ends harms nobody.

use std::collections::VecDeque;
use std::time::Instant;

use super::card::STAGING;
use super::{Card, CudaError, PinnedBuffer};

impl Card {
    /// Queues a copy of `from` to the card, in order with its kernels. `from` may be changed as soon as this returns.
    ///
    /// # Safety
    /// `to` and as many bytes as `from` has must be memory of this card that only its queued work uses.
    pub(super) unsafe fn upload_bytes(&self, to: u64, from: &[u8], deadline: Instant) -> Result<(), CudaError> {
        for (piece, at) in from.chunks(STAGING.1).zip((0u64..).step_by(STAGING.1)) {
            let mut buffer = self.staging().acquire(deadline)?;
            buffer[..piece.len()].copy_from_slice(piece);
            // SAFETY: the piece fits, and the caller's promise.
            unsafe { buffer.filled().copy_to_kernels(self, to + at, 0..piece.len()) }?;
        }
        Ok(())
    }

    /// Copies from the card to `to`, once everything that was queued before is done. All but one of the pinned buffers may be on their way at
    /// once.
    ///
    /// # Safety
    /// `from` and as many bytes as `to` has must be memory of this card, alive during the call.
    pub(super) unsafe fn download_bytes(&self, from: u64, to: &mut [u8], deadline: Instant) -> Result<(), CudaError> {
        let mut coming: VecDeque<(PinnedBuffer, &mut [u8])> = VecDeque::new();
        for (piece, at) in to.chunks_mut(STAGING.1).zip((0u64..).step_by(STAGING.1)) {
            if coming.len() == STAGING.0 / 2 {
                coming.pop_front().map_or(Ok(()), |(buffer, place)| arrive(buffer, place, deadline))?;
            }
            let mut buffer = self.staging().acquire(deadline)?;
            // SAFETY: the piece fits, and the caller's promise.
            unsafe { buffer.copy_from_kernels(self, from + at, piece.len()) }?;
            coming.push_back((buffer, piece));
        }
        coming.into_iter().try_for_each(|(buffer, place)| arrive(buffer, place, deadline))
    }
}

fn arrive(mut buffer: PinnedBuffer, place: &mut [u8], deadline: Instant) -> Result<(), CudaError> {
    buffer.wait("the work before a download", deadline)?;
    place.copy_from_slice(&buffer[..place.len()]);
    Ok(())
}
