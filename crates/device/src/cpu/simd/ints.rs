//! Whole numbers: the codes of quantised weights and their exact dot products.
#![allow(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::f16;

#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{LANES, Scalar, Simd};

/// Sixteen lanes of i32 (`I`) and 32 code bytes (`C`). All results are exact, hence the same in every set.
pub(in crate::cpu) trait Ints: Simd {
    type I: Copy;
    type C: Copy;
    /// 64 code bytes: 4 for each lane.
    type Wide: Copy;

    unsafe fn splat_i(value: i32) -> Self::I;
    /// acc + the four products of lane l's unsigned code bytes with the four signed bytes of `x`, exactly.
    unsafe fn dot4(acc: Self::I, codes: Self::Wide, x: i32) -> Self::I;
    /// a + b, wrapping.
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// The exact dot products of 16 rows' code bytes with 32 whole numbers, 256 * upper + x: lane l of the first for the first 16 bytes
    /// of row l, of the second for the last 16.
    #[inline(always)]
    unsafe fn dots(rows: &[Self::C; LANES], x: *const i8, upper: Option<*const i8>) -> [Self::I; 2] {
        let mut codes = [0u8; 32 * LANES];
        Self::interleave(rows, codes.as_mut_ptr());
        let mut halves = [Self::splat_i(0); 2];
        for (half, acc) in halves.iter_mut().enumerate() {
            for x in upper.into_iter().chain([x]) {
                *acc = Self::shift_left(*acc, 8);
                for step in 4 * half..4 * half + 4 {
                    let four = x.add(4 * step).cast::<i32>().read_unaligned();
                    *acc = Self::dot4(*acc, Self::load_wide(codes.as_ptr().add(4 * LANES * step)), four);
                }
            }
        }
        halves
    }
    unsafe fn to_f32(a: Self::I) -> Self::F;
    /// Sixteen i8.
    unsafe fn load_i8(from: *const i8) -> Self::F;
    /// Nearest i8 (ties to even) of values in -127..=127, and their sum.
    unsafe fn store_i8(to: *mut i8, value: Self::F) -> i32;

    /// `at`'s unaligned 32-bit words at offsets `offsets`.
    unsafe fn gather(at: *const u8, offsets: Self::I) -> Self::I;
    /// Lane l is min(l, rows - 1) * stride.
    unsafe fn row_offsets(stride: usize, rows: usize) -> Self::I;
    unsafe fn and(a: Self::I, mask: u32) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shift_left(a: Self::I, bits: u32) -> Self::I;
    /// Fills with zeros.
    unsafe fn shift_right(a: Self::I, bits: u32) -> Self::I;
    /// Fills with the sign.
    unsafe fn shift_right_signed(a: Self::I, bits: u32) -> Self::I;
    /// The f16 in the low half of each lane.
    unsafe fn low_f16(a: Self::I) -> Self::F;

    unsafe fn load_wide(from: *const u8) -> Self::Wide;
    unsafe fn codes(from: *const u8) -> Self::C;
    unsafe fn store_codes(to: *mut u8, codes: Self::C);
    /// The 16 low nibbles of 16 bytes, then the 16 high ones.
    unsafe fn nibbles(from: *const u8) -> Self::C;
    /// Byte i is `value` where bit i is set, else 0.
    unsafe fn where_bits(bits: u32, value: u8) -> Self::C;
    unsafe fn codes_and(a: Self::C, mask: u8) -> Self::C;
    unsafe fn codes_or(a: Self::C, b: Self::C) -> Self::C;
    unsafe fn codes_xor(a: Self::C, mask: u8) -> Self::C;
    /// Each byte shifted right by 0..=7 bits, zeros coming in.
    unsafe fn codes_right(a: Self::C, bits: u32) -> Self::C;
    /// Each byte shifted left by 0..=7 bits.
    unsafe fn codes_left(a: Self::C, bits: u32) -> Self::C;
    /// Writes 16 rows of 32 codes as 8 groups of 16 rows x 4 codes (512 bytes).
    unsafe fn interleave(rows: &[Self::C; LANES], to: *mut u8);
}

/// Operations on 32 bytes, which AVX2 suffices for.
#[cfg(target_arch = "x86_64")]
macro_rules! codes_of_32_bytes {
    () => {
        #[inline(always)]
        unsafe fn codes(from: *const u8) -> __m256i {
            _mm256_loadu_si256(from.cast())
        }
        #[inline(always)]
        unsafe fn store_codes(to: *mut u8, codes: __m256i) {
            _mm256_storeu_si256(to.cast(), codes);
        }
        #[inline(always)]
        unsafe fn nibbles(from: *const u8) -> __m256i {
            let bytes = _mm_loadu_si128(from.cast());
            let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(bytes), _mm_srli_epi16::<4>(bytes));
            _mm256_and_si256(both, _mm256_set1_epi8(15))
        }
        #[inline(always)]
        unsafe fn where_bits(bits: u32, value: u8) -> __m256i {
            // Byte i takes byte i / 8 of the bits and keeps its bit i % 8.
            let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let one = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), spread);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, one), one);
            _mm256_and_si256(set, _mm256_set1_epi8(value as i8))
        }
        #[inline(always)]
        unsafe fn codes_and(a: __m256i, mask: u8) -> __m256i {
            _mm256_and_si256(a, _mm256_set1_epi8(mask as i8))
        }
        #[inline(always)]
        unsafe fn codes_or(a: __m256i, b: __m256i) -> __m256i {
            _mm256_or_si256(a, b)
        }
        #[inline(always)]
        unsafe fn codes_xor(a: __m256i, mask: u8) -> __m256i {
            _mm256_xor_si256(a, _mm256_set1_epi8(mask as i8))
        }
        #[inline(always)]
        unsafe fn codes_right(a: __m256i, bits: u32) -> __m256i {
            let wide = _mm256_srl_epi16(a, _mm_cvtsi32_si128(bits as i32));
            _mm256_and_si256(wide, _mm256_set1_epi8((0xffu8 >> bits) as i8))
        }
        #[inline(always)]
        unsafe fn codes_left(a: __m256i, bits: u32) -> __m256i {
            let wide = _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits as i32));
            _mm256_and_si256(wide, _mm256_set1_epi8((0xffu8 << bits) as i8))
        }
    };
}

impl Ints for Scalar {
    type I = [i32; LANES];
    type C = [u8; 32];
    type Wide = [u8; 64];

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> [i32; LANES] {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn dot4(mut acc: [i32; LANES], codes: [u8; 64], x: i32) -> [i32; LANES] {
        let x = x.to_le_bytes().map(|b| i32::from(b as i8));
        for (i, lane) in acc.iter_mut().enumerate() {
            for (j, x) in x.iter().enumerate() {
                *lane += i32::from(codes[4 * i + j]) * x;
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
    unsafe fn gather(at: *const u8, offsets: [i32; LANES]) -> [i32; LANES] {
        offsets.map(|o| at.add(o as usize).cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn row_offsets(stride: usize, rows: usize) -> [i32; LANES] {
        std::array::from_fn(|l| (l.min(rows - 1) * stride) as i32)
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
    unsafe fn load_wide(from: *const u8) -> [u8; 64] {
        from.cast::<[u8; 64]>().read()
    }
    #[inline(always)]
    unsafe fn codes(from: *const u8) -> [u8; 32] {
        from.cast::<[u8; 32]>().read()
    }
    #[inline(always)]
    unsafe fn store_codes(to: *mut u8, codes: [u8; 32]) {
        to.cast::<[u8; 32]>().write(codes);
    }
    #[inline(always)]
    unsafe fn nibbles(from: *const u8) -> [u8; 32] {
        std::array::from_fn(|i| if i < 16 { *from.add(i) & 15 } else { *from.add(i - 16) >> 4 })
    }
    #[inline(always)]
    unsafe fn where_bits(bits: u32, value: u8) -> [u8; 32] {
        std::array::from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }
    #[inline(always)]
    unsafe fn codes_and(a: [u8; 32], mask: u8) -> [u8; 32] {
        a.map(|v| v & mask)
    }
    #[inline(always)]
    unsafe fn codes_or(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn codes_xor(a: [u8; 32], mask: u8) -> [u8; 32] {
        a.map(|v| v ^ mask)
    }
    #[inline(always)]
    unsafe fn codes_right(a: [u8; 32], bits: u32) -> [u8; 32] {
        a.map(|v| v >> bits)
    }
    #[inline(always)]
    unsafe fn codes_left(a: [u8; 32], bits: u32) -> [u8; 32] {
        a.map(|v| v << bits)
    }
    #[inline(always)]
    unsafe fn interleave(rows: &[[u8; 32]; LANES], to: *mut u8) {
        for group in 0..8 {
            for (r, row) in rows.iter().enumerate() {
                let four: [u8; 4] = [row[4 * group], row[4 * group + 1], row[4 * group + 2], row[4 * group + 3]];
                to.add(group * 64 + r * 4).cast::<[u8; 4]>().write(four);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Ints for Avx2 {
    type I = [__m256i; 2];
    type C = __m256i;
    type Wide = [__m256i; 2];

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> [__m256i; 2] {
        [_mm256_set1_epi32(value); 2]
    }
    #[inline(always)]
    unsafe fn dot4(acc: [__m256i; 2], codes: [__m256i; 2], x: i32) -> [__m256i; 2] {
        // maddubs would saturate for codes above 128: even and odd bytes are multiplied as 16-bit numbers instead.
        let low = _mm256_set1_epi16(0xff);
        let x = _mm256_set1_epi32(x);
        let (x_even, x_odd) = (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x));
        let one = |i: usize| {
            let codes = codes[i];
            let even = _mm256_madd_epi16(_mm256_and_si256(codes, low), x_even);
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(codes), x_odd);
            _mm256_add_epi32(acc[i], _mm256_add_epi32(even, odd))
        };
        [one(0), one(1)]
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
        let (low, high) = (_mm256_cvtepi8_epi32(sixteen), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(sixteen, sixteen)));
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, value: [__m256; 2]) -> i32 {
        let (a, b) = (_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1]));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
        let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_storeu_si128(to.cast(), bytes);
        let eight = _mm256_add_epi32(a, b);
        let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[inline(always)]
    unsafe fn gather(at: *const u8, offsets: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_i32gather_epi32::<1>(at.cast(), offsets[0]), _mm256_i32gather_epi32::<1>(at.cast(), offsets[1])]
    }
    #[inline(always)]
    unsafe fn row_offsets(stride: usize, rows: usize) -> [__m256i; 2] {
        let lanes = [_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)];
        let last = _mm256_set1_epi32(rows as i32 - 1);
        lanes.map(|l| _mm256_mullo_epi32(_mm256_min_epi32(l, last), _mm256_set1_epi32(stride as i32)))
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
        [_mm256_cvtph_ps(_mm256_castsi256_si128(words)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(words))]
    }

    codes_of_32_bytes!();

    #[inline(always)]
    unsafe fn load_wide(from: *const u8) -> [__m256i; 2] {
        [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]
    }
    #[inline(always)]
    unsafe fn interleave(rows: &[__m256i; LANES], to: *mut u8) {
        for half in 0..2 {
            let r = &rows[8 * half..8 * half + 8];
            let to = to.add(32 * half);
            // An 8 x 8 transposition of words: pairs, quadruples, halves.
            let (a0, a1) = (_mm256_unpacklo_epi32(r[0], r[1]), _mm256_unpackhi_epi32(r[0], r[1]));
            let (a2, a3) = (_mm256_unpacklo_epi32(r[2], r[3]), _mm256_unpackhi_epi32(r[2], r[3]));
            let (a4, a5) = (_mm256_unpacklo_epi32(r[4], r[5]), _mm256_unpackhi_epi32(r[4], r[5]));
            let (a6, a7) = (_mm256_unpacklo_epi32(r[6], r[7]), _mm256_unpackhi_epi32(r[6], r[7]));
            let b = [
                (_mm256_unpacklo_epi64(a0, a2), _mm256_unpacklo_epi64(a4, a6)),
                (_mm256_unpackhi_epi64(a0, a2), _mm256_unpackhi_epi64(a4, a6)),
                (_mm256_unpacklo_epi64(a1, a3), _mm256_unpacklo_epi64(a5, a7)),
                (_mm256_unpackhi_epi64(a1, a3), _mm256_unpackhi_epi64(a5, a7)),
            ];
            for (i, (low, high)) in b.into_iter().enumerate() {
                _mm256_storeu_si256(to.add(64 * i).cast(), _mm256_permute2x128_si256::<0x20>(low, high));
                _mm256_storeu_si256(to.add(64 * (i + 4)).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<const BF16: bool> Ints for Avx512<BF16> {
    type I = __m512i;
    type C = __m256i;
    type Wide = __m512i;

    #[inline(always)]
    unsafe fn splat_i(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn dot4(acc: __m512i, codes: __m512i, x: i32) -> __m512i {
        _mm512_dpbusd_epi32(acc, codes, _mm512_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn add_i(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn dots(rows: &[__m256i; LANES], x: *const i8, upper: Option<*const i8>) -> [__m512i; 2] {
        let twice = |x: *const i8| _mm512_broadcast_i64x4(_mm256_loadu_si256(x.cast()));
        let (x, upper) = (twice(x), upper.map(twice));
        // Rows r and r + 4 side by side: 128-bit lanes of 4 partial sums, halves of one row, then of the other.
        let mut partial = [_mm512_setzero_si512(); 8];
        for (i, partial) in partial.iter_mut().enumerate() {
            let row = i / 4 * 8 + i % 4;
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[row]), rows[row + 4]);
            if let Some(upper) = upper {
                *partial = _mm512_slli_epi32::<8>(_mm512_dpbusd_epi32(*partial, both, upper));
            }
            *partial = _mm512_dpbusd_epi32(*partial, both, x);
        }
        // Four rows' partial sums become four sums in each 128-bit lane.
        let mut sums = [_mm512_setzero_si512(); 2];
        for (i, sum) in sums.iter_mut().enumerate() {
            let [a, b, c, d] = [partial[4 * i], partial[4 * i + 1], partial[4 * i + 2], partial[4 * i + 3]];
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            *sum = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        }
        [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(sums[0], sums[1]),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(sums[0], sums[1]),
        ]
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
    unsafe fn gather(at: *const u8, offsets: __m512i) -> __m512i {
        _mm512_i32gather_epi32::<1>(offsets, at.cast())
    }
    #[inline(always)]
    unsafe fn row_offsets(stride: usize, rows: usize) -> __m512i {
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_mullo_epi32(
            _mm512_min_epi32(lanes, _mm512_set1_epi32(rows as i32 - 1)),
            _mm512_set1_epi32(stride as i32),
        )
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

    codes_of_32_bytes!();

    #[inline(always)]
    unsafe fn load_wide(from: *const u8) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn interleave(rows: &[__m256i; LANES], to: *mut u8) {
        // [row i | row i + 8], then an 8 x 8 transposition of words in each half: pairs, quadruples, halves.
        let mut z = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            z[i] = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[i]), rows[i + 8]);
        }
        let (a0, a1) = (_mm512_unpacklo_epi32(z[0], z[1]), _mm512_unpackhi_epi32(z[0], z[1]));
        let (a2, a3) = (_mm512_unpacklo_epi32(z[2], z[3]), _mm512_unpackhi_epi32(z[2], z[3]));
        let (a4, a5) = (_mm512_unpacklo_epi32(z[4], z[5]), _mm512_unpackhi_epi32(z[4], z[5]));
        let (a6, a7) = (_mm512_unpacklo_epi32(z[6], z[7]), _mm512_unpackhi_epi32(z[6], z[7]));
        let b = [
            (_mm512_unpacklo_epi64(a0, a2), _mm512_unpacklo_epi64(a4, a6)),
            (_mm512_unpackhi_epi64(a0, a2), _mm512_unpackhi_epi64(a4, a6)),
            (_mm512_unpacklo_epi64(a1, a3), _mm512_unpacklo_epi64(a5, a7)),
            (_mm512_unpackhi_epi64(a1, a3), _mm512_unpackhi_epi64(a5, a7)),
        ];
        let low_halves = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
        let high_halves = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        for (i, (low, high)) in b.into_iter().enumerate() {
            _mm512_storeu_si512(to.add(64 * i).cast(), _mm512_permutex2var_epi64(low, low_halves, high));
            _mm512_storeu_si512(to.add(64 * (i + 4)).cast(), _mm512_permutex2var_epi64(low, high_halves, high));
        }
    }
}
