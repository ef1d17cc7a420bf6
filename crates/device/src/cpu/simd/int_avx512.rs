//! Integer vectors in one AVX-512 register, dot products with VNNI.

use std::arch::x86_64::*;

use super::Avx512;
use super::int::{SimdInt, word};

impl<const BF16: bool> SimdInt for Avx512<BF16> {
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
    unsafe fn load_columns(from: *const u8, stride: usize) -> [__m512i; 8] {
        // Rows i and 4 + i in the halves of vector i, rows 8 + i and 12 + i in those of 4 + i.
        let mut rows = [_mm512_setzero_si512(); 8];
        for (i, row) in rows.iter_mut().enumerate() {
            let first = from.add((i / 4 * 8 + i % 4) * stride);
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
            let high = _mm256_loadu_si256(first.add(4 * stride).cast());
            // A masked load, which needs no shuffle.
            *row = _mm512_mask_broadcast_i64x4(low, 0xf0, high);
        }
        let [a, b, c, d, e, f, g, h] = rows;
        let [a, b, c, d] = Self::transpose_quarters([a, b, c, d]);
        let [e, f, g, h] = Self::transpose_quarters([e, f, g, h]);
        [
            _mm512_shuffle_i32x4::<0x88>(a, e),
            _mm512_shuffle_i32x4::<0x88>(b, f),
            _mm512_shuffle_i32x4::<0x88>(c, g),
            _mm512_shuffle_i32x4::<0x88>(d, h),
            _mm512_shuffle_i32x4::<0xdd>(a, e),
            _mm512_shuffle_i32x4::<0xdd>(b, f),
            _mm512_shuffle_i32x4::<0xdd>(c, g),
            _mm512_shuffle_i32x4::<0xdd>(d, h),
        ]
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
    unsafe fn sum_quarters(vectors: [__m512i; 4]) -> __m512i {
        let [a, b, c, d] = vectors;
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
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
    unsafe fn lookup(table: &[u8; 16], indices: __m512i) -> __m512i {
        let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
        _mm512_shuffle_epi8(table, indices)
    }
    #[inline(always)]
    unsafe fn interleave(a: __m512i, b: __m512i) -> [__m512i; 2] {
        [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)]
    }
    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> __m512i {
        _mm512_maskz_set1_epi8(bits, value as i8)
    }
}
