//! Whole numbers: the codes of quantized weights and their exact dot products.
#![allow(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::f16;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{LANES, Scalar, Simd};

/// Sixteen lanes of i32 that are also 64 bytes: four codes in each lane, or sixteen in each
/// quarter. All results are exact, hence the same in every set.
pub(in crate::cpu) trait Ints: Simd {
    type I: Copy;

    unsafe fn splat_i(value: i32) -> Self::I;
    unsafe fn load_i(from: *const u8) -> Self::I;
    unsafe fn store_i(to: *mut u8, value: Self::I);
    /// Quarter q is the 16 bytes at `from + q * stride`.
    unsafe fn load_quarters(from: *const u8, stride: usize) -> Self::I;
    /// Every quarter is the 16 bytes at `from`.
    unsafe fn splat_quarter(from: *const i8) -> Self::I;
    /// Word k of quarter q of vector w becomes word w of quarter q of vector k.
    unsafe fn transpose_quarters(vectors: [Self::I; 4]) -> [Self::I; 4];
    /// acc + the four products of each lane's unsigned code bytes with its signed bytes of `x`,
    /// exactly.
    unsafe fn dot(acc: Self::I, codes: Self::I, x: Self::I) -> Self::I;
    /// a + b, wrapping.
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn to_f32(a: Self::I) -> Self::F;
    /// Sixteen i8.
    unsafe fn load_i8(from: *const i8) -> Self::F;
    /// Nearest i8 (ties to even) of values in -127..=127, and their sum.
    unsafe fn store_i8(to: *mut i8, value: Self::F) -> i32;

    /// Lane l is the unaligned word at `from + l * stride`. By sixteen loads: where it was measured
    /// (a virtual Cascade Lake), they cost less than half of a gather instruction.
    unsafe fn load_words(from: *const u8, stride: usize) -> Self::I;
    unsafe fn and(a: Self::I, mask: u32) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn xor(a: Self::I, mask: u32) -> Self::I;
    unsafe fn shift_left(a: Self::I, bits: u32) -> Self::I;
    /// Fills with zeros.
    unsafe fn shift_right(a: Self::I, bits: u32) -> Self::I;
    /// Fills with the sign.
    unsafe fn shift_right_signed(a: Self::I, bits: u32) -> Self::I;
    /// The f16 in the low half of each lane.
    unsafe fn low_f16(a: Self::I) -> Self::F;
    /// Byte i is `value` where bit i is set, else 0.
    unsafe fn where_bits(bits: u64, value: u8) -> Self::I;
}

/// The unaligned word at byte `at`.
#[inline(always)]
unsafe fn word(from: *const u8, at: usize) -> i32 {
    from.add(at).cast::<i32>().read_unaligned()
}

impl Ints for Scalar {
    type I = [i32; LANES];

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> [i32; LANES] {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> [i32; LANES] {
        from.cast::<[i32; LANES]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_i(to: *mut u8, value: [i32; LANES]) {
        to.cast::<[i32; LANES]>().write_unaligned(value);
    }
    #[inline(always)]
    unsafe fn load_quarters(from: *const u8, stride: usize) -> [i32; LANES] {
        std::array::from_fn(|l| word(from, l / 4 * stride + l % 4 * 4))
    }
    #[inline(always)]
    unsafe fn splat_quarter(from: *const i8) -> [i32; LANES] {
        Self::load_quarters(from.cast(), 0)
    }
    #[inline(always)]
    unsafe fn transpose_quarters(vectors: [[i32; LANES]; 4]) -> [[i32; LANES]; 4] {
        std::array::from_fn(|k| std::array::from_fn(|l| vectors[l % 4][l / 4 * 4 + k]))
    }
    #[inline(always)]
    unsafe fn dot(mut acc: [i32; LANES], codes: [i32; LANES], x: [i32; LANES]) -> [i32; LANES] {
        for (i, lane) in acc.iter_mut().enumerate() {
            for (code, x) in codes[i].to_le_bytes().into_iter().zip(x[i].to_le_bytes()) {
                *lane += i32::from(code) * i32::from(x as i8);
            }
        }
        acc
    }
    #[inline(always)]
    unsafe fn add_i(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn to_f32(a: [i32; LANES]) -> [f32; LANES] {
        a.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> [f32; LANES] {
        from.cast::<[i8; LANES]>().read().map(f32::from)
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: [f32; LANES]) -> i32 {
        let mut sum = 0;
        for (i, lane) in value.into_iter().enumerate() {
            let code = lane.round_ties_even() as i8;
            to.add(i).write(code);
            sum += i32::from(code);
        }
        sum
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8, stride: usize) -> [i32; LANES] {
        std::array::from_fn(|l| word(from, l * stride))
    }
    #[inline(always)]
    unsafe fn and(a: [i32; LANES], mask: u32) -> [i32; LANES] {
        a.map(|v| v & mask as i32)
    }
    #[inline(always)]
    unsafe fn or(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        std::array::from_fn(|l| a[l] | b[l])
    }
    #[inline(always)]
    unsafe fn xor(a: [i32; LANES], mask: u32) -> [i32; LANES] {
        a.map(|v| v ^ mask as i32)
    }
    #[inline(always)]
    unsafe fn shift_left(a: [i32; LANES], bits: u32) -> [i32; LANES] {
        a.map(|v| v << bits)
    }
    #[inline(always)]
    unsafe fn shift_right(a: [i32; LANES], bits: u32) -> [i32; LANES] {
        a.map(|v| (v as u32 >> bits) as i32)
    }
    #[inline(always)]
    unsafe fn shift_right_signed(a: [i32; LANES], bits: u32) -> [i32; LANES] {
        a.map(|v| v >> bits)
    }
    #[inline(always)]
    unsafe fn low_f16(a: [i32; LANES]) -> [f32; LANES] {
        a.map(|v| f16::from_bits(v as u16).to_f32())
    }
    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> [i32; LANES] {
        let byte = |i: usize| if bits >> i & 1 == 1 { value } else { 0 };
        std::array::from_fn(|l| i32::from_le_bytes(std::array::from_fn(|i| byte(4 * l + i))))
    }
}

#[cfg(target_arch = "x86_64")]
impl Ints for Avx2 {
    type I = [__m256i; 2];

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> [__m256i; 2] {
        [_mm256_set1_epi32(value); 2]
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> [__m256i; 2] {
        [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]
    }
    #[inline(always)]
    unsafe fn store_i(to: *mut u8, value: [__m256i; 2]) {
        _mm256_storeu_si256(to.cast(), value[0]);
        _mm256_storeu_si256(to.add(32).cast(), value[1]);
    }
    #[inline(always)]
    unsafe fn load_quarters(from: *const u8, stride: usize) -> [__m256i; 2] {
        let upper = from.add(2 * stride);
        [
            _mm256_loadu2_m128i(from.add(stride).cast(), from.cast()),
            _mm256_loadu2_m128i(upper.add(stride).cast(), upper.cast()),
        ]
    }
    #[inline(always)]
    unsafe fn splat_quarter(from: *const i8) -> [__m256i; 2] {
        [_mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast())); 2]
    }
    #[inline(always)]
    unsafe fn transpose_quarters(vectors: [[__m256i; 2]; 4]) -> [[__m256i; 2]; 4] {
        let mut out = [[_mm256_setzero_si256(); 2]; 4];
        for half in 0..2 {
            let [a, b, c, d] =
                [vectors[0][half], vectors[1][half], vectors[2][half], vectors[3][half]];
            let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            out[0][half] = _mm256_unpacklo_epi64(ab_low, cd_low);
            out[1][half] = _mm256_unpackhi_epi64(ab_low, cd_low);
            out[2][half] = _mm256_unpacklo_epi64(ab_high, cd_high);
            out[3][half] = _mm256_unpackhi_epi64(ab_high, cd_high);
        }
        out
    }
    #[inline(always)]
    unsafe fn dot(acc: [__m256i; 2], codes: [__m256i; 2], x: [__m256i; 2]) -> [__m256i; 2] {
        // maddubs would saturate for codes above 128: even and odd bytes are multiplied as 16-bit
        // numbers instead.
        let low = _mm256_set1_epi16(0xff);
        let mut out = acc;
        for i in 0..2 {
            let x_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x[i]));
            let even = _mm256_madd_epi16(_mm256_and_si256(codes[i], low), x_even);
            let odd =
                _mm256_madd_epi16(_mm256_srli_epi16::<8>(codes[i]), _mm256_srai_epi16::<8>(x[i]));
            out[i] = _mm256_add_epi32(acc[i], _mm256_add_epi32(even, odd));
        }
        out
    }
    #[inline(always)]
    unsafe fn add_i(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn to_f32(a: [__m256i; 2]) -> [__m256; 2] {
        [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])]
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> [__m256; 2] {
        let sixteen = _mm_loadu_si128(from.cast());
        let (low, high) = (
            _mm256_cvtepi8_epi32(sixteen),
            _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(sixteen, sixteen)),
        );
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: [__m256; 2]) -> i32 {
        let (a, b) = (_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1]));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
        let bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(to.cast(), bytes);
        let eight = _mm256_add_epi32(a, b);
        let four =
            _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8, stride: usize) -> [__m256i; 2] {
        let mut words = [0; LANES];
        for (l, to) in words.iter_mut().enumerate() {
            *to = word(from, l * stride);
        }
        [_mm256_loadu_si256(words.as_ptr().cast()), _mm256_loadu_si256(words[8..].as_ptr().cast())]
    }
    #[inline(always)]
    unsafe fn and(a: [__m256i; 2], mask: u32) -> [__m256i; 2] {
        let mask = _mm256_set1_epi32(mask as i32);
        [_mm256_and_si256(a[0], mask), _mm256_and_si256(a[1], mask)]
    }
    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn xor(a: [__m256i; 2], mask: u32) -> [__m256i; 2] {
        let mask = _mm256_set1_epi32(mask as i32);
        [_mm256_xor_si256(a[0], mask), _mm256_xor_si256(a[1], mask)]
    }
    #[inline(always)]
    unsafe fn shift_left(a: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        let bits = _mm_cvtsi32_si128(bits as i32);
        [_mm256_sll_epi32(a[0], bits), _mm256_sll_epi32(a[1], bits)]
    }
    #[inline(always)]
    unsafe fn shift_right(a: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        let bits = _mm_cvtsi32_si128(bits as i32);
        [_mm256_srl_epi32(a[0], bits), _mm256_srl_epi32(a[1], bits)]
    }
    #[inline(always)]
    unsafe fn shift_right_signed(a: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        let bits = _mm_cvtsi32_si128(bits as i32);
        [_mm256_sra_epi32(a[0], bits), _mm256_sra_epi32(a[1], bits)]
    }
    #[inline(always)]
    unsafe fn low_f16(a: [__m256i; 2]) -> [__m256; 2] {
        let [a, b] = Self::and(a, 0xffff);
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
        [
            _mm256_cvtph_ps(_mm256_castsi256_si128(words)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(words)),
        ]
    }

    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> [__m256i; 2] {
        // Byte i takes byte i / 8 of the bits and keeps its bit i % 8.
        let spread = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let one = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
        let mut out = [_mm256_set1_epi8(value as i8); 2];
        for (out, bits) in out.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), spread);
            *out = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, one), one), *out);
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Ints for Avx512<BF16> {
    type I = __m512i;

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn store_i(to: *mut u8, value: __m512i) {
        _mm512_storeu_si512(to.cast(), value);
    }
    #[inline(always)]
    unsafe fn load_quarters(from: *const u8, stride: usize) -> __m512i {
        let upper = from.add(2 * stride);
        let low = _mm256_loadu2_m128i(from.add(stride).cast(), from.cast());
        let high = _mm256_loadu2_m128i(upper.add(stride).cast(), upper.cast());
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
    #[inline(always)]
    unsafe fn splat_quarter(from: *const i8) -> __m512i {
        _mm512_broadcast_i32x4(_mm_loadu_si128(from.cast()))
    }
    #[inline(always)]
    unsafe fn transpose_quarters(vectors: [__m512i; 4]) -> [__m512i; 4] {
        let [a, b, c, d] = vectors;
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ]
    }
    #[inline(always)]
    unsafe fn dot(acc: __m512i, codes: __m512i, x: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, codes, x)
    }
    #[inline(always)]
    unsafe fn add_i(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn to_f32(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: __m512) -> i32 {
        let codes = _mm512_cvtps_epi32(value);
        _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(codes));
        _mm512_reduce_add_epi32(codes)
    }

    #[inline(always)]
    unsafe fn load_words(from: *const u8, stride: usize) -> __m512i {
        let quarter = |first: *const u8| {
            _mm_setr_epi32(
                word(first, 0),
                word(first, stride),
                word(first, 2 * stride),
                word(first, 3 * stride),
            )
        };
        let pair = |a, b| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
        let low = pair(quarter(from), quarter(from.add(4 * stride)));
        let high = pair(quarter(from.add(8 * stride)), quarter(from.add(12 * stride)));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, mask: u32) -> __m512i {
        _mm512_and_si512(a, _mm512_set1_epi32(mask as i32))
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn xor(a: __m512i, mask: u32) -> __m512i {
        _mm512_xor_si512(a, _mm512_set1_epi32(mask as i32))
    }
    #[inline(always)]
    unsafe fn shift_left(a: __m512i, bits: u32) -> __m512i {
        _mm512_sll_epi32(a, _mm_cvtsi32_si128(bits as i32))
    }
    #[inline(always)]
    unsafe fn shift_right(a: __m512i, bits: u32) -> __m512i {
        _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits as i32))
    }
    #[inline(always)]
    unsafe fn shift_right_signed(a: __m512i, bits: u32) -> __m512i {
        _mm512_sra_epi32(a, _mm_cvtsi32_si128(bits as i32))
    }
    #[inline(always)]
    unsafe fn low_f16(a: __m512i) -> __m512 {
        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a))
    }

    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> __m512i {
        _mm512_maskz_set1_epi8(bits, value as i8)
    }
}
