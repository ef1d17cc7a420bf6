//! Symmetric int8 quantization of groups of 32 elements.

use half::bf16;

use super::cache::GROUP;

/// 1.5 * 2^23. Adding it to an f32 of small magnitude rounds that to an integer (ties to even),
/// which is then in the low bits of the sum.
const ROUND_TO_INTEGER: f32 = 12_582_912.0;

/// Int8 codes of a group of 32 elements, zero-padded.
pub(super) struct Int8Group(pub [i8; GROUP]);

impl Int8Group {
    /// Quantizes at most 32 values: returns the scale and the nearest codes, so that x = scale *
    /// code and |code| <= 127. A NaN or an infinity makes the scale NaN, and thereby every result
    /// that uses the group.
    #[inline(always)] // into the kernels, to be compiled for their instructions
    pub(super) fn quantize(values: &[f32]) -> (bf16, Int8Group) {
        let max_abs = values.iter().fold(0f32, |max, x| max.max(x.abs()));
        let zero_or_nan: f32 = values.iter().map(|x| x * 0.0).sum();
        let mut codes = Int8Group([0; GROUP]);
        if zero_or_nan != 0.0 {
            return (bf16::NAN, codes);
        }
        // The scale is rounded up, so that the code of the largest value is at most 127.
        let exact = max_abs / 127.0;
        let near = bf16::from_f32(exact);
        let scale = if near.to_f32() < exact { bf16::from_bits(near.to_bits() + 1) } else { near };
        let inverse = if max_abs == 0.0 { 0.0 } else { 1.0 / scale.to_f32() };
        for (code, x) in codes.0.iter_mut().zip(values) {
            *code = ((x * inverse).clamp(-127.0, 127.0) + ROUND_TO_INTEGER).to_bits() as i8;
        }
        (scale, codes)
    }

    /// The codes plus `offset`, four in each 32-bit word, the first in the lowest byte.
    pub(super) fn words(&self, offset: i32) -> impl Iterator<Item = u32> {
        self.0.chunks_exact(4).map(move |four| {
            u32::from_le_bytes(std::array::from_fn(|i| (i32::from(four[i]) + offset) as u8))
        })
    }
}
