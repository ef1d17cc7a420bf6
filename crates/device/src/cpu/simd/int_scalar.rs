//! Portable integer vectors.

use half::f16;

use super::int::{SimdInt, word};
use super::{LANES, Scalar};

impl SimdInt for Scalar {
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
    unsafe fn load_columns(from: *const u8, stride: usize) -> [[i32; LANES]; 8] {
        std::array::from_fn(|w| std::array::from_fn(|row| word(from, row * stride + 4 * w)))
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
    unsafe fn sum_quarters(vectors: [[i32; LANES]; 4]) -> [i32; LANES] {
        std::array::from_fn(|l| {
            let quarter = &vectors[l % 4][l / 4 * 4..][..4];
            quarter.iter().fold(0, |sum: i32, word| sum.wrapping_add(*word))
        })
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
    unsafe fn lookup(table: &[u8; 16], indices: [i32; LANES]) -> [i32; LANES] {
        indices.map(|v| i32::from_le_bytes(v.to_le_bytes().map(|index| table[usize::from(index)])))
    }
    #[inline(always)]
    unsafe fn interleave(a: [i32; LANES], b: [i32; LANES]) -> [[i32; LANES]; 2] {
        let byte = |words: &[i32; LANES], quarter: usize, i: usize| {
            words[4 * quarter + i / 4].to_le_bytes()[i % 4]
        };
        let half = |first: usize| {
            std::array::from_fn(|l| {
                let (quarter, at) = (l / 4, first + l % 4 * 2);
                i32::from_le_bytes([
                    byte(&a, quarter, at),
                    byte(&b, quarter, at),
                    byte(&a, quarter, at + 1),
                    byte(&b, quarter, at + 1),
                ])
            })
        };
        [half(0), half(8)]
    }
    #[inline(always)]
    unsafe fn where_bits(bits: u64, value: u8) -> [i32; LANES] {
        let byte = |i: usize| if bits >> i & 1 == 1 { value } else { 0 };
        std::array::from_fn(|l| i32::from_le_bytes(std::array::from_fn(|i| byte(4 * l + i))))
    }
}
