//! Weights in blocks of integer codes, multiplied in their own form.
//!
//! Every format is a sequence of 32-blocks: 32 unsigned codes `c` with a zero point `z`, a scale
//! (two, of 16 codes each, in Q6_K) and perhaps a minimum `m`; the weight is `scale * (c - z) + m`.
//! Activations are whole numbers of 8 or 16 bits in blocks of 32 with an f32 scale `dx`. The 16
//! bits are two bytes, each multiplied as the 8 are: twice the multiplications on the same weights.
//! An output element is one chain over the blocks in order,
//!
//! ```text
//! acc = fma(f32(sum((c - z) * x)), scale * dx, acc)        the inner sum is in integers, hence exact
//! acc = fma(m, dx * sum(x), acc)                           where the format has minima
//! ```
//!
//! whatever the kernel set, the number of tokens and the way the codes are moved about. Formats:
//! the GGUF specification and the layout comments of ggml's block types.

mod activations;
mod dequantize;
mod direct;
mod formats;
mod panel;
mod q8;
mod tile;

pub(super) use activations::{CodeRows, CodeView};
pub(super) use dequantize::dequantize;
pub(super) use panel::{Panel, PanelShape};
pub(super) use tile::{GROUP_ROWS, QuantJob, multiply};

/// Elements of an activation block and of the smallest weight block.
pub(super) const BLOCK: usize = 32;
