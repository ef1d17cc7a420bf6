//! MXFP4: 4-bit floats (E2M1) in blocks of 32 with one E8M0 scale, in the two forms of files. The
//! format follows the OCP Microscaling Formats specification 1.0.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::simd::{LANES, SimdInt};
use super::formats::{BlockFormat, nibbles};

pub(super) struct Mxfp4;
pub(super) struct Fp4;

/// The values of the 4-bit floats (E2M1), doubled so that they are integers, plus 12.
const FP4_CODES: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// Half of the power of two that each E8M0 byte stands for, since the codes are doubled. 255 is
/// NaN.
const FP4_SCALES: [f32; 256] = {
    let mut scales = [f32::NAN; 256];
    let mut exponent = 0;
    while exponent < 255 {
        let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
        scales[exponent as usize] = f32::from_bits(bits);
        exponent += 1;
    }
    scales
};

/// Writes the scales of 16 rows, which are `stride` bytes apart.
#[inline(always)]
unsafe fn fp4_scales(from: *const u8, stride: usize, scales: *mut f32) {
    for row in 0..LANES {
        *scales.add(row) = FP4_SCALES[usize::from(*from.add(row * stride))];
    }
}

/// GGUF's MXFP4. Stored block: E8M0 scale, nibbles[16]; the low nibbles are elements 0..16.
impl BlockFormat for Mxfp4 {
    const BYTES: usize = 17;
    const SUBS: usize = 1;
    const ZERO: i32 = 12;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        let [low, high] = nibbles::<S>(block.add(1), stride);
        [S::lookup(&FP4_CODES, low), S::lookup(&FP4_CODES, high)]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        fp4_scales(block, stride, scales);
    }
}

/// gpt-oss's MXFP4. Stored block: nibbles[16]; byte i has elements 2 i and 2 i + 1. The E8M0 scales
/// are a matrix of their own, as in gpt-oss's `_blocks` and `_scales`.
impl BlockFormat for Fp4 {
    const BYTES: usize = 16;
    const SUBS: usize = 1;
    const ZERO: i32 = 12;
    const SCALES: usize = 1;
    const MIN: bool = false;
    const APART: bool = true;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        let [even, odd] = nibbles::<S>(block, stride);
        S::interleave(S::lookup(&FP4_CODES, even), S::lookup(&FP4_CODES, odd))
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        fp4_scales(block, stride, scales);
    }
}
