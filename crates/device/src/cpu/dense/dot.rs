//! Dot products of one chunk, for each dtype of weights.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm512_castps_si512, _mm512_castsi512_ps, _mm512_maskz_loadu_epi16};
use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
use super::super::simd::{Avx512, dot_bf16, first};
use super::super::simd::{LANES, Simd};

/// Bytes of a chunk of activations and of packed weights.
pub(in crate::cpu) const CHUNK_BYTES: usize = 64;

/// Multiplication of a chunk of weights with a chunk of activations. A chunk is 16 words of 4
/// bytes, each of which is one f32 or a pair of bf16; a vector of f32 holds the bits of either.
pub(super) trait Dot {
    type S: Simd;
    /// Elements of a chunk.
    const CHUNK: usize;
    /// Bytes of one weight.
    const WEIGHT_BYTES: usize;

    unsafe fn weights(from: *const u8) -> F<Self>;
    /// Loads the first `n` weights of a chunk, zero-padded.
    unsafe fn weights_part(from: *const u8, n: usize) -> F<Self>;
    /// Chunks in one [`Self::raw`] load, the unit of packing: 2 for bf16 weights that are widened
    /// to f32, otherwise 1.
    const RAW_CHUNKS: usize;
    unsafe fn raw(from: *const u8) -> F<Self>;
    /// Splits a column of raw words of 16 rows into one column for each of its chunks.
    unsafe fn columns(raw: F<Self>) -> [F<Self>; 2];
    unsafe fn accumulate(acc: F<Self>, weights: F<Self>, x: F<Self>) -> F<Self>;
    /// [`Self::accumulate`] on registers that hold the same lane of several rows.
    unsafe fn accumulate_register(acc: R<Self>, weights: R<Self>, x: R<Self>) -> R<Self>;
}

/// Vector type, of 16 lanes.
pub(super) type F<D> = <<D as Dot>::S as Simd>::F;
/// Type of one hardware register.
pub(super) type R<D> = <<D as Dot>::S as Simd>::Register;

/// Conversion of weights to f32.
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
    /// Two chunks, since bf16 pairs are transposed before they are widened.
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

/// Dot product of weights that are widened to f32 with f32 activations.
pub(super) struct F32Dot<S, W>(PhantomData<(S, W)>);

impl<S: Simd, W: Weight> Dot for F32Dot<S, W> {
    type S = S;
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
    unsafe fn accumulate(acc: S::F, weights: S::F, x: S::F) -> S::F {
        S::fma(weights, x, acc)
    }
    #[inline(always)]
    unsafe fn accumulate_register(
        acc: S::Register,
        weights: S::Register,
        x: S::Register,
    ) -> S::Register {
        S::fma_register(weights, x, acc)
    }
}

/// Dot product of bf16 weights with bf16 activations (`vdpbf16ps`).
#[cfg(target_arch = "x86_64")]
pub(super) struct Bf16Dot;

#[cfg(target_arch = "x86_64")]
impl Dot for Bf16Dot {
    type S = Avx512<true>;
    const CHUNK: usize = 2 * LANES;
    const WEIGHT_BYTES: usize = 2;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> F<Self> {
        Self::S::load(from.cast())
    }
    #[inline(always)]
    unsafe fn weights_part(from: *const u8, n: usize) -> F<Self> {
        let low = u32::from(first(n));
        let high = u32::from(first(n.saturating_sub(LANES)));
        _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(low | high << 16, from.cast()))
    }
    const RAW_CHUNKS: usize = 1;
    #[inline(always)]
    unsafe fn raw(from: *const u8) -> F<Self> {
        Self::weights(from)
    }
    #[inline(always)]
    unsafe fn columns(raw: F<Self>) -> [F<Self>; 2] {
        [raw; 2]
    }
    #[inline(always)]
    unsafe fn accumulate(acc: F<Self>, weights: F<Self>, x: F<Self>) -> F<Self> {
        dot_bf16(acc, _mm512_castps_si512(weights), _mm512_castps_si512(x))
    }
    #[inline(always)]
    unsafe fn accumulate_register(acc: R<Self>, weights: R<Self>, x: R<Self>) -> R<Self> {
        Self::accumulate(acc, weights, x)
    }
}
