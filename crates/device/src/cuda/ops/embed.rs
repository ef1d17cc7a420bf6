//! Embedding lookup.

use checkpoint::Dtype;

use super::{GpuMatrix, IndexList, check_gpu, grid_over};
use crate::DeviceError;
use crate::cuda::args::EmbedArgs;
use crate::cuda::{Buffer, Gpu, Kernel};

/// `out[t, :] = table[ids[t], :]` in f32, for a table of any weight dtype.
///
/// # Errors
/// [`DeviceError::Index`] for an id that is not below the number of rows, [`DeviceError::Shape`],
/// [`DeviceError::DtypeUnsupported`], or the driver's error.
pub(in crate::cuda) fn embed(
    gpu: &Gpu,
    table: &GpuMatrix,
    ids: &IndexList,
    out: &mut Buffer<f32>,
) -> Result<(), DeviceError> {
    table.check()?;
    let indices = ids.below("token id", table.rows)?;
    gpu.same("an embedding", table.data.gpu())?;
    check_gpu(gpu, indices)?;
    check_gpu(gpu, out)?;
    out.resize(ids.len() * table.cols)?;
    let args = EmbedArgs {
        table: table.data.address(),
        ids: indices.address(),
        out: out.address(),
        row_bytes: table.row_bytes() as i64,
        cols: table.cols as i64,
        count: ids.len() as i64,
    };
    let grid = grid_over(ids.len() * table.cols.div_ceil(8));
    // SAFETY: the table was checked, all ids are below its number of rows, and `out` has one row
    // per id.
    Ok(unsafe { gpu.launch(kernel(table.dtype)?, grid, &args) }?)
}

fn kernel(dtype: Dtype) -> Result<Kernel, DeviceError> {
    Ok(match dtype {
        Dtype::F32 => Kernel::EmbedF32,
        Dtype::F16 => Kernel::EmbedF16,
        Dtype::BF16 => Kernel::EmbedBf16,
        Dtype::Q8_0 => Kernel::EmbedQ8_0,
        Dtype::Q4_0 => Kernel::EmbedQ4_0,
        Dtype::Q4_1 => Kernel::EmbedQ4_1,
        Dtype::Q5_0 => Kernel::EmbedQ5_0,
        Dtype::Q5_1 => Kernel::EmbedQ5_1,
        Dtype::Q4K => Kernel::EmbedQ4K,
        Dtype::Q5K => Kernel::EmbedQ5K,
        Dtype::Q6K => Kernel::EmbedQ6K,
        dtype => return Err(DeviceError::DtypeUnsupported { dtype: dtype.name() }),
    })
}
