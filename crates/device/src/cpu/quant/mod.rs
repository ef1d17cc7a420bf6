//! Multiplication of block-quantized (GGUF) weights with quantized activations, in integers.
//!
//! Every format stores a sequence of quantization blocks of 32 weights: 32 unsigned codes `c`, a
//! zero point `z`, a scale (two, of 16 codes each, in Q6_K) and in some formats a minimum `m`; the
//! weight is `scale * (c - z) + m`. Activations are quantized to 8 or 16 bits in blocks of 32 with
//! an f32 scale `dx`. A 16-bit code is multiplied as two bytes, which doubles the multiplications.
//! An output element is accumulated over the blocks in order,
//!
//! ```text
//! acc = fma(f32(sum((c - z) * x)), scale * dx, acc)   with an exact inner sum in integers
//! acc = fma(m, dx * sum(x), acc)                      where the format has minima
//! ```
//!
//! independently of the kernel set, the number of tokens and the layout of the codes. The formats
//! follow the GGUF specification and ggml's block types.

mod activations;
mod dequantize;
mod direct;
mod formats;
mod fp4;
mod panel;
mod q8;
mod tile;

pub(super) use activations::{CodeRows, CodeView};
pub(super) use dequantize::dequantize;
pub(super) use panel::{Panel, PanelShape};
pub(super) use tile::{GROUP_ROWS, QuantJob, multiply};

/// Elements of a quantization block, of activations and of weights.
pub(super) const BLOCK: usize = 32;
