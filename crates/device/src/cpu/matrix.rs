//! Weight matrices.

use checkpoint::Dtype;

use super::expect;
use crate::DeviceError;
use crate::memory::Bytes;

/// Weight matrix, row-major. The data may be unaligned, as in a mapped file.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub dtype: Dtype,
    /// Output features.
    pub rows: usize,
    /// Input features: a multiple of the quantization block.
    pub cols: usize,
    /// `rows` times [`Self::row_bytes`] bytes.
    pub data: Bytes,
}

impl Matrix {
    /// A matrix that is stored in `data`.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`] if no kernel reads the dtype; [`DeviceError::Shape`]
    /// unless `data` has the size of the matrix and a row consists of whole quantization blocks.
    pub fn new(dtype: Dtype, rows: usize, cols: usize, data: Bytes) -> Result<Self, DeviceError> {
        let matrix = Self { dtype, rows, cols, data };
        matrix.check()?;
        Ok(matrix)
    }

    pub fn row_bytes(&self) -> usize {
        self.cols / self.dtype.block_elements() * self.dtype.block_bytes()
    }

    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Rows `first..first + count` as a matrix on the same memory, for parts of fused weights.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`].
    pub fn rows_from(&self, first: usize, count: usize) -> Result<Self, DeviceError> {
        let row = self.row_bytes();
        let data = self
            .data
            .slice(first.saturating_mul(row)..first.saturating_add(count).saturating_mul(row))?;
        Ok(Self { rows: count, data, ..self.clone() })
    }

    /// Checks that kernels can read the matrix. Every operation calls this, since the fields are
    /// public.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        check_matrix(self.dtype, self.rows, self.cols, self.data.len())
    }
}

/// Checks that kernels read the dtype, that a row consists of whole quantization blocks, and that
/// `bytes` is the size of the matrix.
pub(crate) fn check_matrix(
    dtype: Dtype,
    rows: usize,
    cols: usize,
    bytes: usize,
) -> Result<(), DeviceError> {
    if !readable(dtype) {
        return Err(DeviceError::DtypeUnsupported { dtype: dtype.name() });
    }
    let block = dtype.block_elements();
    expect("a quantized matrix's columns", cols.next_multiple_of(block), cols)?;
    expect("a matrix's bytes", rows.saturating_mul(cols / block * dtype.block_bytes()), bytes)
}

/// Whether kernels read weights of this dtype.
pub fn readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) || is_quantized(dtype)
}

/// Whether the dtype is block-quantized: integer codes with scales.
pub(crate) fn is_quantized(dtype: Dtype) -> bool {
    use Dtype::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    matches!(dtype, Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q4K | Q5K | Q6K)
}
