//! Bytes of the buffers for the activations of one forward pass.
use super::{CHUNK_TOKENS, KV_BLOCK_TOKENS, LOGITS_ROWS};
use checkpoint::ModelConfig;

/// As in `device::cuda`: the query rows of one attention tile, which are processed in one pass over
/// the keys, and the bytes of softmax states for splits of the keys that are computed in parallel.
const ATTENTION_TILE_ROWS: usize = 32;
const ATTENTION_STATES_BYTES: u64 = 16 << 20;
/// 4-byte words of a chosen expert of a row: expert, weight, slot and row.
const ROUTE_WORDS: usize = 4;

/// Widths of the buffers of a forward pass, in f32 elements per row. All layers of a tier use the
/// same buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationWidths {
    /// Three buffers of `hidden_size`: the residual stream, its norm, and the output of attention
    /// or MLP.
    pub hidden: usize,
    /// Queries.
    pub queries: usize,
    /// Keys and values.
    pub keys_values: usize,
    /// Output of attention.
    pub attended: usize,
    /// Gate and up projections of the widest MLP.
    pub mlp: usize,
    /// Mixture of experts: the router's logits, and for each expert of a row the gate and up
    /// projections, the output and the route.
    pub experts: usize,
    /// Packed activations for a matrix multiplication, as wide as its widest input.
    pub inputs: usize,
}

impl ActivationWidths {
    pub fn of(c: &ModelConfig) -> ActivationWidths {
        let heads = |dim: usize| c.heads * dim;
        let (queries, keys_values, attended) = match c.mla {
            // Latent attention also stores queries and the output of attention in the latent space.
            Some(mla) => (
                heads(c.head_dim + mla.kv_lora_rank + mla.qk_rope_head_dim)
                    + 2 * mla.q_lora_rank.unwrap_or(0),
                mla.kv_lora_rank + mla.qk_rope_head_dim,
                heads(mla.kv_lora_rank + mla.v_head_dim),
            ),
            None => {
                (heads(c.head_dim), c.kv_heads * (c.head_dim + c.value_dim()), heads(c.value_dim()))
            }
        };
        let wide = c.mlp_width();
        let q_lora_rank = c.mla.and_then(|mla| mla.q_lora_rank).unwrap_or(0);
        // The inputs of a row's experts are packed side by side.
        let slots = c.moe.as_ref().map_or(0, |moe| {
            moe.experts_per_token * padded(c.hidden_size.max(moe.intermediate_size))
        });
        ActivationWidths {
            hidden: 3 * c.hidden_size,
            queries,
            keys_values,
            attended,
            mlp: 2 * wide,
            experts: c.moe.as_ref().map_or(0, |moe| {
                let slot = moe.intermediate_size + moe.up_width() + c.hidden_size + ROUTE_WORDS;
                moe.experts + 1 + moe.experts_per_token * slot
            }),
            inputs: padded(
                c.hidden_size.max(heads(c.value_dim())).max(q_lora_rank).max(wide).max(slots),
            ),
        }
    }

    pub fn numbers(&self) -> usize {
        let ActivationWidths { hidden, queries, keys_values, attended, mlp, experts, inputs } =
            self;
        hidden + queries + keys_values + attended + mlp + experts + inputs
    }
}

/// Packed rows are padded to a multiple of 16 elements.
fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Bytes of the buffers of one forward pass: at most [`CHUNK_TOKENS`] rows of activations,
/// [`LOGITS_ROWS`] rows of logits, and the RoPE table for all positions of the context.
pub fn activation_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    let pass = rows * (ActivationWidths::of(config).numbers() + 1);
    let table = context.saturating_mul(config.rope.rotary_dim);
    4 * pass.saturating_add(table) as u64 + logits_bytes(config)
}

/// Bytes of the logits buffer. Only the tier of the head and the host have one.
pub fn logits_bytes(config: &ModelConfig) -> u64 {
    4 * (LOGITS_ROWS * config.vocab_size) as u64
}

/// Bytes that a GPU needs for a forward pass in addition to [`activation_bytes`]: positions, block
/// tables (each row may belong to a different sequence), and the softmax states of attention
/// splits.
pub fn gpu_pass_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    let tiles = rows * (config.heads / config.kv_heads.max(1)) / ATTENTION_TILE_ROWS + 2 * rows;
    let entries = rows.saturating_mul(context.div_ceil(KV_BLOCK_TOKENS));
    4 * (5 * rows + 4 * rows + 2 * tiles).saturating_add(entries) as u64 + ATTENTION_STATES_BYTES
}

/// Host bytes of a forward pass if only GPUs compute: the embedded rows of the residual stream, and
/// [`LOGITS_ROWS`] rows of logits for sampling.
pub fn crossing_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    4 * (rows * (config.hidden_size + 1)) as u64 + logits_bytes(config)
}
