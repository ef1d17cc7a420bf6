//! Decoding of weight rows to f32.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;

use super::dispatch::kernel;
use super::matrix::is_quantized;
use super::simd::{LANES, Simd};
use super::{KernelSet, Matrix, fp8, quant};

/// Decodes one row of a matrix.
pub(super) type RowDecoder = fn(KernelSet, &Matrix, usize, &mut [f32]);

/// Decodes row `row` of a matrix in block FP8 to bf16, into the first half of `out`'s bytes.
///
/// # Panics
/// As [`decode_row`].
pub(super) fn decode_row_bf16(set: KernelSet, matrix: &Matrix, row: usize, out: &mut [f32]) {
    let codes = &matrix.data[row * matrix.row_bytes()..(row + 1) * matrix.row_bytes()];
    assert_eq!((out.len(), codes.len()), (matrix.cols, matrix.cols), "one row of FP8");
    // SAFETY: every bit pattern is a valid u16, and `out` has twice as many as are used; the CPU
    // supports the kernel set of a `Cpu`.
    unsafe {
        let out = std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u16>(), out.len());
        fp8::decode_bf16(set, codes, matrix.block_factors(row), out);
    }
}

/// Decodes row `row` of `matrix`, exactly as far as f32 can hold its values.
///
/// # Panics
/// If the matrix has no such row, or `out` is not one row long. The caller has checked the matrix.
pub(super) fn decode_row(set: KernelSet, matrix: &Matrix, row: usize, out: &mut [f32]) {
    let bytes = &matrix.data[row * matrix.row_bytes()..(row + 1) * matrix.row_bytes()];
    assert_eq!(out.len(), matrix.cols, "one row of f32");
    // SAFETY: `bytes` is one row of the matrix, and the CPU supports the kernel set of a `Cpu`.
    unsafe {
        if matrix.dtype == Dtype::F8E4M3 {
            fp8::decode(set, bytes, matrix.block_factors(row), out);
        } else if is_quantized(matrix.dtype) {
            let scales = matrix.scales_of(row);
            quant::dequantize(set, matrix.dtype, bytes.as_ptr(), scales, out);
        } else {
            widen_row(set, matrix.dtype, bytes.as_ptr(), out);
        }
    }
}

kernel! {
    /// Widens a row of f32, f16 or bf16.
    unsafe fn widen_row(dtype: Dtype, from: *const u8, out: &mut [f32]) = widen_row_body
}

#[inline(always)]
unsafe fn widen_row_body<S: Simd>(dtype: Dtype, from: *const u8, out: &mut [f32]) {
    for (index, out) in out.chunks_mut(LANES).enumerate() {
        let (at, n) = (index * LANES, out.len());
        let values = match dtype {
            Dtype::BF16 => S::load_bf16_part(from.cast::<u16>().add(at), n),
            Dtype::F16 => S::load_f16_part(from.cast::<u16>().add(at), n),
            _ => S::load_part(from.cast::<f32>().add(at), n),
        };
        S::store_part(out.as_mut_ptr(), values, n);
    }
}
