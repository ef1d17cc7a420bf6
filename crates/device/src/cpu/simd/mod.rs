//! Sixteen f32 lanes on every machine.
//!
//! Kernels are written once over [`Simd`] and instantiated inside functions that enable the
//! instructions of one kernel set. Every method does the same IEEE operations lane by lane in each
//! implementation (fused multiply-add included), so the sets agree bit for bit, except where
//! [`Simd::pair_dot`] uses the AVX-512 BF16 instruction.
//!
//! # Safety
//! All methods are `unsafe`: the caller is inside a function whose `target_feature`s cover the
//! implementation's (that is what `dispatch::kernel!` writes), and pointers are readable or
//! writable for the lanes named. Pointers need no alignment.
#![allow(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod ints;
pub(super) mod math;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{Avx512, dot_bf16, first};
pub(super) use ints::Ints;
pub(super) use scalar::Scalar;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Bytes of a cache line, which is what is asked for ahead.
pub(super) const LINE: usize = 64;

/// Sixteen lanes of f32.
pub(super) trait Simd: Copy + 'static {
    type F: Copy;
    /// Enough registers for 24 accumulators; otherwise there are 8.
    const WIDE: bool;
    /// Whether `pair_dot` is one instruction, whose sums may differ from those of two `fma`.
    const PAIR_DOT: bool = false;
    /// What one register holds, for kernels that need not have 16 lanes.
    type Register: Copy;
    const REGISTER_LANES: usize;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    /// The first `n` (at most 16) lanes; zeros after them, whose memory is not touched.
    unsafe fn load_part(from: *const f32, n: usize) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn store_part(to: *mut f32, value: Self::F, n: usize);
    unsafe fn load_bf16(from: *const u16) -> Self::F;
    unsafe fn load_bf16_part(from: *const u16, n: usize) -> Self::F;
    unsafe fn load_f16(from: *const u16) -> Self::F;
    unsafe fn load_f16_part(from: *const u16, n: usize) -> Self::F;
    /// The even and the odd ones of 32 bf16 that were loaded as they are.
    unsafe fn widen_pairs(raw: Self::F) -> [Self::F; 2];
    /// The same pairs with zeros for the odd ones.
    unsafe fn even_alone(raw: Self::F) -> Self::F;
    /// Rounds to nearest even; NaN stays NaN.
    unsafe fn store_bf16(to: *mut u16, value: Self::F);

    unsafe fn zero_register() -> Self::Register;
    unsafe fn load_register(from: *const f32) -> Self::Register;
    unsafe fn broadcast_register(from: *const f32) -> Self::Register;
    unsafe fn store_register(to: *mut f32, value: Self::Register);
    unsafe fn add_register(a: Self::Register, b: Self::Register) -> Self::Register;
    /// As `fma`.
    unsafe fn fma_register(
        a: Self::Register,
        b: Self::Register,
        c: Self::Register,
    ) -> Self::Register;

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// a > b ? a : b, hence b where either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// a < b ? a : b, hence b where either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// x < limit ? small : value.
    unsafe fn select_less(x: Self::F, limit: Self::F, small: Self::F, value: Self::F) -> Self::F;
    /// Nearest whole number, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// value * 2^n for whole n in -126..=127 and results that are normal.
    unsafe fn scale(value: Self::F, n: Self::F) -> Self::F;
    /// Lane i of vector j becomes lane j of vector i.
    unsafe fn transpose(vectors: &mut [Self::F; LANES]);
    /// (even lanes, odd lanes) of the 32 values a, b: [a0 a2 .. b14], [a1 a3 .. b15].
    unsafe fn split_pairs(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The inverse of `split_pairs`.
    unsafe fn join_pairs(even: Self::F, odd: Self::F) -> (Self::F, Self::F);

    /// The sum of all lanes: halves are added until one is left (8, 4, 2, 1).
    unsafe fn sum(a: Self::F) -> f32;
    /// The sums of four vectors, each as `sum` gives it.
    unsafe fn sum4(a: Self::F, b: Self::F, c: Self::F, d: Self::F) -> [f32; 4];
    unsafe fn max_lane(a: Self::F) -> f32;

    /// As `store_bf16`, for numbers that `pair_dot` is to take, which may take a denormal for zero.
    #[inline(always)]
    unsafe fn store_pairs(to: *mut u16, value: Self::F) {
        Self::store_bf16(to, value);
    }

    /// acc + k.even * q.even + k.odd * q.odd per lane; k is 16 pairs of bf16, q one pair for all
    /// lanes (low half even).
    #[inline(always)]
    unsafe fn pair_dot(acc: Self::F, k: Self::F, q: u32) -> Self::F {
        let [even, odd] = Self::widen_pairs(k);
        let first = Self::fma(even, Self::splat(f32::from_bits(q << 16)), acc);
        Self::fma(odd, Self::splat(f32::from_bits(q & 0xffff_0000)), first)
    }

    /// Asks for the cache line at `at` (which may be any address). It waits in the second-level
    /// cache: the first is for what is needed at once.
    unsafe fn prefetch_far(at: *const u8);
}
