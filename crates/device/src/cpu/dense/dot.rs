use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx512, dot_bf16, first};
use super::super::simd::{LANES, Simd};

/// Bytes of a chunk of activations, and of weights that were copied.
pub(in crate::cpu) const CHUNK_BYTES: usize = 64;

/// How a chunk of weights meets a chunk of activations.
pub(super) trait Dot {
    type S: Simd;
    type Chunk: Copy;
    /// How the same weights are multiplied once they were copied.
    type Packed: Packed;
    /// Elements of a chunk.
    const CHUNK: usize;
    /// Bytes of a weight.
    const WEIGHT_BYTES: usize;

    unsafe fn weights(from: *const u8) -> Self::Chunk;
    /// The first `n` weights, zeros after them.
    unsafe fn weights_part(from: *const u8, n: usize) -> Self::Chunk;
    /// So many chunks of weights as 16 numbers of 4 bytes, whatever they are: what is copied at a time.
    const RAW_CHUNKS: usize;
    unsafe fn raw(from: *const u8) -> F<Self>;
    /// Such a number of 16 rows as the columns that it is.
    unsafe fn columns(raw: F<Self>) -> [F<Self>; 2];
    unsafe fn activations(from: *const u8) -> Self::Chunk;
    unsafe fn accumulate(acc: F<Self>, weights: Self::Chunk, x: Self::Chunk) -> F<Self>;
}

/// The same for one lane of many rows: a register holds a number of each.
pub(super) trait Packed {
    type Register: Copy;
    type Sums: Copy;

    unsafe fn load(from: *const u8) -> Self::Register;
    /// One number of 4 bytes, in all lanes.
    unsafe fn broadcast(from: *const u8) -> Self::Register;
    unsafe fn accumulate(sums: Self::Sums, weights: Self::Register, x: Self::Register) -> Self::Sums;
    unsafe fn zero() -> Self::Sums;
    unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    unsafe fn load_sums(from: *const f32) -> Self::Sums;
    unsafe fn store_sums(to: *mut f32, sums: Self::Sums);
}

/// The accumulators of a dot product.
pub(super) type F<D> = <<D as Dot>::S as Simd>::F;

/// How weights become f32.
pub(super) trait Weight {
    const BYTES: usize;
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
    unsafe fn load_part<S: Simd>(from: *const u8, n: usize) -> S::F;
    /// As [`Dot::RAW_CHUNKS`].
    const RAW_CHUNKS: usize = 1;
    #[inline(always)]
    unsafe fn raw<S: Simd>(from: *const u8) -> S::F {
        Self::load::<S>(from)
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(raw: S::F) -> [S::F; 2] {
        [raw; 2]
    }
}

pub(super) struct WeightF32;
pub(super) struct WeightF16;
pub(super) struct WeightBf16;

macro_rules! weight {
    ($name:ident, $bytes:literal, $load:ident, $load_part:ident) => {
        impl Weight for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(from: *const u8) -> S::F {
                S::$load(from.cast())
            }
            #[inline(always)]
            unsafe fn load_part<S: Simd>(from: *const u8, n: usize) -> S::F {
                S::$load_part(from.cast(), n)
            }
        }
    };
}
weight!(WeightF32, 4, load, load_part);
weight!(WeightF16, 2, load_f16, load_f16_part);

impl Weight for WeightBf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::F {
        S::load_bf16(from.cast())
    }
    #[inline(always)]
    unsafe fn load_part<S: Simd>(from: *const u8, n: usize) -> S::F {
        S::load_bf16_part(from.cast(), n)
    }
    /// Pairs change places before they are widened.
    const RAW_CHUNKS: usize = 2;
    #[inline(always)]
    unsafe fn raw<S: Simd>(from: *const u8) -> S::F {
        S::load(from.cast())
    }
    #[inline(always)]
    unsafe fn columns<S: Simd>(raw: S::F) -> [S::F; 2] {
        S::widen_pairs(raw)
    }
}

/// Weights widened to f32, f32 activations.
pub(super) struct F32Dot<S, W>(PhantomData<(S, W)>);

impl<S: Simd, W: Weight> Dot for F32Dot<S, W> {
    type S = S;
    type Chunk = S::F;
    type Packed = PackedF32<S>;
    const CHUNK: usize = LANES;
    const WEIGHT_BYTES: usize = W::BYTES;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> S::F {
        W::load::<S>(from)
    }
    #[inline(always)]
    unsafe fn weights_part(from: *const u8, n: usize) -> S::F {
        W::load_part::<S>(from, n)
    }
    const RAW_CHUNKS: usize = W::RAW_CHUNKS;
    #[inline(always)]
    unsafe fn raw(from: *const u8) -> S::F {
        W::raw::<S>(from)
    }
    #[inline(always)]
    unsafe fn columns(raw: S::F) -> [S::F; 2] {
        W::columns::<S>(raw)
    }
    #[inline(always)]
    unsafe fn activations(from: *const u8) -> S::F {
        S::load(from.cast())
    }
    #[inline(always)]
    unsafe fn accumulate(acc: S::F, weights: S::F, x: S::F) -> S::F {
        S::fma(weights, x, acc)
    }
}

/// Weights that were widened, f32 activations.
pub(super) struct PackedF32<S>(PhantomData<S>);

impl<S: Simd> Packed for PackedF32<S> {
    type Register = S::Register;
    type Sums = S::Register;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> S::Register {
        S::load_register(from.cast())
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> S::Register {
        S::broadcast_register(from.cast())
    }
    #[inline(always)]
    unsafe fn add(a: S::Register, b: S::Register) -> S::Register {
        S::add_register(a, b)
    }
    #[inline(always)]
    unsafe fn zero() -> S::Register {
        S::zero_register()
    }
    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> S::Register {
        S::load_register(from)
    }
    #[inline(always)]
    unsafe fn store_sums(to: *mut f32, sums: S::Register) {
        S::store_register(to, sums);
    }
    #[inline(always)]
    unsafe fn accumulate(sums: S::Register, weights: S::Register, x: S::Register) -> S::Register {
        S::fma_register(weights, x, sums)
    }
}

/// bf16 weights, bf16 activations, `vdpbf16ps`.
#[cfg(target_arch = "x86_64")]
pub(super) struct Bf16Dot;

#[cfg(target_arch = "x86_64")]
impl Dot for Bf16Dot {
    type S = Avx512<true>;
    type Chunk = std::arch::x86_64::__m512i;
    type Packed = Self;
    const CHUNK: usize = 2 * LANES;
    const WEIGHT_BYTES: usize = 2;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> Self::Chunk {
        std::arch::x86_64::_mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn weights_part(from: *const u8, n: usize) -> Self::Chunk {
        let low = u32::from(first(n));
        let high = u32::from(first(n.saturating_sub(LANES)));
        std::arch::x86_64::_mm512_maskz_loadu_epi16(low | high << 16, from.cast())
    }
    const RAW_CHUNKS: usize = 1;
    #[inline(always)]
    unsafe fn raw(from: *const u8) -> F<Self> {
        <Self as Dot>::S::load(from.cast())
    }
    #[inline(always)]
    unsafe fn columns(raw: F<Self>) -> [F<Self>; 2] {
        [raw; 2]
    }
    #[inline(always)]
    unsafe fn activations(from: *const u8) -> Self::Chunk {
        std::arch::x86_64::_mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn accumulate(acc: F<Self>, weights: Self::Chunk, x: Self::Chunk) -> F<Self> {
        dot_bf16(acc, weights, x)
    }
}

#[cfg(target_arch = "x86_64")]
impl Packed for Bf16Dot {
    type Register = std::arch::x86_64::__m512i;
    type Sums = F<Self>;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::Register {
        std::arch::x86_64::_mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const u8) -> Self::Register {
        std::arch::x86_64::_mm512_set1_epi32(from.cast::<i32>().read_unaligned())
    }
    #[inline(always)]
    unsafe fn add(a: Self::Sums, b: Self::Sums) -> Self::Sums {
        <Self as Dot>::S::add(a, b)
    }
    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        <Self as Dot>::S::splat(0.0)
    }
    #[inline(always)]
    unsafe fn load_sums(from: *const f32) -> Self::Sums {
        <Self as Dot>::S::load(from)
    }
    #[inline(always)]
    unsafe fn store_sums(to: *mut f32, sums: Self::Sums) {
        <Self as Dot>::S::store(to, sums);
    }
    #[inline(always)]
    unsafe fn accumulate(sums: Self::Sums, weights: Self::Register, x: Self::Register) -> Self::Sums {
        dot_bf16(sums, weights, x)
    }
}
