//! Embedding lookup and conversion of weights to f32.

use checkpoint::Dtype;

use super::matrix::is_quantized;
use super::quant;
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
                self.row_as_f32(table, ids[token] as usize, row);
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
            self.row_as_f32(matrix, row, out);
        }
        Ok(())
    }

    /// Converts one row to f32. The caller has checked `row` and the length of `out`.
    fn row_as_f32(&self, matrix: &Matrix, row: usize, out: &mut [f32]) {
        let bytes = &matrix.data[row * matrix.row_bytes()..(row + 1) * matrix.row_bytes()];
        let halves = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match matrix.dtype {
            Dtype::BF16 => {
                out.iter_mut().zip(halves).for_each(|(o, h)| *o = half::bf16::from_bits(h).to_f32())
            }
            Dtype::F16 => {
                out.iter_mut().zip(halves).for_each(|(o, h)| *o = half::f16::from_bits(h).to_f32())
            }
            Dtype::F32 => {
                let words =
                    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                out.iter_mut().zip(words).for_each(|(o, w)| *o = w);
            }
            dtype => {
                debug_assert!(is_quantized(dtype));
                // SAFETY: `bytes` is a whole row of the matrix, which the caller has checked.
                unsafe {
                    quant::dequantize(self.set, dtype, bytes.as_ptr(), matrix.scales_of(row), out)
                }
            }
        }
    }
}
