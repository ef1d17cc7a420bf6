//! Vectors of two AVX2 registers.

use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Avx2;

type Lanes = [__m256; 2];

impl Simd for Avx2 {
    type F = Lanes;
    const WIDE: bool = false;
    type Register = __m256;
    const REGISTER_LANES: usize = LANES / 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Lanes {
        [_mm256_set1_ps(value); 2]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Lanes {
        [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Lanes {
        if n == LANES {
            return Self::load(from);
        }
        let mut buffer = [0f32; LANES];
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), buffer.as_mut_ptr().cast(), n * 4);
        Self::load(buffer.as_ptr())
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Lanes) {
        _mm256_storeu_ps(to, value[0]);
        _mm256_storeu_ps(to.add(8), value[1]);
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: Lanes, n: usize) {
        if n == LANES {
            return Self::store(to, value);
        }
        let mut buffer = [0f32; LANES];
        Self::store(buffer.as_mut_ptr(), value);
        std::ptr::copy_nonoverlapping(buffer.as_ptr().cast::<u8>(), to.cast(), n * 4);
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Lanes {
        let wide = |at: *const u16| {
            let half = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(half))
        };
        [wide(from), wide(from.add(8))]
    }
    #[inline(always)]
    unsafe fn load_bf16_part(from: *const u16, n: usize) -> Lanes {
        Self::load_bf16(part(from, n).as_ptr())
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Lanes {
        let wide = |at: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
        [wide(from), wide(from.add(8))]
    }
    #[inline(always)]
    unsafe fn load_f16_part(from: *const u16, n: usize) -> Lanes {
        Self::load_f16(part(from, n).as_ptr())
    }
    #[inline(always)]
    unsafe fn widen_pairs(raw: Lanes) -> [Lanes; 2] {
        let bits = [_mm256_castps_si256(raw[0]), _mm256_castps_si256(raw[1])];
        let mask = _mm256_set1_epi32(0xffff_0000u32 as i32);
        [
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits[0])),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits[1])),
            ],
            [
                _mm256_castsi256_ps(_mm256_and_si256(bits[0], mask)),
                _mm256_castsi256_ps(_mm256_and_si256(bits[1], mask)),
            ],
        ]
    }
    #[inline(always)]
    unsafe fn even_alone(raw: Lanes) -> Lanes {
        let mask = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff));
        [_mm256_and_ps(raw[0], mask), _mm256_and_ps(raw[1], mask)]
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: Lanes) {
        let packed = _mm256_packus_epi32(round_bf16(value[0]), round_bf16(value[1]));
        _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
    }

    #[inline(always)]
    unsafe fn zero_register() -> __m256 {
        _mm256_setzero_ps()
    }
    #[inline(always)]
    unsafe fn load_register(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn broadcast_register(from: *const f32) -> __m256 {
        _mm256_set1_ps(from.read_unaligned())
    }
    #[inline(always)]
    unsafe fn add_register(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn store_register(to: *mut f32, value: __m256) {
        _mm256_storeu_ps(to, value);
    }
    #[inline(always)]
    unsafe fn fma_register(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn add(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn sub(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn mul(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn div(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
    }
    #[inline(always)]
    unsafe fn max(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn min(a: Lanes, b: Lanes) -> Lanes {
        [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn abs(a: Lanes) -> Lanes {
        let sign = _mm256_set1_ps(-0.0);
        [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
    }
    #[inline(always)]
    unsafe fn select_less(x: Lanes, limit: Lanes, small: Lanes, value: Lanes) -> Lanes {
        let pick = |i: usize| {
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(x[i], limit[i]);
            _mm256_blendv_ps(value[i], small[i], less)
        };
        [pick(0), pick(1)]
    }
    #[inline(always)]
    unsafe fn round(a: Lanes) -> Lanes {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])]
    }
    #[inline(always)]
    unsafe fn scale(value: Lanes, n: Lanes) -> Lanes {
        let one = |i: usize| {
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n[i]));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value[i]), exponent))
        };
        [one(0), one(1)]
    }
    #[inline(always)]
    unsafe fn transpose(vectors: &mut [Lanes; LANES]) {
        // Transpose 8x8 quarters, then swap the off-diagonal ones.
        let quarter = |vectors: &[Lanes; LANES], row: usize, half: usize| {
            transpose8(std::array::from_fn(|i| vectors[row + i][half]))
        };
        for (row, half) in [(0, 0), (8, 1)] {
            for (i, column) in quarter(vectors, row, half).into_iter().enumerate() {
                vectors[row + i][half] = column;
            }
        }
        let (above, below) = (quarter(vectors, 0, 1), quarter(vectors, 8, 0));
        for i in 0..8 {
            vectors[i][1] = below[i];
            vectors[8 + i][0] = above[i];
        }
    }
    #[inline(always)]
    unsafe fn split_pairs(a: Lanes, b: Lanes) -> (Lanes, Lanes) {
        let split = |x: Lanes| {
            let even = _mm256_shuffle_ps::<0b10_00_10_00>(x[0], x[1]);
            let odd = _mm256_shuffle_ps::<0b11_01_11_01>(x[0], x[1]);
            let order =
                |v| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(v)));
            (order(even), order(odd))
        };
        let ((a_even, a_odd), (b_even, b_odd)) = (split(a), split(b));
        ([a_even, b_even], [a_odd, b_odd])
    }
    #[inline(always)]
    unsafe fn join_pairs(even: Lanes, odd: Lanes) -> (Lanes, Lanes) {
        let join = |i: usize| {
            let low = _mm256_unpacklo_ps(even[i], odd[i]);
            let high = _mm256_unpackhi_ps(even[i], odd[i]);
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        };
        (join(0), join(1))
    }

    #[inline(always)]
    unsafe fn sum(a: Lanes) -> f32 {
        let eight = _mm256_add_ps(a[0], a[1]);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
    #[inline(always)]
    unsafe fn sum4(a: Lanes, b: Lanes, c: Lanes, d: Lanes) -> [f32; 4] {
        [Self::sum(a), Self::sum(b), Self::sum(c), Self::sum(d)]
    }
    #[inline(always)]
    unsafe fn max_lane(a: Lanes) -> f32 {
        let eight = _mm256_max_ps(a[0], a[1]);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    #[inline(always)]
    unsafe fn prefetch_far(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
}

/// Loads the first `n` 16-bit elements, zero-padded.
#[inline(always)]
unsafe fn part(from: *const u16, n: usize) -> [u16; LANES] {
    let mut buffer = [0u16; LANES];
    std::ptr::copy_nonoverlapping(from.cast::<u8>(), buffer.as_mut_ptr().cast(), n * 2);
    buffer
}

/// Rounds each lane to bf16, to nearest even, into its low half; NaN becomes quiet.
#[inline(always)]
unsafe fn round_bf16(value: __m256) -> __m256i {
    let bits = _mm256_castps_si256(value);
    let top = _mm256_srli_epi32::<16>(bits);
    let odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    let quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
    _mm256_blendv_epi8(_mm256_srli_epi32::<16>(rounded), quiet, nan)
}

#[inline(always)]
unsafe fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
    let mut fours = [_mm256_setzero_ps(); 8];
    for i in [0, 4] {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        fours[i] = _mm256_shuffle_ps::<0x44>(ab_low, cd_low);
        fours[i + 1] = _mm256_shuffle_ps::<0xee>(ab_low, cd_low);
        fours[i + 2] = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
        fours[i + 3] = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
    }
    std::array::from_fn(|i| {
        if i < 4 {
            _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i])
        } else {
            _mm256_permute2f128_ps::<0x31>(fours[i - 4], fours[i])
        }
    })
}
