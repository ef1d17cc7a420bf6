//! Dequantization of rows to f32, for the f32 precision and for embeddings.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, SimdInt};
use super::BLOCK;
use super::formats::{BlockFormat, with_format};

kernel! {
    /// Dequantizes one row.
    ///
    /// # Safety
    /// `row` is readable for `out.len()` elements of `dtype`, a multiple of its block size, and
    /// `scales`, if the dtype has them apart, for their scales.
    pub(in crate::cpu) unsafe fn dequantize(dtype: Dtype, row: *const u8, scales: *const u8, out: &mut [f32]) = dequantize_body
}

#[inline(always)]
unsafe fn dequantize_body<S: SimdInt>(
    dtype: Dtype,
    row: *const u8,
    scales: *const u8,
    out: &mut [f32],
) {
    with_format!(dtype, F => dequantize_format::<S, F>(row, scales, out), _ => ())
}

/// Dequantizes one row: scale * (code - zero) + minimum, with each operation rounded.
#[inline(always)]
unsafe fn dequantize_format<S: SimdInt, F: BlockFormat>(
    row: *const u8,
    scales_apart: *const u8,
    out: &mut [f32],
) {
    // The stride is 0: the methods of the format read 16 rows, all of which are this row.
    let (mut scales, mut minima) = ([0f32; 16 * LANES], [0f32; 8 * LANES]);
    let mut codes = [0u8; 5 * BLOCK / 2];
    for (stored, out) in out.chunks_exact_mut(F::SUBS * BLOCK).enumerate() {
        let block = row.add(stored * F::BYTES);
        let of_scales = if F::APART { scales_apart.add(stored) } else { block };
        F::scales::<S>(of_scales, 0, scales.as_mut_ptr(), minima.as_mut_ptr());
        for (sub, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            // All quarters of a vector are the same 16 codes, of which one copy is needed. The
            // second store overwrites the other copies of the first.
            let [first, last] = F::codes::<S>(block, 0, sub);
            S::store_i(codes.as_mut_ptr(), first);
            S::store_i(codes.as_mut_ptr().add(LANES), last);
            for (i, (out, code)) in out.iter_mut().zip(codes).enumerate() {
                let scale = scales[(sub * F::SCALES + i * F::SCALES / BLOCK) * LANES];
                let value = (i32::from(code) - F::ZERO) as f32 * scale;
                *out = if F::MIN { value + minima[sub * LANES] } else { value };
            }
        }
    }
}
