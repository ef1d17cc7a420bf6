//! The block formats, each as its codes and its scales.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::simd::Ints;

/// One way to store blocks. `block` points at one stored block (of 32 or 256 elements), `sub` numbers the 32-blocks in it.
pub(super) trait Format {
    /// Bytes of a stored block.
    const BYTES: usize;
    /// 32-blocks in a stored block.
    const SUBS: usize;
    /// The zero point of the codes.
    const ZERO: i32;
    /// Scales of a 32-block: 1, or 2 of 16 codes each.
    const SCALES: usize;
    /// Whether there are minima.
    const MIN: bool;

    /// The 32 codes of a 32-block.
    unsafe fn codes<S: Ints>(block: *const u8, sub: usize) -> S::C;

    /// Writes the scales and minima of one stored block of 16 rows (at `offsets` from `block`):
    /// scales[sub][which][row], minima[sub][row].
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, minima: *mut f32);
}

pub(super) struct Q8_0;
pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;

/// f16 scale, i8 codes[32].
impl Format for Q8_0 {
    const BYTES: usize = 34;
    const SUBS: usize = 1;
    const ZERO: i32 = 128;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, _: usize) -> S::C {
        S::codes_xor(S::codes(block.add(2)), 0x80)
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::gather(block, offsets)));
    }
}

/// f16 scale, nibbles[16]; the low nibbles are elements 0..16.
impl Format for Q4_0 {
    const BYTES: usize = 18;
    const SUBS: usize = 1;
    const ZERO: i32 = 8;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, _: usize) -> S::C {
        S::nibbles(block.add(2))
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::gather(block, offsets)));
    }
}

/// f16 scale, f16 minimum, nibbles[16].
impl Format for Q4_1 {
    const BYTES: usize = 20;
    const SUBS: usize = 1;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, _: usize) -> S::C {
        S::nibbles(block.add(4))
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, minima: *mut f32) {
        let both = S::gather(block, offsets);
        S::store(scales, S::low_f16(both));
        S::store(minima, S::low_f16(S::shift_right(both, 16)));
    }
}

/// f16 scale, fifth bits[4], nibbles[16].
impl Format for Q5_0 {
    const BYTES: usize = 22;
    const SUBS: usize = 1;
    const ZERO: i32 = 16;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, _: usize) -> S::C {
        let fifth = S::where_bits(block.add(2).cast::<u32>().read_unaligned(), 16);
        S::codes_or(S::nibbles(block.add(6)), fifth)
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::gather(block, offsets)));
    }
}

/// f16 scale, f16 minimum, fifth bits[4], nibbles[16].
impl Format for Q5_1 {
    const BYTES: usize = 24;
    const SUBS: usize = 1;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, _: usize) -> S::C {
        let fifth = S::where_bits(block.add(4).cast::<u32>().read_unaligned(), 16);
        S::codes_or(S::nibbles(block.add(8)), fifth)
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, minima: *mut f32) {
        Q4_1::scales::<S>(block, offsets, scales, minima);
    }
}

/// f16 d, f16 dmin, 8 six-bit scales and minima in 12 bytes, nibbles[128]; the low nibbles of each 32 bytes are one 32-block, the
/// high ones the next.
impl Format for Q4K {
    const BYTES: usize = 144;
    const SUBS: usize = 8;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, sub: usize) -> S::C {
        let bytes = S::codes(block.add(16 + 32 * (sub / 2)));
        if sub.is_multiple_of(2) { S::codes_and(bytes, 15) } else { S::codes_right(bytes, 4) }
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, minima: *mut f32) {
        let both = S::gather(block, offsets);
        let d = S::low_f16(both);
        let dmin = S::sub(S::splat(0.0), S::low_f16(S::shift_right(both, 16)));
        let a = S::gather(block.add(4), offsets);
        let b = S::gather(block.add(8), offsets);
        let c = S::gather(block.add(12), offsets);
        let top = |v| S::shift_left(S::and(S::shift_right(v, 6), 0x0303_0303), 4);
        let scale_low = S::and(a, 0x3f3f_3f3f);
        let min_low = S::and(b, 0x3f3f_3f3f);
        let scale_high = S::or(S::and(c, 0x0f0f_0f0f), top(a));
        let min_high = S::or(S::and(S::shift_right(c, 4), 0x0f0f_0f0f), top(b));
        for sub in 0..8 {
            let (scale, min) = if sub < 4 { (scale_low, min_low) } else { (scale_high, min_high) };
            let byte = |v| S::to_f32(S::and(S::shift_right(v, 8 * (sub as u32 % 4)), 0xff));
            S::store(scales.add(16 * sub), S::mul(d, byte(scale)));
            S::store(minima.add(16 * sub), S::mul(dmin, byte(min)));
        }
    }
}

/// As Q4_K, with fifth bits[32] before the nibbles: bit s of byte i belongs to element i of 32-block s.
impl Format for Q5K {
    const BYTES: usize = 176;
    const SUBS: usize = 8;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, sub: usize) -> S::C {
        let bytes = S::codes(block.add(48 + 32 * (sub / 2)));
        let low = if sub.is_multiple_of(2) { S::codes_and(bytes, 15) } else { S::codes_right(bytes, 4) };
        let fifth = S::codes_and(S::codes_right(S::codes(block.add(16)), sub as u32), 1);
        S::codes_or(low, S::codes_left(fifth, 4))
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, minima: *mut f32) {
        Q4K::scales::<S>(block, offsets, scales, minima);
    }
}

/// Low nibbles[128], upper two bits[64], i8 scales[16], f16 d. Each half of 128 elements has 64 nibble bytes (the low nibbles are
/// 32-blocks 0 and 1, the high ones 2 and 3) and 32 bytes of upper bits (two for each of the four 32-blocks).
impl Format for Q6K {
    const BYTES: usize = 210;
    const SUBS: usize = 8;
    const ZERO: i32 = 32;
    const SCALES: usize = 2;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: Ints>(block: *const u8, sub: usize) -> S::C {
        let (half, quarter) = (sub / 4, sub % 4);
        let bytes = S::codes(block.add(64 * half + 32 * (quarter % 2)));
        let low = if quarter < 2 { S::codes_and(bytes, 15) } else { S::codes_right(bytes, 4) };
        let upper = S::codes_right(S::codes(block.add(128 + 32 * half)), 2 * quarter as u32);
        S::codes_or(low, S::codes_left(S::codes_and(upper, 3), 4))
    }
    #[inline(always)]
    unsafe fn scales<S: Ints>(block: *const u8, offsets: S::I, scales: *mut f32, _: *mut f32) {
        // the word that ends with the block's last two bytes
        let d = S::low_f16(S::shift_right(S::gather(block.add(206), offsets), 16));
        for word in 0..4 {
            let four = S::gather(block.add(192 + 4 * word), offsets);
            for byte in 0..4 {
                let scale = S::shift_right_signed(S::shift_left(four, 24 - 8 * byte as u32), 24);
                S::store(scales.add(16 * (4 * word + byte)), S::mul(d, S::to_f32(scale)));
            }
        }
    }
}

/// Evaluates `$body` with `$F` standing for the format of `$dtype`, or `$other` if it is none.
macro_rules! with_format {
    ($dtype:expr, $F:ident => $body:expr, _ => $other:expr) => {
        match $dtype {
            checkpoint::Dtype::Q8_0 => {
                type $F = $crate::cpu::quant::formats::Q8_0;
                $body
            }
            checkpoint::Dtype::Q4_0 => {
                type $F = $crate::cpu::quant::formats::Q4_0;
                $body
            }
            checkpoint::Dtype::Q4_1 => {
                type $F = $crate::cpu::quant::formats::Q4_1;
                $body
            }
            checkpoint::Dtype::Q5_0 => {
                type $F = $crate::cpu::quant::formats::Q5_0;
                $body
            }
            checkpoint::Dtype::Q5_1 => {
                type $F = $crate::cpu::quant::formats::Q5_1;
                $body
            }
            checkpoint::Dtype::Q4K => {
                type $F = $crate::cpu::quant::formats::Q4K;
                $body
            }
            checkpoint::Dtype::Q5K => {
                type $F = $crate::cpu::quant::formats::Q5K;
                $body
            }
            checkpoint::Dtype::Q6K => {
                type $F = $crate::cpu::quant::formats::Q6K;
                $body
            }
            _ => $other,
        }
    };
}
pub(super) use with_format;
