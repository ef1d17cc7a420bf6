//! Decoding of block FP8 weights: E4M3 elements, and a factor for each block of 128 columns.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::FP8_BLOCK;

use super::dispatch::kernel;
use super::simd::{LANES, Simd};

kernel! {
    /// Decodes a row to f32.
    pub(super) unsafe fn decode(codes: &[u8], factors: &[f32], out: &mut [f32]) = decode_body
}

kernel! {
    /// Decodes a row to bf16, rounded to nearest even.
    pub(super) unsafe fn decode_bf16(codes: &[u8], factors: &[f32], out: &mut [u16]) = decode_bf16_body
}

#[inline(always)]
unsafe fn decode_body<S: Simd>(codes: &[u8], factors: &[f32], out: &mut [f32]) {
    let blocks = codes.chunks(FP8_BLOCK).zip(out.chunks_mut(FP8_BLOCK));
    for ((codes, out), factor) in blocks.zip(factors) {
        for (out, code) in out.iter_mut().zip(codes) {
            *out = e4m3(*code) * factor;
        }
    }
}

#[inline(always)]
unsafe fn decode_bf16_body<S: Simd>(codes: &[u8], factors: &[f32], out: &mut [u16]) {
    let mut values = [0f32; FP8_BLOCK];
    let mut rounded = [0u16; FP8_BLOCK];
    let blocks = codes.chunks(FP8_BLOCK).zip(out.chunks_mut(FP8_BLOCK));
    for ((codes, out), factor) in blocks.zip(factors) {
        // Whole blocks have their own loop, whose length the compiler knows.
        if let Ok(codes) = <&[u8; FP8_BLOCK]>::try_from(codes) {
            for (value, code) in values.iter_mut().zip(codes) {
                *value = e4m3(*code) * factor;
            }
        } else {
            for (value, code) in values.iter_mut().zip(codes) {
                *value = e4m3(*code) * factor;
            }
        }
        for from in (0..FP8_BLOCK).step_by(LANES) {
            S::store_bf16(rounded.as_mut_ptr().add(from), S::load(values.as_ptr().add(from)));
        }
        out.copy_from_slice(&rounded[..out.len()]);
    }
}

/// The value of an E4M3 element: sign, 4 bits of exponent with a bias of 7, 3 bits of mantissa; no
/// infinities, and NaN if all bits but the sign are set. Without branches, so that loops over
/// elements become vector instructions.
#[inline(always)]
fn e4m3(code: u8) -> f32 {
    let code = u32::from(code);
    let (sign, magnitude) = ((code & 0x80) << 24, code & 0x7f);
    // The exponent's bias becomes that of f32, 127.
    let normal = f32::from_bits((magnitude << 20) + (120 << 23));
    // A subnormal element has no leading one: it is added and subtracted again.
    let one = 121 << 23;
    let subnormal = f32::from_bits(magnitude << 20 | one) - f32::from_bits(one);
    let value = if magnitude < 8 { subnormal } else { normal };
    let value = if magnitude == 0x7f { f32::NAN } else { value };
    f32::from_bits(value.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::e4m3;

    #[test]
    fn all_elements_have_their_value() {
        for code in 0..=255u8 {
            let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
            let magnitude = match (exponent, code & 7) {
                (15, 7) => f32::NAN,
                (0, _) => mantissa * 2f32.powi(-9),
                _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
            };
            let expected = if code < 128 { magnitude } else { -magnitude };
            let found = e4m3(code);
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{code}: {found}");
        }
        assert_eq!((e4m3(0x7e), e4m3(0x81)), (448.0, -2f32.powi(-9)));
    }
}
