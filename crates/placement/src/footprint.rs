//! How many bytes everything takes. The engine sizes its buffers with the same constants.
use crate::{DtypeChoice, Limits};
use checkpoint::{Dtype, Inventory, ModelConfig, expected_tensors};

/// Rows of the largest forward pass.
pub const CHUNK_TOKENS: usize = 512;
/// Positions in one KV block.
pub const KV_BLOCK_TOKENS: usize = 32;
/// Rows whose logits are computed in one pass.
const LOGITS_ROWS: usize = 64;
/// Buffers between disk and a tier.
const STAGING_BYTES: u64 = 64 << 20;
/// What a driver and its libraries keep on a card.
const DRIVER_BYTES: u64 = 1 << 30;

/// What a model takes, module by module.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    /// Weights of each module, as computed with.
    pub module_weights: Vec<u64>,
    /// Keys and values of one block, for all sequences.
    pub kv_per_layer: u64,
    /// KV blocks of [`KV_BLOCK_TOKENS`] positions.
    pub kv_blocks: usize,
    /// Buffers of one forward pass, on each tier that computes.
    pub activations: u64,
    /// Buffers between disk and a tier, on each tier.
    pub staging: u64,
    /// Kept free on a card for its driver.
    pub driver: u64,
}

impl Footprint {
    /// The footprint of a model under limits.
    pub fn of(config: &ModelConfig, inventory: &Inventory, limits: &Limits) -> Footprint {
        let kv_blocks = limits.context.div_ceil(KV_BLOCK_TOKENS) * limits.concurrency.max(1);
        let per_position = match config.mla {
            Some(mla) => mla.kv_lora_rank + mla.qk_rope_head_dim,
            None => 2 * config.kv_heads * config.head_dim,
        };
        let kv_bytes = if computes_f32(config, limits.dtype) { 4 } else { 2 };
        Footprint {
            module_weights: module_weights(config, inventory, limits.dtype),
            kv_per_layer: (kv_blocks * KV_BLOCK_TOKENS * per_position * kv_bytes) as u64,
            kv_blocks,
            activations: activations(config, limits.context),
            staging: STAGING_BYTES,
            driver: DRIVER_BYTES,
        }
    }

    /// All weights.
    pub fn weights(&self) -> u64 {
        self.module_weights.iter().sum()
    }
}

fn computes_f32(config: &ModelConfig, dtype: DtypeChoice) -> bool {
    dtype == DtypeChoice::F32 || (dtype == DtypeChoice::Auto && config.dtype == Some(Dtype::F32))
}

/// Bytes that a tensor takes once loaded: matrices follow the dtype asked for, vectors stay as they are.
pub(crate) fn loaded_bytes(dtype: Dtype, shape: &[usize], choice: DtypeChoice) -> u64 {
    let elements: u64 = shape.iter().map(|d| *d as u64).product();
    let stored = dtype.bytes_for(elements).unwrap_or(u64::MAX);
    let plain = matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64);
    let matrix = shape.len() >= 2 && plain;
    let columns = shape.last().copied().unwrap_or(0);
    match choice {
        DtypeChoice::Bf16 | DtypeChoice::F16 if matrix => elements * 2,
        DtypeChoice::Int8 if matrix && columns.is_multiple_of(32) => elements / 32 * 34,
        _ => stored,
    }
}

fn module_weights(config: &ModelConfig, inventory: &Inventory, choice: DtypeChoice) -> Vec<u64> {
    let mut bytes = vec![0; config.layers + 3];
    for expected in expected_tensors(config) {
        let tied_head = config.tie_word_embeddings && expected.name == "lm_head.weight";
        if let Some(tensor) = inventory.get(&expected.name).filter(|_| !tied_head) {
            bytes[expected.module] += loaded_bytes(tensor.dtype, &tensor.shape, choice);
        }
    }
    bytes
}

/// f32 buffers of one forward pass of [`CHUNK_TOKENS`] rows.
fn activations(c: &ModelConfig, context: usize) -> u64 {
    let wide = c.intermediate_size.max(c.moe.map_or(0, |m| m.intermediate_size * m.experts_per_token));
    let qkv = (c.heads + 2 * c.kv_heads) * c.head_dim;
    let row = 4 * c.hidden_size + 2 * qkv + 3 * wide;
    let logits = LOGITS_ROWS * c.vocab_size;
    let tables = context * c.rope.rotary_dim;
    4 * (CHUNK_TOKENS * row + logits + tables) as u64
}
