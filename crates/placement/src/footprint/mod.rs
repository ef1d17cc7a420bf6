//! How many bytes everything takes. The engine sizes its buffers with the same constants, so that
//! what was planned is what is used.
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

/// Most rows of one forward pass.
pub const CHUNK_TOKENS: usize = 512;
/// Positions of one KV block.
pub const KV_BLOCK_TOKENS: usize = 32;
/// Most rows whose logits one pass computes.
pub const LOGITS_ROWS: usize = 64;
/// Most threads that read at a time. What is in the page cache, a core copies at 5 to 10 GB/s, and
/// a GPU takes 50; each may hold a staging buffer.
pub const READERS_MAX: usize = 16;
/// What one reader holds of a tensor that is converted on its way: 4 MiB as stored, and those
/// numbers as f32.
pub const STAGING_PER_READER_BYTES: u64 = 12 << 20;
/// The buffer on a GPU in which weights wait for their conversion, and each of the pinned ones from
/// which they come.
pub const GPU_STAGING_BYTES: u64 = 4 << 20;
/// Pinned host memory through which weights go to the GPUs.
pub const PINNED_RING_BYTES: u64 = 128 << 20;
/// Pinned host memory of each GPU, through which a pass's small copies go.
pub const GPU_PINNED_BYTES: u64 = 4 << 20;
/// What a driver, its libraries and their kernels keep on a GPU.
pub const DRIVER_BYTES: u64 = 768 << 20;
/// What the program itself takes on the host: code, stacks, tokenizer, headers.
pub const PROGRAM_BYTES: u64 = 128 << 20;

/// What a model takes under limits, apart from its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Keys and values of one block of the model, for all sequences.
    pub kv_per_layer_bytes: u64,
    /// KV blocks of [`KV_BLOCK_TOKENS`] positions.
    pub kv_blocks: usize,
    /// Buffers of one forward pass, on each tier that computes.
    pub activations_bytes: u64,
    /// What a GPU has of a pass besides these.
    pub gpu_pass_bytes: u64,
    /// What of them is for logits.
    pub logits_bytes: u64,
    /// Buffers of a pass on the host where only GPUs compute.
    pub crossing_bytes: u64,
}

impl Footprint {
    /// The footprint of a model under limits.
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
