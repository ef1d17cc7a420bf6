//! Float weights times activations.
//!
//! An output element is one vector of 16 accumulators over chunks of k in order, added up by a fixed tree at the end, in every tile
//! shape. With the bf16 instruction a chunk has 32 elements (a lane takes two neighbours), otherwise 16.
#![allow(unsafe_op_in_unsafe_fn)]

mod dot;
mod pack;
mod tile;

use checkpoint::Dtype;

use super::KernelSet;
use super::dispatch::kernel;
use super::simd::Simd;
use dot::{F32Dot, WeightBf16, WeightF16, WeightF32};
pub(super) use tile::Block;

/// The form of the activations of a dense product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenseKind {
    /// f32 activations and weights of this dtype.
    F32(Dtype),
    /// bf16 activations and weights, by the bf16 instruction.
    Bf16,
}

/// Computes a block of rows for all tokens.
///
/// # Safety
/// Every pointer of `block` is good for what its field says, and nobody else touches its outputs.
pub(super) unsafe fn multiply(set: KernelSet, kind: DenseKind, block: &Block) {
    let multiply = |block: &Block| match kind {
        DenseKind::F32(dtype) => multiply_f32(set, dtype, block),
        #[cfg(target_arch = "x86_64")]
        DenseKind::Bf16 => multiply_bf16(block),
        #[cfg(not(target_arch = "x86_64"))]
        DenseKind::Bf16 => unreachable!("only the x86-64 kernel sets have a bf16 instruction"),
    };
    if block.tokens < pack::TOKENS_MIN {
        return multiply(block);
    }
    let dtype = match kind {
        DenseKind::F32(dtype) => dtype,
        DenseKind::Bf16 => Dtype::BF16,
    };
    pack::in_copies(block, block.cols * dtype.block_bytes(), multiply);
}

kernel! { unsafe fn multiply_f32(dtype: Dtype, block: &Block) = multiply_f32_body }

#[inline(always)]
unsafe fn multiply_f32_body<S: Simd>(dtype: Dtype, block: &Block) {
    match dtype {
        Dtype::BF16 => tile::all::<F32Dot<S, WeightBf16>>(block),
        Dtype::F16 => tile::all::<F32Dot<S, WeightF16>>(block),
        _ => tile::all::<F32Dot<S, WeightF32>>(block),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
unsafe fn multiply_bf16(block: &Block) {
    tile::all::<dot::Bf16Dot>(block);
}
