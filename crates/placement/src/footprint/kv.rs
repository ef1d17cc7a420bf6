//! Keys and values.
use super::KV_BLOCK_TOKENS;
use checkpoint::ModelConfig;

/// Values are stored in whole vectors of so many numbers.
const VALUE_LANES: usize = 16;
/// Keys and values each start at a cache line.
const ALIGNMENT_BYTES: u64 = 64;

/// Bytes of the keys and values of one layer in `blocks` KV blocks, as `device` stores them, padding included.
///
/// With grouped queries a position takes `kv_heads` keys and values. With latent attention it takes one latent, `kv_lora_rank` numbers,
/// and one rotated key, `qk_rope_head_dim` numbers, whatever the number of heads.
pub fn kv_layer_bytes(config: &ModelConfig, f32: bool, blocks: usize) -> u64 {
    let (heads, key_dim, value_dim) = match config.mla {
        Some(mla) => (1, mla.kv_lora_rank + mla.qk_rope_head_dim, 0),
        None => (config.kv_heads, config.head_dim, config.value_dim()),
    };
    let number_bytes = if f32 { 4 } else { 2 };
    // In bf16 a key's numbers lie in pairs of neighbours.
    let key_numbers = if f32 { key_dim } else { key_dim.next_multiple_of(2) };
    let value_numbers = value_dim.next_multiple_of(VALUE_LANES);
    let slots = (blocks as u64).saturating_mul((KV_BLOCK_TOKENS * heads) as u64);
    let aligned = |numbers: usize| slots.saturating_mul((numbers * number_bytes) as u64).div_ceil(ALIGNMENT_BYTES);
    aligned(key_numbers).saturating_add(aligned(value_numbers)).saturating_mul(ALIGNMENT_BYTES)
}
