//! Rows of an embedding.

use checkpoint::Dtype;

use super::{GpuIndices, GpuMatrix, on, over};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::EmbedArgs;
use crate::cuda::{Buffer, Gpu, Kernel};

impl Gpu {
    /// out[t, :] = row `ids[t]` of `table` as f32, whatever its dtype.
    ///
    /// # Errors
    /// [`DeviceError::Index`] for an id past the table, [`DeviceError::Shape`],
    /// [`DeviceError::DtypeUnsupported`], or the driver's error.
    pub fn embed(
        &self,
        table: &GpuMatrix,
        ids: &GpuIndices,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        table.check()?;
        expect("embed: out is [tokens, cols]", ids.len() * table.cols, out.len())?;
        let numbers = ids.below("token id", table.rows)?;
        self.same("an embedding", table.data.gpu())?;
        on(self, numbers)?;
        on(self, out)?;
        let args = EmbedArgs {
            table: table.data.address(),
            ids: numbers.address(),
            out: out.address(),
            row_bytes: table.row_bytes() as i64,
            cols: table.cols as i64,
            count: ids.len() as i64,
        };
        // SAFETY: the table was checked, ids are below its rows, out has a row for each.
        Ok(unsafe {
            self.launch(kernel(table.dtype)?, over(ids.len() * table.cols.div_ceil(8)), &args)
        }?)
    }
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
