//! Activations as int8 in blocks of 32.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::Cpu;
use super::super::dispatch::kernel;
use super::super::shared::SharedMut;
use super::super::simd::{Ints, LANES};
use super::BLOCK;
use crate::DeviceError;
use crate::memory::Scratch;

/// Rows of int8 blocks.
#[derive(Default)]
pub(in crate::cpu) struct Int8Rows {
    codes: Scratch<i8>,
    scales: Scratch<f32>,
    sums: Scratch<i32>,
    half_sums: Scratch<i32>,
    scaled_sums: Scratch<f32>,
    tokens: usize,
    blocks: usize,
}

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Int8View<'a> {
    /// [tokens, code_stride], in -127..=127
    pub codes: &'a [i8],
    pub code_stride: usize,
    /// [tokens, blocks]: x = scale * code
    pub scales: &'a [f32],
    /// [tokens, blocks]: sum of a block's codes
    pub sums: &'a [i32],
    /// [tokens, blocks, 2]: sums of its halves
    pub half_sums: &'a [i32],
    /// [tokens, blocks]: scale * sum
    pub scaled_sums: &'a [f32],
    pub tokens: usize,
    pub blocks: usize,
}

/// One row of the above, writable.
struct RowOut {
    codes: *mut i8,
    scales: *mut f32,
    sums: *mut i32,
    half_sums: *mut i32,
    scaled_sums: *mut f32,
}

impl Int8Rows {
    /// Quantises `x`, [tokens, cols], cols a multiple of 32.
    pub(in crate::cpu) fn fill(&mut self, cpu: &Cpu, x: &[f32], tokens: usize, cols: usize) -> Result<(), DeviceError> {
        let blocks = cols / BLOCK;
        (self.tokens, self.blocks) = (tokens, blocks);
        let codes = SharedMut::new(self.codes.resize(tokens * cols));
        let scales = SharedMut::new(self.scales.resize(tokens * blocks));
        let sums = SharedMut::new(self.sums.resize(tokens * blocks));
        let half_sums = SharedMut::new(self.half_sums.resize(tokens * blocks * 2));
        let scaled_sums = SharedMut::new(self.scaled_sums.resize(tokens * blocks));
        cpu.over_rows(tokens, cols, &|rows| {
            for row in rows {
                // SAFETY: all pointers are to this row's part of buffers that were sized above; rows are disjoint.
                unsafe {
                    let out = RowOut {
                        codes: codes.pointer().add(row * cols),
                        scales: scales.pointer().add(row * blocks),
                        sums: sums.pointer().add(row * blocks),
                        half_sums: half_sums.pointer().add(row * blocks * 2),
                        scaled_sums: scaled_sums.pointer().add(row * blocks),
                    };
                    quantise_row(cpu.set, &x[row * cols..(row + 1) * cols], &out);
                }
            }
        })
    }

    /// Bytes held for reuse.
    pub(in crate::cpu) fn capacity_bytes(&self) -> usize {
        let floats = self.scales.capacity_bytes() + self.scaled_sums.capacity_bytes();
        self.codes.capacity_bytes() + self.sums.capacity_bytes() + self.half_sums.capacity_bytes() + floats
    }

    pub(in crate::cpu) fn view(&self) -> Int8View<'_> {
        Int8View {
            codes: &self.codes,
            code_stride: self.blocks * BLOCK,
            scales: &self.scales,
            sums: &self.sums,
            half_sums: &self.half_sums,
            scaled_sums: &self.scaled_sums,
            tokens: self.tokens,
            blocks: self.blocks,
        }
    }
}

kernel! { unsafe fn quantise_row(x: &[f32], out: &RowOut) = quantise_row_body }

/// scale = max |x| / 127, code = nearest whole number to x * (127 / max |x|). A NaN or an infinity makes the scale NaN, so that it
/// is not lost.
#[inline(always)]
unsafe fn quantise_row_body<S: Ints>(x: &[f32], out: &RowOut) {
    for block in 0..x.len() / BLOCK {
        let from = x.as_ptr().add(block * BLOCK);
        let (a, b) = (S::load(from), S::load(from.add(LANES)));
        let most = S::max_lane(S::max(S::abs(a), S::abs(b)));
        let odd = S::sum(S::mul(S::add(a, b), S::splat(0.0))); // 0, or NaN
        let scale = most / 127.0 + odd;
        let inverse = 127.0 / most; // infinite for blocks of (next to) nothing: their codes are 0
        let inverse = S::splat(if inverse.is_finite() { inverse } else { 0.0 });
        let codes = out.codes.add(block * BLOCK);
        let first = S::store_i8(codes, S::mul(a, inverse));
        let second = S::store_i8(codes.add(LANES), S::mul(b, inverse));
        let sum = first.wrapping_add(second);
        *out.scales.add(block) = scale;
        *out.half_sums.add(2 * block) = first;
        *out.half_sums.add(2 * block + 1) = second;
        *out.sums.add(block) = sum;
        *out.scaled_sums.add(block) = scale * sum as f32;
    }
}
