//! Quantization of activations to 8 or 16 bits in blocks of 32.
#![allow(unsafe_op_in_unsafe_fn)]

use std::ops::Range;

use super::super::Cpu;
use super::super::dispatch::kernel;
use super::super::packed_activations::PackSource;
use super::super::shared::SharedMut;
use super::super::simd::{LANES, SimdInt};
use super::BLOCK;
use crate::DeviceError;
use crate::memory::Scratch;

/// Quantized activations.
#[derive(Default)]
pub(in crate::cpu) struct CodeRows {
    codes: Scratch<i8>,
    scales: Scratch<f32>,
    sums: Scratch<i32>,
    half_sums: Scratch<i32>,
    scaled_sums: Scratch<f32>,
    blocks: usize,
    wide: bool,
}

/// Borrowed quantized activations.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct CodeView<'a> {
    /// [tokens, code_stride]: codes in -127..=127. If `wide`, all upper bytes of a row and then all
    /// lower bytes (both signed), where code = 256 * upper + lower is in -32512..=32512.
    pub codes: &'a [i8],
    pub code_stride: usize,
    pub wide: bool,
    /// [tokens, blocks]: x = scale * code
    pub scales: &'a [f32],
    /// [tokens, blocks]: sum of a block's codes
    pub sums: &'a [i32],
    /// [tokens, blocks, 2]: sums of the halves of a block's codes
    pub half_sums: &'a [i32],
    /// [tokens, blocks]: scale * sum
    pub scaled_sums: &'a [f32],
    pub tokens: usize,
    pub blocks: usize,
}

/// Addresses to which one quantized row is written.
struct RowOut {
    codes: *mut i8,
    scales: *mut f32,
    sums: *mut i32,
    half_sums: *mut i32,
    scaled_sums: *mut f32,
}

impl CodeRows {
    /// Quantizes `source`, [tokens, cols], to 8 bits, or to 16 if `wide`. `cols` is a multiple of
    /// 32.
    pub(in crate::cpu) fn fill(
        &mut self,
        cpu: &Cpu,
        source: PackSource,
        wide: bool,
    ) -> Result<(), DeviceError> {
        let (tokens, cols) = (source.tokens(), source.cols);
        let blocks = cols / BLOCK;
        (self.blocks, self.wide) = (blocks, wide);
        let stride = code_stride(blocks, wide);
        let codes = SharedMut::new(self.codes.resize(tokens * stride));
        let scales = SharedMut::new(self.scales.resize(tokens * blocks));
        let sums = SharedMut::new(self.sums.resize(tokens * blocks));
        let half_sums = SharedMut::new(self.half_sums.resize(tokens * blocks * 2));
        let scaled_sums = SharedMut::new(self.scaled_sums.resize(tokens * blocks));
        cpu.over_rows(tokens, cols, &|rows| {
            for row in rows {
                // SAFETY: all pointers point to this row of buffers that were resized above; rows
                // are disjoint.
                unsafe {
                    let out = RowOut {
                        codes: codes.pointer().add(row * stride),
                        scales: scales.pointer().add(row * blocks),
                        sums: sums.pointer().add(row * blocks),
                        half_sums: half_sums.pointer().add(row * blocks * 2),
                        scaled_sums: scaled_sums.pointer().add(row * blocks),
                    };
                    let start = source.start(row);
                    let x = &source.x[start..start + cols];
                    if wide {
                        quantize_row_wide(cpu.set, x, &out)
                    } else {
                        quantize_row(cpu.set, x, &out)
                    }
                }
            }
        })
    }

    /// Bytes of allocated memory.
    pub(in crate::cpu) fn capacity_bytes(&self) -> usize {
        let floats = self.scales.capacity_bytes() + self.scaled_sums.capacity_bytes();
        self.codes.capacity_bytes()
            + self.sums.capacity_bytes()
            + self.half_sums.capacity_bytes()
            + floats
    }

    /// The tokens `tokens`.
    pub(in crate::cpu) fn view(&self, tokens: Range<usize>) -> CodeView<'_> {
        let (stride, blocks) = (code_stride(self.blocks, self.wide), self.blocks);
        let of_blocks = tokens.start * blocks..tokens.end * blocks;
        CodeView {
            codes: &self.codes[tokens.start * stride..tokens.end * stride],
            code_stride: stride,
            wide: self.wide,
            scales: &self.scales[of_blocks.clone()],
            sums: &self.sums[of_blocks.clone()],
            half_sums: &self.half_sums[2 * of_blocks.start..2 * of_blocks.end],
            scaled_sums: &self.scaled_sums[of_blocks],
            tokens: tokens.len(),
            blocks,
        }
    }
}

fn code_stride(blocks: usize, wide: bool) -> usize {
    blocks * BLOCK * if wide { 2 } else { 1 }
}

kernel! { unsafe fn quantize_row(x: &[f32], out: &RowOut) = quantize_row_body }

/// scale = max |x| / 127, code = x * (127 / max |x|) rounded to nearest. A NaN or an infinity makes
/// the scale NaN, and thereby the results.
#[inline(always)]
unsafe fn quantize_row_body<S: SimdInt>(x: &[f32], out: &RowOut) {
    for block in 0..x.len() / BLOCK {
        let (scale, [a, b]) = scaled::<S>(x.as_ptr().add(block * BLOCK), 127.0);
        let codes = out.codes.add(block * BLOCK);
        let first = S::store_i8(codes, a);
        let second = S::store_i8(codes.add(LANES), b);
        out.write_block(block, scale, first, second);
    }
}

kernel! { unsafe fn quantize_row_wide(x: &[f32], out: &RowOut) = quantize_row_wide_body }

/// As `quantize_row_body`, with 32512 = 127 * 256 in place of 127.
#[inline(always)]
unsafe fn quantize_row_wide_body<S: SimdInt>(x: &[f32], out: &RowOut) {
    for block in 0..x.len() / BLOCK {
        let (scale, halves) = scaled::<S>(x.as_ptr().add(block * BLOCK), 32512.0);
        let mut sums = [0i32; 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            let code = S::round(halves[half]);
            // upper = floor((code + 128) / 256). Adding one half before rounding avoids ties.
            let upper = S::round(S::mul(S::add(code, S::splat(0.5)), S::splat(1.0 / 256.0)));
            let lower = S::fma(upper, S::splat(-256.0), code);
            let at = out.codes.add(block * BLOCK + half * LANES);
            let upper = S::store_i8(at, upper);
            let lower = S::store_i8(at.add(x.len()), lower);
            *sum = upper.wrapping_mul(256).wrapping_add(lower);
        }
        out.write_block(block, scale, sums[0], sums[1]);
    }
}

/// Scale of a block, and the block's 32 values scaled so that max |x| becomes `code_max`.
#[inline(always)]
unsafe fn scaled<S: SimdInt>(from: *const f32, code_max: f32) -> (f32, [S::F; 2]) {
    let (a, b) = (S::load(from), S::load(from.add(LANES)));
    let max_abs = S::max_lane(S::max(S::abs(a), S::abs(b)));
    let zero_or_nan = S::sum(S::mul(S::add(a, b), S::splat(0.0))); // NaN if any x is NaN or inf
    let inverse = code_max / max_abs; // infinite for blocks of (almost) zero, whose codes are 0
    let inverse = S::splat(if inverse.is_finite() { inverse } else { 0.0 });
    (max_abs / code_max + zero_or_nan, [S::mul(a, inverse), S::mul(b, inverse)])
}

impl RowOut {
    /// Writes the scale of a block and the sums of its codes.
    #[inline(always)]
    unsafe fn write_block(&self, block: usize, scale: f32, first: i32, second: i32) {
        let sum = first.wrapping_add(second);
        *self.scales.add(block) = scale;
        *self.half_sums.add(2 * block) = first;
        *self.half_sums.add(2 * block + 1) = second;
        *self.sums.add(block) = sum;
        *self.scaled_sums.add(block) = scale * sum as f32;
    }
}
