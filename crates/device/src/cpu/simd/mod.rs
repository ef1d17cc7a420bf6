//! Portable SIMD: vectors of sixteen f32 lanes.
//!
//! Kernels are generic over [`Simd`] and instantiated in functions that enable the instructions of
//! one kernel set. In every implementation a method performs the same IEEE operations per lane
//! (including fused multiply-add), so results of the sets are bit-identical, except where
//! [`Simd::pair_dot`] uses the AVX-512 BF16 instruction.
//!
//! # Safety
//! All methods are `unsafe`: the calling function must enable the `target_feature`s of the
//! implementation (as `dispatch::kernel!` does), and pointers must be readable or writable for the
//! lanes that the method accesses. Pointers need no alignment.
#![allow(unsafe_op_in_unsafe_fn)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod int;
#[cfg(target_arch = "x86_64")]
mod int_avx2;
#[cfg(target_arch = "x86_64")]
mod int_avx512;
mod int_scalar;
pub(super) mod math;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::{Avx512, dot_bf16, first};
pub(super) use int::SimdInt;
pub(super) use scalar::Scalar;

/// Lanes per vector.
pub(super) const LANES: usize = 16;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Sixteen lanes of f32.
pub(super) trait Simd: Copy + 'static {
    type F: Copy;
    /// Whether there are enough registers for 24 accumulators; otherwise there are for 8.
    const WIDE: bool;
    /// Whether `pair_dot` is one instruction, whose rounding may differ from that of two `fma`.
    const PAIR_DOT: bool = false;
    /// One hardware register, for kernels that do not need 16 lanes.
    type Register: Copy;
    const REGISTER_LANES: usize;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    /// Loads the first `n` (at most 16) lanes, zero-padded. Reads no memory beyond them.
    unsafe fn load_part(from: *const f32, n: usize) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn store_part(to: *mut f32, value: Self::F, n: usize);
    unsafe fn load_bf16(from: *const u16) -> Self::F;
    unsafe fn load_bf16_part(from: *const u16, n: usize) -> Self::F;
    unsafe fn load_f16(from: *const u16) -> Self::F;
    unsafe fn load_f16_part(from: *const u16, n: usize) -> Self::F;
    /// Widens the even and the odd elements of 32 bf16 in a raw vector.
    unsafe fn widen_pairs(raw: Self::F) -> [Self::F; 2];
    /// Sets the odd elements of 32 bf16 in a raw vector to zero.
    unsafe fn even_alone(raw: Self::F) -> Self::F;
    /// Rounds to nearest even; NaN stays NaN.
    unsafe fn store_bf16(to: *mut u16, value: Self::F);

    unsafe fn zero_register() -> Self::Register;
    unsafe fn load_register(from: *const f32) -> Self::Register;
    unsafe fn broadcast_register(from: *const f32) -> Self::Register;
    unsafe fn store_register(to: *mut f32, value: Self::Register);
    unsafe fn add_register(a: Self::Register, b: Self::Register) -> Self::Register;
    /// `fma` on one hardware register.
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
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// value * 2^n for integers n in -126..=127 and normal results.
    unsafe fn scale(value: Self::F, n: Self::F) -> Self::F;
    /// Lane i of vector j becomes lane j of vector i.
    unsafe fn transpose(vectors: &mut [Self::F; LANES]);
    /// (even lanes, odd lanes) of the 32 values a, b: [a0 a2 .. b14], [a1 a3 .. b15].
    unsafe fn split_pairs(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The inverse of `split_pairs`.
    unsafe fn join_pairs(even: Self::F, odd: Self::F) -> (Self::F, Self::F);

    /// Sum of all lanes, by adding halves (8, 4, 2, 1).
    unsafe fn sum(a: Self::F) -> f32;
    /// Horizontal sums of four vectors, bit-identical to four calls of `sum`.
    unsafe fn sum4(a: Self::F, b: Self::F, c: Self::F, d: Self::F) -> [f32; 4];
    unsafe fn max_lane(a: Self::F) -> f32;

    /// As `store_bf16`, but may flush denormals to zero: for operands of `pair_dot`.
    #[inline(always)]
    unsafe fn store_pairs(to: *mut u16, value: Self::F) {
        Self::store_bf16(to, value);
    }

    /// acc + k.even * q.even + k.odd * q.odd per lane. k is 16 pairs of bf16, q one pair for all
    /// lanes (even element in the low half).
    #[inline(always)]
    unsafe fn pair_dot(acc: Self::F, k: Self::F, q: u32) -> Self::F {
        let [even, odd] = Self::widen_pairs(k);
        let first = Self::fma(even, Self::splat(f32::from_bits(q << 16)), acc);
        Self::fma(odd, Self::splat(f32::from_bits(q & 0xffff_0000)), first)
    }

    /// Prefetches the cache line at `at`, which need not be readable, into the L2 cache, so that it
    /// does not evict current operands from the L1 cache.
    unsafe fn prefetch_far(at: *const u8);
}
