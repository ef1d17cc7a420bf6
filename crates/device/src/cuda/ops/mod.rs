//! Kernels on a GPU, called as those of [`crate::cpu`] are: methods of [`super::Gpu`] that check
//! shapes, and queue.
//!
//! Everything runs on the GPU's stream of kernels, in the order of the calls, and has not yet run
//! when a call returns. Activations are row-major f32, `[tokens, features]`. A row's bits depend on
//! its own operands and the shape alone: not on the batch, nor on how a sequence was cut into
//! passes.

mod activations;
mod attention;
mod convert;
mod elementwise;
mod embed;
mod kv;
mod linear;
mod matrix;
mod metadata;
mod norm;
mod rope;

pub use activations::{GpuActivationDtypes, GpuEpilogue, GpuPackedActivations};
pub use attention::GpuAttentionOptions;
pub(super) use attention::Splits;
pub use kv::GpuKvLayer;
pub use linear::GpuProduct;
pub use matrix::{GpuIndices, GpuMatrix};
pub use metadata::{AttentionMetadata, BatchShape};
pub use rope::GpuRopeTable;

use super::{Buffer, CudaError, Grid};
use crate::DeviceError;
use crate::memory::Plain;

/// Threads of a block of most kernels.
const THREADS: u32 = 256;

/// A grid with a thread for each of `count` elements, or, where they are very many, one for
/// several.
fn over(count: usize) -> Grid {
    const BLOCKS_MAX: usize = 1 << 16;
    Grid::one_dimensional(count.div_ceil(THREADS as usize).min(BLOCKS_MAX) as u32, THREADS)
}

/// A grid of `x` by `y` by `z` blocks.
fn blocks(x: usize, y: usize, z: usize) -> Result<Grid, DeviceError> {
    // What the driver allows.
    let most = [i32::MAX as usize, 65_535, 65_535];
    let mut blocks = [0; 3];
    for ((to, asked), most) in blocks.iter_mut().zip([x, y, z]).zip(most) {
        if asked > most {
            return Err(DeviceError::Index { what: "block of a grid", index: asked, len: most });
        }
        *to = asked as u32;
    }
    Ok(Grid { blocks, threads: [THREADS, 1, 1], shared_bytes: 0 })
}

/// A size as kernels take it.
fn size(what: &'static str, found: usize) -> Result<i32, DeviceError> {
    i32::try_from(found).map_err(|_| DeviceError::Shape {
        what,
        expected: i32::MAX as usize,
        found,
    })
}

/// Fails unless a buffer is on the GPU.
fn on<T: Plain>(gpu: &super::Gpu, buffer: &Buffer<T>) -> Result<(), CudaError> {
    gpu.same("an operand of a kernel", buffer.gpu())
}
