//! Bytes of everything except weights: KV cache, activations, staging buffers, reserve. The engine
//! sizes its buffers with the same constants, so that planned and actual bytes agree.
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

/// Maximum number of rows (tokens) in one forward pass.
pub const CHUNK_TOKENS: usize = 512;
/// Positions of one KV block.
pub const KV_BLOCK_TOKENS: usize = 32;
/// Maximum number of rows with logits in one forward pass.
pub const LOGITS_ROWS: usize = 64;
/// Maximum number of reader threads. A core copies 5 to 10 GB/s from the page cache, whereas a GPU
/// link transfers 50 GB/s. Each reader may have a staging buffer.
pub const READERS_MAX: usize = 16;
/// Staging bytes of a reader that converts dtypes: 4 MiB of elements as stored, and 8 MiB for the
/// same elements in f32.
pub const STAGING_PER_READER_BYTES: u64 = 12 << 20;
/// Bytes of the conversion buffer on each GPU.
pub const GPU_STAGING_BYTES: u64 = 4 << 20;
/// Bytes of the ring of pinned host buffers for uploads to all GPUs.
pub const PINNED_RING_BYTES: u64 = 128 << 20;
/// Bytes of pinned host memory per GPU, for the small copies of a forward pass.
pub const GPU_PINNED_BYTES: u64 = 4 << 20;
/// Bytes of GPU memory reserved for the CUDA driver, its context and kernels.
pub const DRIVER_BYTES: u64 = 768 << 20;
/// Bytes of host memory reserved for the program: code, stacks, tokenizer, headers.
pub const PROGRAM_BYTES: u64 = 128 << 20;

/// Bytes that a model needs under given limits, excluding weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the KV cache of one layer, for all sequences.
    pub kv_per_layer_bytes: u64,
    /// Number of KV blocks of [`KV_BLOCK_TOKENS`] positions.
    pub kv_blocks: usize,
    /// Bytes of the buffers of one forward pass, on each tier that computes.
    pub activations_bytes: u64,
    /// Bytes of the buffers of a forward pass that only GPUs have.
    pub gpu_pass_bytes: u64,
    /// Bytes of logits, which are part of `activations_bytes`.
    pub logits_bytes: u64,
    /// Bytes of host buffers for a forward pass if only GPUs compute.
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
