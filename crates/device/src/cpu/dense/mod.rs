//! Matrix multiplication of activations with f32, f16 and bf16 weights.
//!
//! Every output element is computed in the same way, whatever the tile shape: a vector of 16
//! accumulators over the chunks of k in order, reduced by a fixed tree. A chunk has 32 elements
//! with the bf16 dot product instruction (two neighbors per lane), otherwise 16.
#![allow(unsafe_op_in_unsafe_fn)]

mod direct;
mod dot;
mod layout;
mod packed;
mod prefetch;

use std::ops::Range;

use checkpoint::Dtype;

use super::KernelSet;
use super::dispatch::kernel;
use super::simd::{LANES, Simd};
pub(super) use dot::CHUNK_BYTES;
use dot::{F32Dot, WeightBf16, WeightF16, WeightF32};
pub(super) use layout::{ActivationLayout, LANE_ORDER, TileOrder, token_bytes};
use packed::PackPlan;

/// Multiplication of some rows of a weight matrix with some tiles of tokens.
pub(super) struct GemmJob {
    /// First of `rows` readable rows of `cols` weights, `row_bytes` apart, unaligned.
    pub weights: *const u8,
    pub row_bytes: usize,
    pub rows: usize,
    pub cols: usize,
    /// Address of the weights that this thread probably multiplies next: prefetched, never read.
    pub next: *const u8,
    pub x: DenseActivations,
    /// Tiles of tokens to multiply.
    pub tiles: Range<usize>,
    /// Bias of the rows, `[rows]`, or null.
    pub bias: *const f32,
    /// Output of the first row and token; tokens are `out_stride` elements apart.
    pub out: *mut f32,
    pub out_stride: usize,
}

/// Packed activations in `layout`, zero-padded to whole chunks.
#[derive(Clone, Copy)]
pub(super) struct DenseActivations {
    pub start: *const u8,
    pub token_bytes: usize,
    pub layout: ActivationLayout,
}

impl DenseActivations {
    /// Address of the first word of tile `tile`.
    fn tile(&self, tile: usize) -> *const u8 {
        self.start.wrapping_add(self.layout.tile(tile).start * self.token_bytes)
    }
}

/// Dtypes of a matrix multiplication with dense weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenseKind {
    /// f32 activations, weights of this dtype.
    F32(Dtype),
    /// bf16 activations and weights (bf16 dot product instruction).
    Bf16,
}

/// Layout of the activations of `tokens` tokens for a kernel set. Packed weights are faster from
/// some number of tokens on.
pub(super) fn layout(set: KernelSet, tokens: usize) -> ActivationLayout {
    let (direct, widest) = if is_wide(set) { (24, 12) } else { (8, 6) };
    if tokens <= direct {
        ActivationLayout::new(tokens, direct::TOKENS_MAX, TileOrder::Chunks)
    } else {
        ActivationLayout::new(tokens, widest, TileOrder::Lanes)
    }
}

fn is_wide(set: KernelSet) -> bool {
    matches!(set, KernelSet::Avx512 | KernelSet::Avx512Bf16)
}

/// Computes `job`.
///
/// # Safety
/// Every pointer of `job` is valid as its field says, and no other thread accesses its outputs.
pub(super) unsafe fn multiply(set: KernelSet, kind: DenseKind, job: &GemmJob) {
    let multiply = |plan: Option<&PackPlan>| match kind {
        DenseKind::F32(dtype) => multiply_f32(set, dtype, job, plan),
        #[cfg(target_arch = "x86_64")]
        DenseKind::Bf16 => multiply_bf16(job, plan),
        #[cfg(not(target_arch = "x86_64"))]
        DenseKind::Bf16 => unreachable!("only the x86-64 kernel sets have a bf16 instruction"),
    };
    if job.x.layout.order() == TileOrder::Chunks {
        return multiply(None);
    }
    let chunk = if kind == DenseKind::Bf16 { 2 * LANES } else { LANES };
    let register_lanes = if set == KernelSet::Avx2 { LANES / 2 } else { LANES };
    PackPlan::with(job, register_lanes, chunk, |plan| multiply(Some(plan)));
}

kernel! { unsafe fn multiply_f32(dtype: Dtype, job: &GemmJob, plan: Option<&PackPlan>) = multiply_f32_body }

#[inline(always)]
unsafe fn multiply_f32_body<S: Simd>(dtype: Dtype, job: &GemmJob, plan: Option<&PackPlan>) {
    match dtype {
        Dtype::BF16 => multiply_by::<F32Dot<S, WeightBf16>>(job, plan),
        Dtype::F16 => multiply_by::<F32Dot<S, WeightF16>>(job, plan),
        _ => multiply_by::<F32Dot<S, WeightF32>>(job, plan),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
unsafe fn multiply_bf16(job: &GemmJob, plan: Option<&PackPlan>) {
    multiply_by::<dot::Bf16Dot>(job, plan);
}

#[inline(always)]
unsafe fn multiply_by<D: dot::Dot>(job: &GemmJob, plan: Option<&PackPlan>) {
    match plan {
        None => direct::all::<D>(job),
        Some(plan) => packed::all::<D>(job, plan),
    }
}
