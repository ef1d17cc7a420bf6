//! [`DiskRows`]: a matrix that stays in the checkpoint's files.

use std::sync::Arc;

use checkpoint::{Dtype, TensorEntry};
use device::DeviceError;
use device::cpu::{Cpu, DtypeConversion, Matrix};
use device::memory::Arena;

use super::{OpenShards, ShardError};

/// A matrix on the disk tier of which single rows are read when they are used: the embedding.
pub(crate) struct DiskRows {
    pub shards: Arc<OpenShards>,
    pub entry: TensorEntry,
    /// The dtype that rows are converted to. It is the dtype that the matrix would have in memory,
    /// so that results do not depend on the tier.
    pub dtype: Dtype,
}

impl DiskRows {
    /// Reads rows `rows` into a matrix `[rows.len(), cols]`.
    pub fn read(&self, cpu: &Cpu, rows: &[u32]) -> Result<Matrix, ShardError> {
        let cols = self.entry.shape.last().copied().unwrap_or(0);
        let bytes = row_bytes(self.dtype, cols) * rows.len();
        let failed = |cause| self.device_error("reading rows of", cause);
        let arena = Arena::new(bytes.next_multiple_of(64)).map_err(failed)?;
        let mut region = arena.region(bytes).map_err(failed)?;
        region.whole().map_err(failed)?.fill(|out| self.read_into(cpu, rows, cols, out))?;
        let data = region.finish().map_err(failed)?;
        Matrix::new(self.dtype, rows.len(), cols, data).map_err(failed)
    }

    fn read_into(
        &self,
        cpu: &Cpu,
        rows: &[u32],
        cols: usize,
        out: &mut [u8],
    ) -> Result<(), ShardError> {
        let stored_bytes = row_bytes(self.entry.dtype, cols);
        let (mut stored, mut values) = (vec![0; stored_bytes], vec![0.0; cols]);
        let conversion = DtypeConversion { from: self.entry.dtype, to: self.dtype };
        let shard = self.shards.get(self.entry.shard, &self.entry.name)?;
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(row_bytes(self.dtype, cols))) {
            let offset = self.entry.offset + u64::from(row) * stored_bytes as u64;
            if conversion.from == conversion.to {
                shard.read(&self.entry.name, out, offset, &mut |_| true)?;
            } else {
                shard.read(&self.entry.name, &mut stored, offset, &mut |_| true)?;
                conversion
                    .convert(cpu, &stored, &mut values, out)
                    .map_err(|cause| self.device_error("converting a row of", cause))?;
            }
        }
        Ok(())
    }

    fn device_error(&self, doing: &str, cause: DeviceError) -> ShardError {
        ShardError::Device { what: format!("{doing} {}", self.entry.name), cause }
    }
}

fn row_bytes(dtype: Dtype, cols: usize) -> usize {
    cols / dtype.block_elements() * dtype.block_bytes()
}
