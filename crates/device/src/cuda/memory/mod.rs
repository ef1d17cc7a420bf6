//! GPU memory: a few large allocations from the driver, divided into regions and buffers.

mod allocation;
mod arena;
mod buffer;
mod bytes;
mod region;

pub use arena::GpuArena;
pub use buffer::Buffer;
pub use bytes::GpuBytes;
pub use region::{FillSpan, GpuPart, GpuRegion};

pub(super) use allocation::Allocation;

use super::CudaError;
use std::ops::Range;

/// Checks that `range` lies in `0..len`; `what` names the container in the error.
pub(in crate::cuda) fn check_range(
    what: &'static str,
    range: &Range<usize>,
    len: usize,
) -> Result<(), CudaError> {
    if range.start <= range.end && range.end <= len {
        return Ok(());
    }
    Err(CudaError::OutOfRange {
        what,
        start: range.start as u64,
        end: range.end as u64,
        len: len as u64,
    })
}
