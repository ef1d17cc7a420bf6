//! Weight matrices and index lists on a GPU.

use std::time::Instant;

use checkpoint::Dtype;

use crate::DeviceError;
use crate::cpu::{check_matrix, expect, is_quantized};
use crate::cuda::{Buffer, Gpu, GpuBytes};

/// A weight matrix on a GPU, row-major as in the checkpoint. Tensors start at multiples of 256
/// bytes in an arena; rows need not be aligned.
#[derive(Debug, Clone)]
pub struct GpuMatrix {
    pub dtype: Dtype,
    /// Output features.
    pub rows: usize,
    /// Input features; a multiple of the elements of a quantization block.
    pub cols: usize,
    /// The rows, each of [`Self::row_bytes`] bytes.
    pub data: GpuBytes,
}

impl GpuMatrix {
    /// A matrix with the elements in `data`.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`] if no kernel reads the dtype; [`DeviceError::Shape`] if
    /// `data` does not have the size of the shape or is not aligned to its elements, or if rows are
    /// not whole quantization blocks.
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

    /// The matrix of rows `first..first + count`, on the same memory: for example one part of fused
    /// weights.
    ///
    /// # Errors
    /// [`DeviceError::Cuda`] if the matrix has fewer rows.
    pub fn rows_from(&self, first: usize, count: usize) -> Result<Self, DeviceError> {
        let (row, end) = (self.row_bytes(), first.saturating_add(count));
        let data = self.data.slice(first.saturating_mul(row)..end.saturating_mul(row))?;
        Ok(Self { rows: count, data, ..self.clone() })
    }

    /// Checks that kernels can read the matrix. Since its fields are public, it is checked again
    /// before every launch.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        if self.dtype == Dtype::Mxfp4 {
            return Err(DeviceError::DtypeUnsupported { dtype: self.dtype.name() });
        }
        check_matrix(self.dtype, self.rows, self.cols, self.data.len())?;
        let alignment = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let misaligned = (self.data.address() % alignment) as usize;
        expect("misalignment of a matrix on a GPU, in bytes", 0, misaligned)
    }

    /// Whether the matrix is unquantized and every row starts at a multiple of 16 bytes and has a
    /// multiple of 8 elements.
    pub(super) fn is_aligned(&self) -> bool {
        !is_quantized(self.dtype)
            && self.cols.is_multiple_of(8)
            && self.row_bytes().is_multiple_of(16)
            && self.data.address().is_multiple_of(16)
    }
}

/// Token ids or row indices in GPU memory. The host stores the largest one, to check bounds.
pub struct IndexList {
    indices: Buffer<u32>,
    largest: u32,
}

impl IndexList {
    /// An empty list with capacity for `capacity` indices.
    ///
    /// # Errors
    /// Those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, capacity: usize) -> Result<Self, DeviceError> {
        let mut indices = Buffer::new(gpu, capacity)?;
        indices.resize(0)?;
        Ok(Self { indices, largest: 0 })
    }

    /// Replaces the list.
    ///
    /// # Errors
    /// Those of [`Buffer::upload`] and [`Buffer::resize`].
    pub fn set(&mut self, indices: &[u32], deadline: Instant) -> Result<(), DeviceError> {
        self.indices.resize(indices.len())?;
        self.indices.upload(0, indices, deadline)?;
        self.largest = indices.iter().copied().max().unwrap_or(0);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.indices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The indices on the GPU, if all are below `len`; `what` names an index in the error.
    pub(super) fn below(
        &self,
        what: &'static str,
        len: usize,
    ) -> Result<&Buffer<u32>, DeviceError> {
        let index = self.largest as usize;
        if !self.is_empty() && index >= len {
            return Err(DeviceError::Index { what, index, len });
        }
        Ok(&self.indices)
    }
}
