//! Operations on a GPU: each module validates shapes and queues one kind of kernel. The
//! [`Backend`](crate::backend::Backend) implementation calls them.
//!
//! All operations run on the compute stream of the GPU, in call order; a call returns before its
//! operation is done. Activations are row-major f32, `[tokens, features]`. The bits of a result row
//! depend only on the operands of that row and on the shape: not on the batch, nor on how a
//! sequence was divided into passes.

pub(super) mod activations;
pub(super) mod attention;
mod convert;
pub(super) mod elementwise;
pub(super) mod embed;
pub(super) mod kv;
pub(super) mod linear;
mod matrix;
mod metadata;
pub(super) mod norm;
pub(super) mod rope;

pub use activations::{GpuActivationDtypes, GpuPackedActivations};
pub use kv::GpuKvLayer;
pub use matrix::{GpuMatrix, IndexList};
pub use metadata::{AttentionMetadata, BatchShape};
pub use rope::GpuRopeTable;

use super::{Buffer, CudaError, Gpu, Grid};
use crate::DeviceError;
use crate::memory::Plain;

/// Threads per thread block of most kernels (`THREADS` in `platform.cuh`).
const THREADS: u32 = 256;

/// Grid of a kernel with a grid-stride loop over `count` elements.
fn grid_over(count: usize) -> Grid {
    const BLOCKS_MAX: usize = 1 << 16;
    Grid::one_dimensional(count.div_ceil(THREADS as usize).min(BLOCKS_MAX) as u32, THREADS)
}

/// A grid of `x` by `y` by `z` thread blocks of [`THREADS`] threads.
fn grid(x: usize, y: usize, z: usize) -> Result<Grid, DeviceError> {
    // Largest grid dimensions that the driver accepts.
    let limits = [i32::MAX as usize, 65_535, 65_535];
    let mut blocks = [0; 3];
    for ((to, requested), max) in blocks.iter_mut().zip([x, y, z]).zip(limits) {
        if requested > max {
            return Err(DeviceError::Index { what: "block of a grid", index: requested, len: max });
        }
        *to = requested as u32;
    }
    Ok(Grid { blocks, threads: [THREADS, 1, 1], shared_bytes: 0 })
}

/// Converts a size to the i32 of a kernel argument; `what` names the size in the error.
fn to_i32(what: &'static str, found: usize) -> Result<i32, DeviceError> {
    i32::try_from(found).map_err(|_| DeviceError::Shape {
        what,
        expected: i32::MAX as usize,
        found,
    })
}

/// Checks that a buffer is on this GPU.
fn check_gpu<T: Plain>(gpu: &Gpu, buffer: &Buffer<T>) -> Result<(), CudaError> {
    gpu.same("an operand of a kernel", buffer.gpu())
}
