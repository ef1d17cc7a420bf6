//! One allocation from the CUDA driver, divided by a bump allocator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cuda::CudaError;
use crate::cuda::api::code;
use crate::cuda::context::{Context, call};

/// Alignment of everything allocated from an allocation: that of `cuMemAlloc`, which is enough for
/// the kernels' widest loads.
pub(super) const ALIGNMENT_BYTES: usize = 256;

/// One allocation from the driver. Its bytes are handed out from start to end and never taken back;
/// the memory is freed when the last owner is dropped.
pub(in crate::cuda) struct Allocation {
    context: Arc<Context>,
    address: u64,
    bytes: usize,
    used: AtomicUsize,
    /// Bytes counted as reserved in the account; 0 for an allocation outside the quota.
    reserved_bytes: u64,
}

impl Allocation {
    /// Allocates memory from the driver, within the quota.
    ///
    /// # Errors
    /// [`CudaError::QuotaExceeded`], [`CudaError::OutOfMemory`], or the driver's error.
    pub(in crate::cuda) fn new(
        context: &Arc<Context>,
        bytes: usize,
    ) -> Result<Allocation, CudaError> {
        let requested_bytes = bytes as u64;
        context.account.reserve(requested_bytes).map_err(|reserved_bytes| {
            CudaError::QuotaExceeded {
                ordinal: context.ordinal,
                requested_bytes,
                reserved_bytes,
                quota_bytes: context.account.quota_bytes,
            }
        })?;
        let allocated = allocate(context, bytes);
        if allocated.is_err() {
            context.account.release(requested_bytes);
        }
        Ok(Allocation {
            context: context.clone(),
            address: allocated?,
            bytes,
            used: AtomicUsize::new(0),
            reserved_bytes: requested_bytes,
        })
    }

    /// A small temporary allocation that does not count towards the quota.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`], or the driver's error.
    pub(in crate::cuda) fn outside_quota(
        context: &Arc<Context>,
        bytes: usize,
    ) -> Result<Allocation, CudaError> {
        let address = allocate(context, bytes)?;
        Ok(Allocation {
            context: context.clone(),
            address,
            bytes,
            used: AtomicUsize::new(0),
            reserved_bytes: 0,
        })
    }

    /// Device address of the first byte.
    pub(in crate::cuda) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Hands out `len` bytes and returns their offset in bytes.
    ///
    /// # Errors
    /// [`CudaError::ArenaFull`].
    pub(super) fn suballocate(&self, len: usize) -> Result<usize, CudaError> {
        let mut used = self.used();
        loop {
            let (offset, end) = next_range(used, len, self.bytes).ok_or(CudaError::ArenaFull {
                ordinal: self.context.ordinal,
                requested_bytes: len as u64,
                used_bytes: used as u64,
                limit_bytes: self.bytes as u64,
            })?;
            match self.used.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.context.account.allocate((end - used) as u64);
                    return Ok(offset);
                }
                Err(now) => used = now,
            }
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.context.account.free(*self.used.get_mut() as u64);
        self.context.account.release(self.reserved_bytes);
        if self.bytes > 0 && self.context.may_free() && self.context.enter().is_ok() {
            // SAFETY: the memory was allocated by the driver and is freed only here, when its last
            // owner is dropped; the driver waits for queued work that uses it. An error is that of
            // the queued work, and the next call returns it again.
            unsafe { (self.context.api.cuMemFree_v2)(self.address) };
        }
    }
}

fn allocate(context: &Arc<Context>, bytes: usize) -> Result<u64, CudaError> {
    let mut address = 0;
    if bytes == 0 {
        return Ok(address);
    }
    // SAFETY: the output pointer refers to a local variable.
    match unsafe { call!(context, cuMemAlloc_v2(&raw mut address, bytes)) } {
        Err(CudaError::Failed { code: code::OUT_OF_MEMORY, .. }) => {
            let (free_bytes, total_bytes) = context.memory()?;
            Err(CudaError::OutOfMemory {
                ordinal: context.ordinal,
                requested_bytes: bytes as u64,
                free_bytes,
                total_bytes,
            })
        }
        done => done.map(|()| address),
    }
}

/// Start and end of the first aligned range of `len` bytes that starts at or after `used`; `None`
/// if it would end after `limit`.
fn next_range(used: usize, len: usize, limit: usize) -> Option<(usize, usize)> {
    let offset = used.checked_next_multiple_of(ALIGNMENT_BYTES)?;
    let end = offset.checked_add(len)?;
    (end <= limit).then_some((offset, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_and_end_at_the_limit() {
        assert_eq!(next_range(0, 10, 1000), Some((0, 10)));
        assert_eq!(next_range(10, 10, 1000), Some((256, 266)));
        assert_eq!(next_range(256, 744, 1000), Some((256, 1000)));
        assert_eq!(next_range(256, 745, 1000), None);
        assert_eq!(next_range(800, 1, 1000), None);
        assert_eq!(next_range(1, usize::MAX, usize::MAX), None);
        assert_eq!(next_range(usize::MAX, 0, usize::MAX), None);
        assert_eq!(next_range(0, 0, 0), Some((0, 0)));
    }
}
