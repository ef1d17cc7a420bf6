//! GPU memory: one allocation of the driver's each, cut into what is used.

mod allocation;
mod arena;
mod buffer;
mod bytes;
mod region;

pub use arena::GpuArena;
pub use buffer::Buffer;
pub use bytes::GpuBytes;
pub use region::{GpuPart, GpuRegion, GpuSpan};

pub(super) use allocation::Allocation;

use super::CudaError;
use std::ops::Range;

/// Fails unless `range` lies in `0..len`.
pub(in crate::cuda) fn inside(
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
