//! Float weights times activations.
//!
//! An output element is one vector of 16 accumulators over chunks of k in order, added up by a
//! fixed tree at the end, in every tile shape. With the bf16 instruction a chunk has 32 elements (a
//! lane takes two neighbors), otherwise 16.
#![allow(unsafe_op_in_unsafe_fn)]

mod direct;
mod dot;
mod layout;
mod outer;

use std::ops::Range;

use checkpoint::Dtype;

use super::KernelSet;
use super::dispatch::kernel;
use super::simd::{LANES, Simd};
pub(super) use dot::CHUNK_BYTES;
use dot::{F32Dot, WeightBf16, WeightF16, WeightF32};
pub(super) use layout::{LANE_ORDER, Layout, Order, token_bytes};
use outer::Cut;

/// Rows of a weight matrix times tokens.
pub(super) struct Block {
    /// The first row, readable for `rows` rows of `cols` weights, `row_bytes` apart, at any
    /// alignment.
    pub weights: *const u8,
    pub row_bytes: usize,
    pub rows: usize,
    pub cols: usize,
    /// Where the weights begin that this thread probably takes next: asked for meanwhile, never
    /// read.
    pub next: *const u8,
    pub x: Activations,
    /// The tiles of tokens to multiply.
    pub tiles: Range<usize>,
    /// One a row, or null.
    pub bias: *const f32,
    /// The first row's output of the first token; tokens are `out_stride` elements apart.
    pub out: *mut f32,
    pub out_stride: usize,
}

/// Activations, laid out as `layout` says, zeros from their columns to the last chunk's end.
#[derive(Clone, Copy)]
pub(super) struct Activations {
    pub start: *const u8,
    pub token_bytes: usize,
    pub layout: Layout,
}

impl Activations {
    /// Where a tile begins.
    fn tile(&self, tile: usize) -> *const u8 {
        self.start.wrapping_add(self.layout.tile(tile).start * self.token_bytes)
    }
}

/// The form of the activations of a dense product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenseKind {
    /// f32 activations and weights of this dtype.
    F32(Dtype),
    /// bf16 activations and weights, by the bf16 instruction.
    Bf16,
}

/// How so many tokens lie for a kernel set. A copy of weights costs as much as some tokens.
pub(super) fn layout(set: KernelSet, tokens: usize) -> Layout {
    let (direct, widest) = if is_wide(set) { (24, 12) } else { (8, 6) };
    if tokens <= direct {
        Layout::new(tokens, direct::MOST_TOKENS, Order::Chunks)
    } else {
        Layout::new(tokens, widest, Order::Lanes)
    }
}

fn is_wide(set: KernelSet) -> bool {
    matches!(set, KernelSet::Avx512 | KernelSet::Avx512Bf16)
}

/// Computes a block of rows.
///
/// # Safety
/// Every pointer of `block` is good for what its field says, and nobody else touches its outputs.
pub(super) unsafe fn multiply(set: KernelSet, kind: DenseKind, block: &Block) {
    let multiply = |cut: Option<&Cut>| match kind {
        DenseKind::F32(dtype) => multiply_f32(set, dtype, block, cut),
        #[cfg(target_arch = "x86_64")]
        DenseKind::Bf16 => multiply_bf16(block, cut),
        #[cfg(not(target_arch = "x86_64"))]
        DenseKind::Bf16 => unreachable!("only the x86-64 kernel sets have a bf16 instruction"),
    };
    if block.x.layout.order() == Order::Chunks {
        return multiply(None);
    }
    let chunk = if kind == DenseKind::Bf16 { 2 * LANES } else { LANES };
    let register_lanes = if set == KernelSet::Avx2 { LANES / 2 } else { LANES };
    Cut::with(block, register_lanes, chunk, |cut| multiply(Some(cut)));
}

kernel! { unsafe fn multiply_f32(dtype: Dtype, block: &Block, cut: Option<&Cut>) = multiply_f32_body }

#[inline(always)]
unsafe fn multiply_f32_body<S: Simd>(dtype: Dtype, block: &Block, cut: Option<&Cut>) {
    match dtype {
        Dtype::BF16 => multiply_by::<F32Dot<S, WeightBf16>>(block, cut),
        Dtype::F16 => multiply_by::<F32Dot<S, WeightF16>>(block, cut),
        _ => multiply_by::<F32Dot<S, WeightF32>>(block, cut),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
unsafe fn multiply_bf16(block: &Block, cut: Option<&Cut>) {
    multiply_by::<dot::Bf16Dot>(block, cut);
}

#[inline(always)]
unsafe fn multiply_by<D: dot::Dot>(block: &Block, cut: Option<&Cut>) {
    match cut {
        None => direct::all::<D>(block),
        Some(cut) => outer::all::<D>(block, cut),
    }
}
