use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx512, dot_bf16, first};
use super::super::simd::{LANES, Simd};

/// How a chunk of weights meets a chunk of activations.
pub(super) trait Dot {
    type S: Simd;
    type Chunk: Copy;
    /// Elements of a chunk.
    const CHUNK: usize;
    /// Bytes of a weight.
    const WEIGHT_BYTES: usize;
    /// Bytes of an activation.
    const X_BYTES: usize;

    unsafe fn weights(from: *const u8) -> Self::Chunk;
    /// The first `n` weights, zeros after them.
    unsafe fn weights_part(from: *const u8, n: usize) -> Self::Chunk;
    unsafe fn activations(from: *const u8) -> Self::Chunk;
    unsafe fn accumulate(acc: F<Self>, weights: Self::Chunk, x: Self::Chunk) -> F<Self>;
}

/// The accumulators of a dot product.
pub(super) type F<D> = <<D as Dot>::S as Simd>::F;

/// How weights become f32.
pub(super) trait Weight {
    const BYTES: usize;
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
    unsafe fn load_part<S: Simd>(from: *const u8, n: usize) -> S::F;
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
weight!(WeightBf16, 2, load_bf16, load_bf16_part);

/// Weights widened to f32, f32 activations.
pub(super) struct F32Dot<S, W>(PhantomData<(S, W)>);

impl<S: Simd, W: Weight> Dot for F32Dot<S, W> {
    type S = S;
    type Chunk = S::F;
    const CHUNK: usize = LANES;
    const WEIGHT_BYTES: usize = W::BYTES;
    const X_BYTES: usize = 4;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> S::F {
        W::load::<S>(from)
    }
    #[inline(always)]
    unsafe fn weights_part(from: *const u8, n: usize) -> S::F {
        W::load_part::<S>(from, n)
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

/// bf16 weights, bf16 activations, `vdpbf16ps`.
#[cfg(target_arch = "x86_64")]
pub(super) struct Bf16Dot;

#[cfg(target_arch = "x86_64")]
impl Dot for Bf16Dot {
    type S = Avx512<true>;
    type Chunk = std::arch::x86_64::__m512i;
    const CHUNK: usize = 2 * LANES;
    const WEIGHT_BYTES: usize = 2;
    const X_BYTES: usize = 2;

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
    #[inline(always)]
    unsafe fn activations(from: *const u8) -> Self::Chunk {
        std::arch::x86_64::_mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn accumulate(acc: F<Self>, weights: Self::Chunk, x: Self::Chunk) -> F<Self> {
        dot_bf16(acc, weights, x)
    }
}
