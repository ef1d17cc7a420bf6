//! Portable vectors. They are the reference for the other kernel sets.

use half::{bf16, f16};

use super::{LANES, Simd};

/// Kernel set of plain loops, without SIMD instructions.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Scalar;

type Lanes = [f32; LANES];

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> Lanes {
    std::array::from_fn(f)
}

impl Simd for Scalar {
    type F = Lanes;
    const WIDE: bool = false;
    type Register = Self::F;
    const REGISTER_LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Lanes {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Lanes {
        Self::load_part(from, LANES)
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, n: usize) -> Lanes {
        each(|i| if i < n { from.add(i).read_unaligned() } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Lanes) {
        Self::store_part(to, value, LANES);
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: Lanes, n: usize) {
        for (i, lane) in value.into_iter().enumerate().take(n) {
            to.add(i).write_unaligned(lane);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Lanes {
        Self::load_bf16_part(from, LANES)
    }
    #[inline(always)]
    unsafe fn load_bf16_part(from: *const u16, n: usize) -> Lanes {
        each(|i| {
            if i < n { f32::from_bits(u32::from(from.add(i).read_unaligned()) << 16) } else { 0.0 }
        })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Lanes {
        Self::load_f16_part(from, LANES)
    }
    #[inline(always)]
    unsafe fn load_f16_part(from: *const u16, n: usize) -> Lanes {
        each(|i| if i < n { f16::from_bits(from.add(i).read_unaligned()).to_f32() } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn widen_pairs(raw: Lanes) -> [Lanes; 2] {
        [
            each(|i| f32::from_bits(raw[i].to_bits() << 16)),
            each(|i| f32::from_bits(raw[i].to_bits() & 0xffff_0000)),
        ]
    }
    #[inline(always)]
    unsafe fn even_alone(raw: Lanes) -> Lanes {
        each(|i| f32::from_bits(raw[i].to_bits() & 0xffff))
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, value: Lanes) {
        for (i, lane) in value.into_iter().enumerate() {
            to.add(i).write_unaligned(bf16::from_f32(lane).to_bits());
        }
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
    unsafe fn add(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Lanes, b: Lanes) -> Lanes {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        each(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: Lanes, b: Lanes) -> Lanes {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Lanes, b: Lanes) -> Lanes {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn abs(a: Lanes) -> Lanes {
        each(|i| a[i].abs())
    }
    #[inline(always)]
    unsafe fn select_less(x: Lanes, limit: Lanes, small: Lanes, value: Lanes) -> Lanes {
        each(|i| if x[i] < limit[i] { small[i] } else { value[i] })
    }
    #[inline(always)]
    unsafe fn round(a: Lanes) -> Lanes {
        each(|i| a[i].round_ties_even())
    }
    #[inline(always)]
    unsafe fn scale(value: Lanes, n: Lanes) -> Lanes {
        each(|i| f32::from_bits(value[i].to_bits().wrapping_add(((n[i] as i32) << 23) as u32)))
    }
    #[inline(always)]
    unsafe fn transpose(vectors: &mut [Lanes; LANES]) {
        let old = *vectors;
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = each(|j| old[j][i]);
        }
    }
    #[inline(always)]
    unsafe fn split_pairs(a: Lanes, b: Lanes) -> (Lanes, Lanes) {
        let at = |i: usize| if i < LANES { a[i] } else { b[i - LANES] };
        (each(|i| at(2 * i)), each(|i| at(2 * i + 1)))
    }
    #[inline(always)]
    unsafe fn join_pairs(even: Lanes, odd: Lanes) -> (Lanes, Lanes) {
        let at = |i: usize| if i.is_multiple_of(2) { even[i / 2] } else { odd[i / 2] };
        (each(at), each(|i| at(i + LANES)))
    }

    #[inline(always)]
    unsafe fn sum(mut a: Lanes) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] += a[i + half];
            }
        }
        a[0]
    }
    #[inline(always)]
    unsafe fn sum4(a: Lanes, b: Lanes, c: Lanes, d: Lanes) -> [f32; 4] {
        [Self::sum(a), Self::sum(b), Self::sum(c), Self::sum(d)]
    }
    #[inline(always)]
    unsafe fn max_lane(mut a: Lanes) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] = if a[i] > a[i + half] { a[i] } else { a[i + half] };
            }
        }
        a[0]
    }

    #[inline(always)]
    unsafe fn prefetch_far(_: *const u8) {}
}
