//! The buffers of one forward pass.
use super::{CHUNK_TOKENS, KV_BLOCK_TOKENS, LOGITS_ROWS};
use checkpoint::ModelConfig;

/// As `device::cuda` has them: query rows that share a pass over the keys, and memory for splits of
/// keys that are computed side by side.
const ATTENTION_TILE_ROWS: usize = 32;
const ATTENTION_STATES_BYTES: u64 = 16 << 20;

/// How wide the buffers of a pass are, in f32 numbers a row. Blocks use them in turn: there is one
/// set a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivationWidths {
    /// Residual stream, its norm, and what a part of a block gives back: three of `hidden`.
    pub hidden: usize,
    /// Queries.
    pub queries: usize,
    /// Keys and values.
    pub keys_values: usize,
    /// What attention gathers.
    pub attended: usize,
    /// Gate and up of the widest MLP.
    pub mlp: usize,
    /// Routing: scores of all experts, and a gathered row in and out of one.
    pub experts: usize,
    /// The copy of a product's inputs in the form that the weights need: as wide as the widest
    /// input.
    pub inputs: usize,
}

impl ActivationWidths {
    /// The widths of a model.
    pub fn of(c: &ModelConfig) -> ActivationWidths {
        let heads = |dim: usize| c.heads * dim;
        let (queries, keys_values, attended) = match c.mla {
            // Queries also once in the latent space, and the latents that attention gathers.
            Some(mla) => (
                heads(c.head_dim + mla.kv_lora_rank + mla.qk_rope_head_dim)
                    + mla.q_lora_rank.unwrap_or(0),
                2 * (mla.kv_lora_rank + mla.qk_rope_head_dim),
                heads(mla.kv_lora_rank + mla.v_head_dim),
            ),
            None => {
                (heads(c.head_dim), c.kv_heads * (c.head_dim + c.value_dim()), heads(c.value_dim()))
            }
        };
        let wide = mlp_width(c);
        ActivationWidths {
            hidden: 3 * c.hidden_size,
            queries,
            keys_values,
            attended,
            mlp: 2 * wide,
            experts: c.moe.as_ref().map_or(0, |moe| moe.experts + 2 * c.hidden_size),
            inputs: padded(c.hidden_size.max(heads(c.value_dim())).max(wide)),
        }
    }

    /// All of them.
    pub fn numbers(&self) -> usize {
        let ActivationWidths { hidden, queries, keys_values, attended, mlp, experts, inputs } =
            self;
        hidden + queries + keys_values + attended + mlp + experts + inputs
    }
}

/// The widest MLP of the model: dense, one expert, or the shared ones together.
fn mlp_width(c: &ModelConfig) -> usize {
    let dense = (0..c.layers).any(|layer| !c.is_sparse(layer));
    let dense = if dense { c.intermediate_size } else { 0 };
    c.moe.as_ref().map_or(dense, |moe| dense.max(moe.intermediate_size * moe.shared_experts.max(1)))
}

/// Rows are whole chunks of 16 numbers.
fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// Bytes of the buffers of one forward pass: at most [`CHUNK_TOKENS`] rows, the logits of
/// [`LOGITS_ROWS`], and the rotary table of all positions of the context.
pub fn activation_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    let pass = rows * (ActivationWidths::of(config).numbers() + 1);
    let table = context.saturating_mul(config.rope.rotary_dim);
    4 * pass.saturating_add(table) as u64 + logits_bytes(config)
}

/// Bytes of these logits, which only the tier of the head has, and the host.
pub fn logits_bytes(config: &ModelConfig) -> u64 {
    4 * (LOGITS_ROWS * config.vocab_size) as u64
}

/// Bytes of what a GPU has of a pass besides [`activation_bytes`]: where its tokens stand, the
/// block tables of its sequences (each row may be one), and the states of attention's splits.
pub fn gpu_pass_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    let tiles = rows * (config.heads / config.kv_heads.max(1)) / ATTENTION_TILE_ROWS + 2 * rows;
    let entries = rows.saturating_mul(context.div_ceil(KV_BLOCK_TOKENS));
    4 * (5 * rows + 4 * rows + 2 * tiles).saturating_add(entries) as u64 + ATTENTION_STATES_BYTES
}

/// Bytes of what a pass has in host memory where only GPUs compute: the rows of the residual stream
/// where it is looked up, and the logits of [`LOGITS_ROWS`] rows, among which the next token is
/// chosen.
pub fn crossing_bytes(config: &ModelConfig, context: usize) -> u64 {
    let rows = CHUNK_TOKENS.min(context.max(LOGITS_ROWS));
    4 * (rows * (config.hidden_size + 1)) as u64 + logits_bytes(config)
}
