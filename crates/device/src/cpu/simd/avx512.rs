//! Vectors of one AVX-512 register.

use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX-512 F, BW, DQ, VL and VNNI; with `BF16` also the bf16 dot product.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx512<const BF16: bool>;

/// Mask of the first `n` of 16 lanes.
#[inline(always)]
pub(in crate::cpu) fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(LANES)) - 1) as __mmask16
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    const WIDE: bool = true;
    const PAIR_DOT: bool = BF16;
    type Register = Self::F;
    const REGISTER_LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(n), from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        _mm512_storeu_ps(to, value);
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: __m512, n: usize) {
        _mm512_mask_storeu_ps(to, first(n), value);
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        widen_bf16(_mm256_loadu_si256(from.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16_part(from: *const u16, n: usize) -> __m512 {
        widen_bf16(_mm256_maskz_loadu_epi16(first(n), from.cast()))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }
    #[inline(always)]
    unsafe fn load_f16_part(from: *const u16, n: usize) -> __m512 {
        _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), from.cast()))
    }
    #[inline(always)]
    unsafe fn widen_pairs(raw: __m512) -> [__m512; 2] {
        let bits = _mm512_castps_si512(raw);
        let odd = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff_0000u32 as i32));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(odd)]
    }
    #[inline(always)]
    unsafe fn even_alone(raw: __m512) -> __m512 {
        _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(raw), _mm512_set1_epi32(0xffff)))
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: __m512) {
        // Rounds in integers, since vcvtneps2bf16 flushes denormals, unlike the other kernel sets.
        let bits = _mm512_castps_si512(value);
        let top = _mm512_srli_epi32::<16>(bits);
        let odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
        let quiet = _mm512_or_si512(top, _mm512_set1_epi32(0x40));
        let half = _mm512_mask_mov_epi32(_mm512_srli_epi32::<16>(rounded), nan, quiet);
        _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(half));
    }

    #[inline(always)]
    unsafe fn zero_register() -> Self::F {
        Self::splat(0.0)
    }
    #[inline(always)]
    unsafe fn load_register(from: *const f32) -> Self::F {
        Self::load(from)
    }
    #[inline(always)]
    unsafe fn broadcast_register(from: *const f32) -> Self::F {
        Self::splat(from.read_unaligned())
    }
    #[inline(always)]
    unsafe fn add_register(a: Self::F, b: Self::F) -> Self::F {
        Self::add(a, b)
    }
    #[inline(always)]
    unsafe fn store_register(to: *mut f32, value: Self::F) {
        Self::store(to, value);
    }
    #[inline(always)]
    unsafe fn fma_register(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        Self::fma(a, b, c)
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        _mm512_abs_ps(a)
    }
    #[inline(always)]
    unsafe fn select_less(x: __m512, limit: __m512, small: __m512, value: __m512) -> __m512 {
        _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, limit), small)
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn scale(value: __m512, n: __m512) -> __m512 {
        let exponent = _mm512_slli_epi32::<23>(_mm512_cvtps_epi32(n));
        _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), exponent))
    }
    #[inline(always)]
    unsafe fn transpose(vectors: &mut [__m512; LANES]) {
        // Transpose pairs, then groups of four within quarters, then the quarters.
        let mut fours = [_mm512_setzero_ps(); LANES];
        for i in (0..LANES).step_by(4) {
            let [a, b, c, d] = [vectors[i], vectors[i + 1], vectors[i + 2], vectors[i + 3]];
            let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            fours[i] = _mm512_shuffle_ps::<0x44>(ab_low, cd_low);
            fours[i + 1] = _mm512_shuffle_ps::<0xee>(ab_low, cd_low);
            fours[i + 2] = _mm512_shuffle_ps::<0x44>(ab_high, cd_high);
            fours[i + 3] = _mm512_shuffle_ps::<0xee>(ab_high, cd_high);
        }
        for i in 0..4 {
            let [a, b, c, d] = [fours[i], fours[4 + i], fours[8 + i], fours[12 + i]];
            let (ab_low, ab_high) =
                (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
            let (cd_low, cd_high) =
                (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
            vectors[i] = _mm512_shuffle_f32x4::<0x88>(ab_low, cd_low);
            vectors[8 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low);
            vectors[4 + i] = _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high);
            vectors[12 + i] = _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high);
        }
    }
    #[inline(always)]
    unsafe fn split_pairs(a: __m512, b: __m512) -> (__m512, __m512) {
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
        (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
    }
    #[inline(always)]
    unsafe fn join_pairs(even: __m512, odd: __m512) -> (__m512, __m512) {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
    }

    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        let low = _mm512_castps512_ps256(a);
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(a)));
        let eight = _mm256_add_ps(low, high);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn sum4(a: __m512, b: __m512, c: __m512, d: __m512) -> [f32; 4] {
        // Adds halves of 8 lanes, then of 4, for two vectors at a time. The same pairs of lanes are
        // added as in `sum`.
        let halves = |a, b| {
            _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
        };
        let (ab, cd) = (halves(a, b), halves(c, d));
        let four = _mm512_add_ps(
            _mm512_shuffle_f32x4::<0x88>(ab, cd),
            _mm512_shuffle_f32x4::<0xdd>(ab, cd),
        );
        let two = _mm512_add_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
        let one = _mm512_add_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two));
        let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        let packed = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
        let mut sums = [0.0; 4];
        _mm_storeu_ps(sums.as_mut_ptr(), packed);
        sums
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m512) -> f32 {
        let low = _mm512_castps512_ps256(a);
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(a)));
        let eight = _mm256_max_ps(low, high);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    #[inline(always)]
    unsafe fn store_pairs(to: *mut u16, value: __m512) {
        if BF16 {
            // SAFETY: both types are 16 elements of 16 bits without invalid patterns; the trait's
            // contract guarantees the instruction.
            _mm256_storeu_si256(
                to.cast(),
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value)),
            );
        } else {
            Self::store_bf16(to, value);
        }
    }
    #[inline(always)]
    unsafe fn pair_dot(acc: __m512, k: __m512, q: u32) -> __m512 {
        debug_assert!(BF16);
        dot_bf16(acc, _mm512_castps_si512(k), _mm512_set1_epi32(q as i32))
    }

    #[inline(always)]
    unsafe fn prefetch_far(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
}

#[inline(always)]
unsafe fn widen_bf16(half: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
}

/// Adds the dot products of 16 pairs of bf16 to `acc` (`vdpbf16ps`).
#[inline(always)]
pub(in crate::cpu) unsafe fn dot_bf16(acc: __m512, a: __m512i, b: __m512i) -> __m512 {
    // SAFETY: both types are 512 bits without invalid patterns; the trait's contract guarantees the
    // instruction.
    _mm512_dpbf16_ps(
        acc,
        std::mem::transmute::<__m512i, __m512bh>(a),
        std::mem::transmute::<__m512i, __m512bh>(b),
    )
}
