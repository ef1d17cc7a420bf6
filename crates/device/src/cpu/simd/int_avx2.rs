//! Integer vectors in two AVX2 registers.

use std::arch::x86_64::*;

use super::int::{SimdInt, word};
use super::{Avx2, LANES};

impl SimdInt for Avx2 {
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
    unsafe fn load_columns(from: *const u8, stride: usize) -> [[__m256i; 2]; 8] {
        // Rows i and 4 + i in the registers of vector i, rows 8 + i and 12 + i in those of 4 + i.
        let mut rows = [[_mm256_setzero_si256(); 2]; 8];
        for (i, row) in rows.iter_mut().enumerate() {
            let first = from.add((i / 4 * 8 + i % 4) * stride);
            *row = [
                _mm256_loadu_si256(first.cast()),
                _mm256_loadu_si256(first.add(4 * stride).cast()),
            ];
        }
        let [a, b, c, d, e, f, g, h] = rows;
        let first = Self::transpose_quarters([a, b, c, d]);
        let last = Self::transpose_quarters([e, f, g, h]);
        let mut columns = [[_mm256_setzero_si256(); 2]; 8];
        for i in 0..4 {
            for (half, [a, b]) in [first[i], last[i]].into_iter().enumerate() {
                columns[i][half] = _mm256_permute2x128_si256::<0x20>(a, b);
                columns[4 + i][half] = _mm256_permute2x128_si256::<0x31>(a, b);
            }
        }
        columns
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
    unsafe fn sum_quarters(vectors: [[__m256i; 2]; 4]) -> [__m256i; 2] {
        let mut out = [_mm256_setzero_si256(); 2];
        for half in 0..2 {
            let [a, b, c, d] =
                [vectors[0][half], vectors[1][half], vectors[2][half], vectors[3][half]];
            let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            out[half] =
                _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        }
        out
    }
    #[inline(always)]
    unsafe fn dot(acc: [__m256i; 2], codes: [__m256i; 2], x: [__m256i; 2]) -> [__m256i; 2] {
        // maddubs would saturate for codes above 128, so even and odd bytes are multiplied as
        // 16-bit integers.
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
    unsafe fn lookup(table: &[u8; 16], indices: [__m256i; 2]) -> [__m256i; 2] {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        indices.map(|indices| _mm256_shuffle_epi8(table, indices))
    }
    #[inline(always)]
    unsafe fn interleave(a: [__m256i; 2], b: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        [
            [_mm256_unpacklo_epi8(a[0], b[0]), _mm256_unpacklo_epi8(a[1], b[1])],
            [_mm256_unpackhi_epi8(a[0], b[0]), _mm256_unpackhi_epi8(a[1], b[1])],
        ]
    }
    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> [__m256i; 2] {
        // Byte i is byte i / 8 of `bits`, of which it keeps bit i % 8.
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
