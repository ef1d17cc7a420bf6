//! Rows of quantized weights as f32: for the oracle mode and for embeddings.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES};
use super::BLOCK;
use super::formats::{Format, with_format};

kernel! {
    /// out = the numbers of one row.
    ///
    /// # Safety
    /// `row` is readable for `out.len()` elements of `dtype`, a whole number of its blocks.
    pub(in crate::cpu) unsafe fn dequantize(dtype: Dtype, row: *const u8, out: &mut [f32]) = dequantize_body
}

#[inline(always)]
unsafe fn dequantize_body<S: Ints>(dtype: Dtype, row: *const u8, out: &mut [f32]) {
    with_format!(dtype, F => dequantize_format::<S, F>(row, out), _ => ())
}

/// scale * (code - zero) + minimum, each step rounded.
#[inline(always)]
unsafe fn dequantize_format<S: Ints, F: Format>(row: *const u8, out: &mut [f32]) {
    // Of 16 equal rows: stride 0.
    let (mut scales, mut minima) = ([0f32; 16 * LANES], [0f32; 8 * LANES]);
    let mut codes = [0u8; 5 * BLOCK / 2];
    for (stored, out) in out.chunks_exact_mut(F::SUBS * BLOCK).enumerate() {
        let block = row.add(stored * F::BYTES);
        F::scales::<S>(block, 0, scales.as_mut_ptr(), minima.as_mut_ptr());
        for (sub, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            // The first quarters are the row's; what follows the first half's is then written over.
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
