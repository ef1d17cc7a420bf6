//! GGUF block formats: extraction of codes and scales.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::simd::SimdInt;

/// A block format. In [`Self::codes`], `block` points to a stored block (of 32 or 256 weights) of
/// the first row; that of the next row is `stride` bytes later. `sub` is the index of a
/// quantization block of 32 weights in the stored block. In [`Self::scales`] they are the same
/// unless the scales are stored apart.
pub(super) trait BlockFormat {
    /// Bytes of a stored block.
    const BYTES: usize;
    /// Quantization blocks of 32 weights per stored block.
    const SUBS: usize;
    /// Zero point of the codes.
    const ZERO: i32;
    /// Scales per quantization block: 1, or 2 of 16 codes each.
    const SCALES: usize;
    /// Whether the format has minima.
    const MIN: bool;
    /// Whether the scales are stored apart: one byte for each stored block, in a matrix of its own.
    const APART: bool = false;
    /// Offset in bytes of the 128 bytes of nibbles in a stored block of 256 weights, for formats
    /// for which [`Self::word_codes`] is right.
    const NIBBLES: Option<usize> = None;
    /// The quantization blocks of the low and the high nibbles of the first and of the last 32
    /// bytes of each half of a stored block, counted from the first one of the half.
    const SUBS_OF_EIGHT: [[usize; 2]; 2] = [[0, 1], [2, 3]];

    /// Codes of one quantization block of each of four rows: a vector of the first 16 codes and one
    /// of the last 16. Each quarter of a vector belongs to one row.
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, sub: usize) -> [S::I; 2];

    /// Words with the bits above the nibbles of half `half` of a stored block of each of 16 rows.
    #[inline(always)]
    unsafe fn upper<S: SimdInt>(_block: *const u8, _stride: usize, _half: usize) -> [S::I; 8] {
        [S::splat_i(0); 8]
    }

    /// Codes of four weights of each of 16 rows from a word of nibbles and the word of
    /// [`Self::upper`] with the same number: of the low nibbles, which belong to the first of the
    /// quantization blocks `subs`, and of the high ones, which belong to the other.
    #[inline(always)]
    unsafe fn word_codes<S: SimdInt>(word: S::I, _upper: S::I, _subs: [usize; 2]) -> [S::I; 2] {
        [bits::<S>(word, 0, 0xf), bits::<S>(word, 4, 0xf)]
    }

    /// Writes scales and minima of one stored block of each of 16 rows: `scales` is
    /// [sub][scale][row], `minima` [sub][row]. `block` points to the scales if they are stored
    /// apart.
    unsafe fn scales<S: SimdInt>(
        block: *const u8,
        stride: usize,
        scales: *mut f32,
        minima: *mut f32,
    );
}

pub(super) struct Q8_0;
pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;

/// Stored block: f16 scale, i8 codes[32].
impl BlockFormat for Q8_0 {
    const BYTES: usize = 34;
    const SUBS: usize = 1;
    const ZERO: i32 = 128;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        let [first, last] = bytes::<S>(block.add(2), stride);
        [S::xor(first, 0x8080_8080), S::xor(last, 0x8080_8080)]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::load_words(block, stride)));
    }
}

/// Stored block: f16 scale, nibbles[16]; the low nibbles are elements 0..16.
impl BlockFormat for Q4_0 {
    const BYTES: usize = 18;
    const SUBS: usize = 1;
    const ZERO: i32 = 8;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        nibbles::<S>(block.add(2), stride)
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::load_words(block, stride)));
    }
}

/// Stored block: f16 scale, f16 minimum, nibbles[16].
impl BlockFormat for Q4_1 {
    const BYTES: usize = 20;
    const SUBS: usize = 1;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        nibbles::<S>(block.add(4), stride)
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(
        block: *const u8,
        stride: usize,
        scales: *mut f32,
        minima: *mut f32,
    ) {
        let both = S::load_words(block, stride);
        S::store(scales, S::low_f16(both));
        S::store(minima, S::low_f16(S::shift_right(both, 16)));
    }
}

/// Stored block: f16 scale, fifth bits[4], nibbles[16].
impl BlockFormat for Q5_0 {
    const BYTES: usize = 22;
    const SUBS: usize = 1;
    const ZERO: i32 = 16;
    const SCALES: usize = 1;
    const MIN: bool = false;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        let ([low, high], [first, last]) =
            (nibbles::<S>(block.add(6), stride), fifth_bits(block.add(2), stride));
        [S::or(low, S::where_bits(first, 16)), S::or(high, S::where_bits(last, 16))]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        S::store(scales, S::low_f16(S::load_words(block, stride)));
    }
}

/// Stored block: f16 scale, f16 minimum, fifth bits[4], nibbles[16].
impl BlockFormat for Q5_1 {
    const BYTES: usize = 24;
    const SUBS: usize = 1;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 2] {
        let ([low, high], [first, last]) =
            (nibbles::<S>(block.add(8), stride), fifth_bits(block.add(4), stride));
        [S::or(low, S::where_bits(first, 16)), S::or(high, S::where_bits(last, 16))]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(
        block: *const u8,
        stride: usize,
        scales: *mut f32,
        minima: *mut f32,
    ) {
        Q4_1::scales::<S>(block, stride, scales, minima);
    }
}

/// Stored block: f16 d, f16 dmin, 8 six-bit scales and minima in 12 bytes, nibbles[128]; the low
/// nibbles of each 32 bytes are one quantization block, the high nibbles the next.
impl BlockFormat for Q4K {
    const BYTES: usize = 144;
    const SUBS: usize = 8;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;
    const NIBBLES: Option<usize> = Some(16);

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, sub: usize) -> [S::I; 2] {
        let [first, last] = bytes::<S>(block.add(16 + 32 * (sub / 2)), stride);
        let nibble = 4 * (sub as u32 % 2);
        [bits::<S>(first, nibble, 0xf), bits::<S>(last, nibble, 0xf)]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(
        block: *const u8,
        stride: usize,
        scales: *mut f32,
        minima: *mut f32,
    ) {
        let [both, a, b, c] = four_words::<S>(block, stride);
        let d = S::low_f16(both);
        let dmin = S::sub(S::splat(0.0), S::low_f16(S::shift_right(both, 16)));
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

/// Stored block: as in Q4_K, with fifth bits[32] before the nibbles: bit s of byte i belongs to
/// element i of quantization block s.
impl BlockFormat for Q5K {
    const BYTES: usize = 176;
    const SUBS: usize = 8;
    const ZERO: i32 = 0;
    const SCALES: usize = 1;
    const MIN: bool = true;
    const NIBBLES: Option<usize> = Some(48);

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, sub: usize) -> [S::I; 2] {
        let [first, last] = bytes::<S>(block.add(48 + 32 * (sub / 2)), stride);
        let fifth = bytes::<S>(block.add(16), stride);
        let nibble = 4 * (sub as u32 % 2);
        [
            S::or(
                bits::<S>(first, nibble, 0xf),
                S::shift_left(bits::<S>(fifth[0], sub as u32, 1), 4),
            ),
            S::or(
                bits::<S>(last, nibble, 0xf),
                S::shift_left(bits::<S>(fifth[1], sub as u32, 1), 4),
            ),
        ]
    }
    #[inline(always)]
    unsafe fn upper<S: SimdInt>(block: *const u8, stride: usize, _: usize) -> [S::I; 8] {
        S::load_columns(block.add(16), stride)
    }
    #[inline(always)]
    unsafe fn word_codes<S: SimdInt>(word: S::I, upper: S::I, subs: [usize; 2]) -> [S::I; 2] {
        let low = S::shift_left(bits::<S>(upper, subs[0] as u32, 1), 4);
        let high = S::shift_left(bits::<S>(upper, subs[1] as u32, 1), 4);
        [S::or(bits::<S>(word, 0, 0xf), low), S::or(bits::<S>(word, 4, 0xf), high)]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(
        block: *const u8,
        stride: usize,
        scales: *mut f32,
        minima: *mut f32,
    ) {
        Q4K::scales::<S>(block, stride, scales, minima);
    }
}

/// Stored block: low nibbles[128], upper two bits[64], i8 scales[16], f16 d. Each half of 128
/// elements has 64 nibble bytes (the low nibbles are quantization blocks 0 and 1, the high ones 2
/// and 3) and 32 bytes of upper bits (two for each of the four quantization blocks).
impl BlockFormat for Q6K {
    const BYTES: usize = 210;
    const SUBS: usize = 8;
    const ZERO: i32 = 32;
    const SCALES: usize = 2;
    const MIN: bool = false;
    const NIBBLES: Option<usize> = Some(0);
    const SUBS_OF_EIGHT: [[usize; 2]; 2] = [[0, 2], [1, 3]];

    #[inline(always)]
    unsafe fn codes<S: SimdInt>(block: *const u8, stride: usize, sub: usize) -> [S::I; 2] {
        let (half, quarter) = (sub / 4, sub % 4);
        let [first, last] = bytes::<S>(block.add(64 * half + 32 * (quarter % 2)), stride);
        let upper = bytes::<S>(block.add(128 + 32 * half), stride);
        let (nibble, two) = (4 * (quarter as u32 / 2), 2 * quarter as u32);
        [
            S::or(bits::<S>(first, nibble, 0xf), S::shift_left(bits::<S>(upper[0], two, 3), 4)),
            S::or(bits::<S>(last, nibble, 0xf), S::shift_left(bits::<S>(upper[1], two, 3), 4)),
        ]
    }
    #[inline(always)]
    unsafe fn upper<S: SimdInt>(block: *const u8, stride: usize, half: usize) -> [S::I; 8] {
        S::load_columns(block.add(128 + 32 * half), stride)
    }
    #[inline(always)]
    unsafe fn word_codes<S: SimdInt>(word: S::I, upper: S::I, subs: [usize; 2]) -> [S::I; 2] {
        let (first, last) = (2 * (subs[0] as u32 % 4), 2 * (subs[1] as u32 % 4));
        let low = S::shift_left(bits::<S>(upper, first, 3), 4);
        let high = S::shift_left(bits::<S>(upper, last, 3), 4);
        [S::or(bits::<S>(word, 0, 0xf), low), S::or(bits::<S>(word, 4, 0xf), high)]
    }
    #[inline(always)]
    unsafe fn scales<S: SimdInt>(block: *const u8, stride: usize, scales: *mut f32, _: *mut f32) {
        // The word at byte 206, whose upper half is `d`, the last two bytes of the block.
        let d = S::low_f16(S::shift_right(S::load_words(block.add(206), stride), 16));
        let words = four_words::<S>(block.add(192), stride);
        for word in 0..4 {
            let four = words[word];
            for byte in 0..4 {
                let scale = S::shift_right_signed(S::shift_left(four, 24 - 8 * byte as u32), 24);
                S::store(scales.add(16 * (4 * word + byte)), S::mul(d, S::to_f32(scale)));
            }
        }
    }
}

/// Four words of each of 16 rows: one vector for each word, with the row as lane.
#[inline(always)]
unsafe fn four_words<S: SimdInt>(from: *const u8, stride: usize) -> [S::I; 4] {
    let mut quarters = [S::splat_i(0); 4];
    for (q, rows) in quarters.iter_mut().enumerate() {
        *rows = S::load_quarters(from.add(q * stride), 4 * stride);
    }
    S::transpose_quarters(quarters)
}

/// 32 bytes of each of four rows: a vector of the first 16 bytes and one of the last 16.
#[inline(always)]
unsafe fn bytes<S: SimdInt>(from: *const u8, stride: usize) -> [S::I; 2] {
    [S::load_quarters(from, stride), S::load_quarters(from.add(16), stride)]
}

/// The low nibbles and the high nibbles of 16 bytes of each of four rows.
#[inline(always)]
pub(super) unsafe fn nibbles<S: SimdInt>(from: *const u8, stride: usize) -> [S::I; 2] {
    let bytes = S::load_quarters(from, stride);
    [bits::<S>(bytes, 0, 0xf), bits::<S>(bytes, 4, 0xf)]
}

/// `byte >> from & mask` of each byte.
#[inline(always)]
unsafe fn bits<S: SimdInt>(bytes: S::I, from: u32, mask: u8) -> S::I {
    S::and(S::shift_right(bytes, from), u32::from_ne_bytes([mask; 4]))
}

/// Fifth bits of the first 16 and of the last 16 codes of each of four rows, 16 bits per row.
#[inline(always)]
unsafe fn fifth_bits(from: *const u8, stride: usize) -> [u64; 2] {
    let mut halves = [0u64; 2];
    for row in 0..4 {
        let word = u64::from(from.add(row * stride).cast::<u32>().read_unaligned());
        halves[0] |= (word & 0xffff) << (16 * row);
        halves[1] |= (word >> 16) << (16 * row);
    }
    halves
}

/// Evaluates `$body` with `$F` as the format of `$dtype`, or `$other` if the dtype is not
/// quantized.
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
            checkpoint::Dtype::Mxfp4 => {
                type $F = $crate::cpu::quant::fp4::Mxfp4;
                $body
            }
            checkpoint::Dtype::F4 => {
                type $F = $crate::cpu::quant::fp4::Fp4;
                $body
            }
            _ => $other,
        }
    };
}
pub(super) use with_format;
