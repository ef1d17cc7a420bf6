//! Embedding lookup and conversion of weights to f32.

use super::row_decoder::decode_row;
use super::shared::SharedMut;
use super::{Cpu, Matrix, expect};
use crate::DeviceError;

impl Cpu {
    /// out[t, :] = row `ids[t]` of `table` as f32. Supports every readable dtype.
    ///
    /// # Errors
    /// [`DeviceError::Index`] for an id past the table, [`DeviceError::Shape`],
    /// [`DeviceError::DtypeUnsupported`].
    pub fn embed(&self, table: &Matrix, ids: &[u32], out: &mut [f32]) -> Result<(), DeviceError> {
        table.check()?;
        expect("embed: out is [tokens, cols]", ids.len() * table.cols, out.len())?;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= table.rows) {
            return Err(DeviceError::Index {
                what: "token id",
                index: id as usize,
                len: table.rows,
            });
        }
        let out = SharedMut::new(out);
        self.over_rows(ids.len(), table.cols, &|tokens| {
            for token in tokens {
                // SAFETY: concurrent calls write the rows of different tokens.
                let row = unsafe { out.slice(token * table.cols..(token + 1) * table.cols) };
                decode_row(self.set, table, ids[token] as usize, row);
            }
        })
    }

    /// Converts all rows to f32, the dtype of norm weights and biases in kernels.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::DtypeUnsupported`].
    pub fn to_f32(&self, matrix: &Matrix, out: &mut [f32]) -> Result<(), DeviceError> {
        matrix.check()?;
        expect("to_f32: out", matrix.rows * matrix.cols, out.len())?;
        for (row, out) in out.chunks_exact_mut(matrix.cols.max(1)).enumerate() {
            decode_row(self.set, matrix, row, out);
        }
        Ok(())
    }
}
