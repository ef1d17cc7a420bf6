//! From token ids to the first hidden states.

use std::sync::Arc;

use checkpoint::{Dtype, TensorEntry};
use device::cpu::{Cpu, Matrix};
use device::memory::Arena;

use super::ForwardError;
use crate::compute::{Compute, HostRows};
use crate::load::LoadError;
use crate::load::convert::Conversion;
use crate::load::source::Source;

/// The embedding's rows, where the CPU looks them up.
pub(crate) enum Embedding {
    /// In memory, `[vocab, hidden]`.
    Resident(Matrix),
    /// In the checkpoint's files: the rows of a batch are read one by one.
    OnDisk(DiskRows),
}

/// A matrix whose rows are read when they are wanted.
pub(crate) struct DiskRows {
    pub source: Arc<Source>,
    pub entry: TensorEntry,
    /// As what rows are used, so that a tier does not change a model's numbers.
    pub dtype: Dtype,
}

impl Embedding {
    /// `out[t, :] = row tokens[t]`, `[tokens, hidden]`.
    pub fn run(&self, cpu: &Cpu, rows: &HostRows, out: &mut Vec<f32>) -> Result<(), ForwardError> {
        match self {
            Embedding::Resident(table) => Ok(Compute::embed(cpu, table, rows, out)?),
            Embedding::OnDisk(disk) => {
                let table = disk
                    .gather(cpu, rows.tokens)
                    .map_err(|cause| ForwardError::Disk(Box::new(cause)))?;
                let ids: Vec<u32> = (0..rows.tokens.len() as u32).collect();
                Ok(Compute::embed(cpu, &table, &HostRows { tokens: &ids, ..*rows }, out)?)
            }
        }
    }
}

impl DiskRows {
    /// The rows of `tokens` as a small matrix.
    fn gather(&self, cpu: &Cpu, tokens: &[u32]) -> Result<Matrix, LoadError> {
        let failed =
            |cause| LoadError::Device { what: format!("rows of {}", self.entry.name), cause };
        let cols = self.entry.shape.last().copied().unwrap_or(0);
        let row_bytes = row_bytes(self.dtype, cols);
        let arena = Arena::new((row_bytes * tokens.len()).next_multiple_of(64)).map_err(failed)?;
        let mut region = arena.region(row_bytes * tokens.len()).map_err(failed)?;
        region.whole().map_err(failed)?.fill(|buffer| self.read_rows(cpu, tokens, cols, buffer))?;
        let data = region.finish().map_err(failed)?;
        Matrix::new(self.dtype, tokens.len(), cols, data).map_err(failed)
    }

    fn read_rows(
        &self,
        cpu: &Cpu,
        tokens: &[u32],
        cols: usize,
        buffer: &mut [u8],
    ) -> Result<(), LoadError> {
        let stored_bytes = row_bytes(self.entry.dtype, cols);
        let (mut stored, mut numbers) = (vec![0; stored_bytes], vec![0.0; cols]);
        let conversion = Conversion { from: self.entry.dtype, to: self.dtype };
        let shard = self.source.shard(self.entry.shard);
        let shard = shard.ok_or_else(|| LoadError::Missing { tensor: self.entry.name.clone() })?;
        for (&token, row) in tokens.iter().zip(buffer.chunks_exact_mut(row_bytes(self.dtype, cols)))
        {
            let offset = self.entry.offset + u64::from(token) * stored_bytes as u64;
            if conversion.from == conversion.to {
                shard.read(&self.entry.name, row, offset, &mut |_| true)?;
            } else {
                shard.read(&self.entry.name, &mut stored, offset, &mut |_| true)?;
                let failed = |cause| LoadError::Device {
                    what: format!("converting a row of {}", self.entry.name),
                    cause,
                };
                conversion.run(cpu, &stored, &mut numbers, row).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn row_bytes(dtype: Dtype, cols: usize) -> usize {
    cols / dtype.block_elements() * dtype.block_bytes()
}
