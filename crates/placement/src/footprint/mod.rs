//! Bytes of everything but weights: KV cache, activations, staging, reserve. The engine sizes its
//! buffers with the same constants, so that planned and actual bytes agree.
mod activations;
mod kv;
mod weights;

pub use activations::{
    ActivationWidths, activation_bytes, crossing_bytes, gpu_pass_bytes, logits_bytes,
};
pub use kv::kv_layer_bytes;
pub use weights::{ModuleWeights, Weights};

use crate::Limits;
use checkpoint::ModelConfig;

/// Rows of one forward pass at most.
pub const CHUNK_TOKENS: usize = 512;
/// Positions of one KV block.
pub const KV_BLOCK_TOKENS: usize = 32;
/// Rows with logits in one forward pass at most.
pub const LOGITS_ROWS: usize = 64;
/// Reader threads at most. A core copies 5 to 10 GB/s from the page cache and a GPU link takes 50;
/// each reader may hold a staging buffer.
pub const READERS_MAX: usize = 16;
/// Staging bytes of one reader that converts dtypes: 4 MiB as stored, and the same elements in f32.
pub const STAGING_PER_READER_BYTES: u64 = 12 << 20;
/// Bytes of the conversion buffer on each GPU.
pub const GPU_STAGING_BYTES: u64 = 4 << 20;
/// Bytes of the ring of pinned host buffers that feeds all GPUs.
pub const PINNED_RING_BYTES: u64 = 128 << 20;
/// Bytes of pinned host memory for each GPU's small copies of a forward pass.
pub const GPU_PINNED_BYTES: u64 = 4 << 20;
/// GPU memory reserved for driver, context and kernels.
pub const DRIVER_BYTES: u64 = 768 << 20;
/// Host memory reserved for the program: code, stacks, tokenizer, headers.
pub const PROGRAM_BYTES: u64 = 128 << 20;

/// Bytes that a model takes under given limits, weights excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// KV cache of one layer, all sequences.
    pub kv_per_layer_bytes: u64,
    /// KV blocks of [`KV_BLOCK_TOKENS`] positions.
    pub kv_blocks: usize,
    /// Buffers of one forward pass, on each tier that computes.
    pub activations_bytes: u64,
    /// Buffers of a forward pass that only GPUs have.
    pub gpu_pass_bytes: u64,
    /// The part of the activations that holds logits.
    pub logits_bytes: u64,
    /// Host buffers of a forward pass where only GPUs compute.
    pub crossing_bytes: u64,
}

impl Footprint {
    pub fn of(config: &ModelConfig, limits: &Limits) -> Footprint {
        let kv_blocks =
            limits.context.div_ceil(KV_BLOCK_TOKENS).saturating_mul(limits.concurrency.max(1));
        Footprint {
            kv_per_layer_bytes: kv_layer_bytes(config, limits.kv_kept(config), kv_blocks),
            kv_blocks,
            activations_bytes: activation_bytes(config, limits.context),
            gpu_pass_bytes: gpu_pass_bytes(config, limits.context),
            logits_bytes: logits_bytes(config),
            crossing_bytes: crossing_bytes(config, limits.context),
        }
    }
}
