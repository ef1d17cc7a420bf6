//! Bytes of the KV cache.
use super::KV_BLOCK_TOKENS;
use crate::KvDtype;
use checkpoint::ModelConfig;

/// Elements of a SIMD vector. The values of a head are padded to a multiple of it.
const VALUE_LANES: usize = 16;
/// Alignment of keys, values and their scales in bytes: a cache line.
const ALIGNMENT_BYTES: u64 = 64;

/// Bytes of the keys and values of one layer in `blocks` KV blocks, in the layout of `device`,
/// including padding.
///
/// With grouped-query attention a position has `kv_heads` keys and values. With latent attention it
/// has one latent of `kv_lora_rank` elements and one rotated key of `qk_rope_head_dim` elements,
/// independent of the number of heads.
pub fn kv_layer_bytes(config: &ModelConfig, dtype: KvDtype, blocks: usize) -> u64 {
    let (heads, key_dim, value_dim) = match config.mla {
        Some(mla) => (1, mla.kv_lora_rank + mla.qk_rope_head_dim, 0),
        None => (config.kv_heads, config.head_dim, config.value_dim()),
    };
    let slots = (blocks as u64).saturating_mul((KV_BLOCK_TOKENS * heads) as u64);
    let aligned = |bytes: usize| slots.saturating_mul(bytes as u64).div_ceil(ALIGNMENT_BYTES);
    let values = value_dim.next_multiple_of(VALUE_LANES);
    // Keys are packed into words of 4 bytes: one f32, two bf16 or four int8 elements.
    let parts = match dtype {
        KvDtype::F32 => [4 * key_dim, 4 * values, 0, 0],
        KvDtype::Bf16 => [2 * key_dim.next_multiple_of(2), 2 * values, 0, 0],
        KvDtype::Int8 => {
            let scales = |dim: usize| 2 * dim.div_ceil(KvDtype::GROUP);
            [key_dim.next_multiple_of(4), values, scales(key_dim), scales(value_dim)]
        }
    };
    parts.into_iter().map(aligned).fold(0, u64::saturating_add).saturating_mul(ALIGNMENT_BYTES)
}
