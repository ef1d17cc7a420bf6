//! Weight matrices.

use std::sync::Arc;

use checkpoint::{Dtype, FP8_BLOCK};

use super::expect;
use super::quant::BLOCK;
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
    /// Scales that are stored apart, [rows, cols / 32]: for F4, E8M0 (MXFP4 as gpt-oss stores it).
    pub scales: Option<Bytes>,
    /// The factors of the blocks of a matrix in block FP8; `None` for other dtypes.
    block_scales: Option<BlockScales>,
}

/// One factor for each block of [`FP8_BLOCK`] rows and columns.
#[derive(Debug, Clone)]
struct BlockScales {
    /// `[block rows, block columns]` of the matrix as stored.
    factors: Arc<[f32]>,
    /// Row of the stored matrix that is the first row of this one.
    first_row: usize,
}

impl Matrix {
    /// A matrix that is stored in `data`.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`] if no kernel reads the dtype; [`DeviceError::Shape`]
    /// unless `data` has the size of the matrix and a row consists of whole quantization blocks.
    pub fn new(dtype: Dtype, rows: usize, cols: usize, data: Bytes) -> Result<Self, DeviceError> {
        let matrix = Self { dtype, rows, cols, data, scales: None, block_scales: None };
        matrix.check()?;
        Ok(matrix)
    }

    /// A matrix of 4-bit floats (E2M1), two in a byte, with an E8M0 scale for each 32 of a row.
    ///
    /// # Errors
    /// [`DeviceError::Shape`] unless `data` and `scales` have the sizes of such a matrix.
    pub fn fp4(rows: usize, cols: usize, data: Bytes, scales: Bytes) -> Result<Self, DeviceError> {
        let (dtype, scales) = (Dtype::F4, Some(scales));
        let matrix = Self { dtype, rows, cols, data, scales, block_scales: None };
        matrix.check()?;
        Ok(matrix)
    }

    /// A matrix of E4M3 elements with the given factors of its blocks, row-major.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn block_fp8(
        rows: usize,
        cols: usize,
        data: Bytes,
        factors: &[f32],
    ) -> Result<Self, DeviceError> {
        let block_scales = Some(BlockScales { factors: factors.into(), first_row: 0 });
        let dtype = Dtype::F8E4M3;
        let matrix = Self { dtype, rows, cols, data, scales: None, block_scales };
        matrix.check()?;
        Ok(matrix)
    }

    /// The factors of the blocks of a row of a matrix in block FP8.
    pub(super) fn block_factors(&self, row: usize) -> &[f32] {
        let blocks = self.cols.div_ceil(FP8_BLOCK);
        self.block_scales.as_ref().map_or(&[], |scales| {
            &scales.factors[(scales.first_row + row) / FP8_BLOCK * blocks..][..blocks]
        })
    }

    pub fn row_bytes(&self) -> usize {
        self.cols / self.dtype.block_elements() * self.dtype.block_bytes()
    }

    /// Bytes of weights and scales.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.scales.as_ref().map_or(0, |scales| scales.len())
    }

    /// Bytes of a row's scales that are stored apart.
    pub(super) fn scale_bytes(&self) -> usize {
        if self.scales.is_some() { self.cols / BLOCK } else { 0 }
    }

    /// Address of the scales of row `row`; null if they are not stored apart.
    pub(super) fn scales_of(&self, row: usize) -> *const u8 {
        let at = row * self.scale_bytes();
        self.scales.as_ref().map_or(std::ptr::null(), |scales| scales[at..].as_ptr())
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
        let scale = self.scale_bytes();
        let scales = match &self.scales {
            None => None,
            Some(scales) => Some(scales.slice(first * scale..(first + count) * scale)?),
        };
        let later =
            |scales: BlockScales| BlockScales { first_row: scales.first_row + first, ..scales };
        let block_scales = self.block_scales.clone().map(later);
        Ok(Self { rows: count, data, scales, block_scales, ..*self })
    }

    /// Checks that kernels can read the matrix. Every operation calls this, since the fields are
    /// public.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        match (&self.scales, &self.block_scales, self.dtype) {
            (Some(scales), None, Dtype::F4) => {
                expect(
                    "a quantized matrix's columns",
                    self.cols.next_multiple_of(BLOCK),
                    self.cols,
                )?;
                let bytes = self.rows.saturating_mul(self.cols / 2);
                expect("a matrix's bytes", bytes, self.data.len())?;
                let bytes = self.rows.saturating_mul(self.cols / BLOCK);
                expect("the bytes of a matrix's scales", bytes, scales.len())
            }
            (None, Some(scales), Dtype::F8E4M3) => {
                expect("a matrix's bytes", self.rows.saturating_mul(self.cols), self.data.len())?;
                let blocks = (scales.first_row + self.rows).div_ceil(FP8_BLOCK);
                let needed = blocks.saturating_mul(self.cols.div_ceil(FP8_BLOCK));
                // A part of a matrix may have scales for rows after it.
                expect("a matrix's scales", needed.max(scales.factors.len()), scales.factors.len())
            }
            (None, None, _) => check_matrix(self.dtype, self.rows, self.cols, self.data.len()),
            (_, _, dtype) => Err(DeviceError::DtypeUnsupported { dtype: dtype.name() }),
        }
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
    if !readable(dtype) || dtype == Dtype::F8E4M3 {
        return Err(DeviceError::DtypeUnsupported { dtype: dtype.name() });
    }
    let block = dtype.block_elements();
    expect("a quantized matrix's columns", cols.next_multiple_of(block), cols)?;
    expect("a matrix's bytes", rows.saturating_mul(cols / block * dtype.block_bytes()), bytes)
}

/// Whether kernels of the CPU read weights of this dtype, F8_E4M3 with the scales of its blocks;
/// F4, whose experts are read as a whole, apart.
pub fn readable(dtype: Dtype) -> bool {
    let float = matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8E4M3);
    float || (is_quantized(dtype) && dtype != Dtype::F4)
}

/// Whether the dtype is block-quantized: integer codes with scales.
pub(crate) fn is_quantized(dtype: Dtype) -> bool {
    use Dtype::{F4, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    matches!(dtype, Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q4K | Q5K | Q6K | Mxfp4 | F4)
}
