use std::time::Instant;

use checkpoint::Dtype;

use crate::DeviceError;
use crate::cpu::{check_matrix, expect, is_quantized};
use crate::cuda::{Buffer, Gpu, GpuBytes};

/// A weight matrix on a GPU, row-major as in its file. Tensors start at multiples of 256 bytes,
/// rows where they come to lie.
#[derive(Debug, Clone)]
pub struct GpuMatrix {
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Output features.
    pub rows: usize,
    /// Input features; a whole number of blocks.
    pub cols: usize,
    /// `rows` times [`Self::row_bytes`] bytes.
    pub data: GpuBytes,
}

impl GpuMatrix {
    /// A matrix over `data`.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`] if no kernel reads the dtype, [`DeviceError::Shape`]
    /// unless `data` has as many bytes as the shape needs, at an address that is a multiple of
    /// a number's size, and rows are whole blocks.
    pub fn new(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        data: GpuBytes,
    ) -> Result<Self, DeviceError> {
        let matrix = Self { dtype, rows, cols, data };
        matrix.check()?;
        Ok(matrix)
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.dtype.block_elements() * self.dtype.block_bytes()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The matrix of rows `first..first + count`, on the same memory: a part of fused weights.
    ///
    /// # Errors
    /// [`DeviceError::Cuda`] where there are fewer rows.
    pub fn rows_from(&self, first: usize, count: usize) -> Result<Self, DeviceError> {
        let row = self.row_bytes();
        let data = self
            .data
            .slice(first.saturating_mul(row)..first.saturating_add(count).saturating_mul(row))?;
        Ok(Self { rows: count, data, ..self.clone() })
    }

    /// Fails unless kernels can read the matrix. Fields are public, so every kernel asks again.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        check_matrix(self.dtype, self.rows, self.cols, self.data.len())?;
        let unit = if self.dtype == Dtype::F32 { 4 } else { 2 };
        expect(
            "a matrix's address on a GPU, in its numbers' sizes",
            0,
            (self.data.address() % unit) as usize,
        )
    }

    /// Whether every row starts at a multiple of 16 bytes, and has whole eights of numbers.
    pub(super) fn is_aligned(&self) -> bool {
        !is_quantized(self.dtype)
            && self.cols.is_multiple_of(8)
            && self.row_bytes().is_multiple_of(16)
            && self.data.address().is_multiple_of(16)
    }
}

/// Token ids or row numbers on a GPU, whose largest the host knows.
pub struct GpuIndices {
    numbers: Buffer<u32>,
    largest: u32,
}

impl GpuIndices {
    /// None, with room for `capacity`.
    ///
    /// # Errors
    /// Those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, capacity: usize) -> Result<Self, DeviceError> {
        let mut numbers = Buffer::new(gpu, capacity)?;
        numbers.resize(0)?;
        Ok(Self { numbers, largest: 0 })
    }

    /// Takes these numbers in place of those before.
    ///
    /// # Errors
    /// Those of [`Buffer::upload`] and [`Buffer::resize`].
    pub fn set(&mut self, numbers: &[u32], deadline: Instant) -> Result<(), DeviceError> {
        self.numbers.resize(numbers.len())?;
        self.numbers.upload(0, numbers, deadline)?;
        self.largest = numbers.iter().copied().max().unwrap_or(0);
        Ok(())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The numbers on the GPU, if all are below `len`.
    pub(super) fn below(
        &self,
        what: &'static str,
        len: usize,
    ) -> Result<&Buffer<u32>, DeviceError> {
        if !self.is_empty() && self.largest as usize >= len {
            return Err(DeviceError::Index { what, index: self.largest as usize, len });
        }
        Ok(&self.numbers)
    }
}
