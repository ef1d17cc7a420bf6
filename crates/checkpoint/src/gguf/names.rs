//! Converts GGUF tensor names to Hugging Face names. A fused tensor becomes several entries, each
//! with a part of its byte range.
use super::reader::GgufTensor;
use crate::TensorEntry;
use crate::config::ModelConfig;
use crate::family::Family;

/// The inventory entries for one GGUF tensor; `None` if the family has no tensor with this name.
pub(super) fn entries(config: &ModelConfig, tensor: &GgufTensor) -> Option<Vec<TensorEntry>> {
    let top = |name: &str| Some(vec![entry(tensor, name.to_owned())]);
    match tensor.name.as_str() {
        "token_embd.weight" => return top("model.embed_tokens.weight"),
        "output.weight" => return top("lm_head.weight"),
        "output.bias" => return top("lm_head.bias"),
        "output_norm.weight" => {
            return top(&format!("{}.weight", config.family.traits().final_norm));
        }
        "output_norm.bias" => return top(&format!("{}.bias", config.family.traits().final_norm)),
        _ => {}
    }
    let (layer, rest) = tensor.name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let prefix = format!("model.layers.{layer}");
    if part == "attn_qkv" && config.family == Family::Phi {
        return split_rows(tensor, &qkv_rows(config), |name| {
            format!("{prefix}.self_attn.{name}_proj.{kind}")
        });
    }
    if let Some(rest) = part.strip_prefix("ffn_").filter(|_| config.moe.is_some())
        && let Some(experts) = experts(config, tensor, &prefix, rest, kind)
    {
        return Some(experts);
    }
    if let Some(name) = split_kv_b(config, part) {
        let [heads, rows, cols] = *tensor.shape.as_slice() else { return None };
        let shape = vec![heads.checked_mul(rows)?, cols];
        let entry = entry(tensor, format!("{prefix}.self_attn.{name}.{kind}"));
        return Some(vec![TensorEntry { shape, ..entry }]);
    }
    if part == "attn_sinks" && config.attention_sinks {
        return Some(vec![entry(tensor, format!("{prefix}.self_attn.sinks"))]);
    }
    let name = layer_part(config.family, part)?;
    Some(vec![entry(tensor, format!("{prefix}.{name}.{kind}"))])
}

/// The two parts of `kv_b_proj` in newer files, `[heads, rows, cols]`.
fn split_kv_b(config: &ModelConfig, part: &str) -> Option<&'static str> {
    config.mla.filter(|mla| mla.split_kv_b)?;
    match part {
        "attn_k_b" => Some("k_b_proj"),
        "attn_v_b" => Some("v_b_proj"),
        _ => None,
    }
}

/// The Hugging Face name of a GGUF tensor within a transformer layer.
fn layer_part(family: Family, part: &str) -> Option<&'static str> {
    use Family::{DeepseekV2, GptOss, Olmo2, Olmoe, Phi, Phi3, Qwen3, Qwen3Moe};
    Some(match (family, part) {
        (Phi, "attn_output") => "self_attn.dense",
        (Phi, "ffn_up") => "mlp.fc1",
        (Phi, "ffn_down") => "mlp.fc2",
        (Phi3, "attn_qkv") => "self_attn.qkv_proj",
        (Phi3, "ffn_up") => "mlp.gate_up_proj",
        (Olmo2 | GptOss, "post_attention_norm") => "post_attention_layernorm",
        (Olmo2, "post_ffw_norm") => "post_feedforward_layernorm",
        (Qwen3 | Qwen3Moe | Olmo2, "attn_q_norm") => "self_attn.q_norm",
        (Qwen3 | Qwen3Moe | Olmo2, "attn_k_norm") => "self_attn.k_norm",
        (Olmoe, "attn_q_norm") => "self_attn.q_norm",
        (Olmoe, "attn_k_norm") => "self_attn.k_norm",
        (DeepseekV2, "attn_q_a") => "self_attn.q_a_proj",
        (DeepseekV2, "attn_q_a_norm") => "self_attn.q_a_layernorm",
        (DeepseekV2, "attn_q_b") => "self_attn.q_b_proj",
        (DeepseekV2, "attn_kv_a_mqa") => "self_attn.kv_a_proj_with_mqa",
        (DeepseekV2, "attn_kv_a_norm") => "self_attn.kv_a_layernorm",
        (DeepseekV2, "attn_kv_b") => "self_attn.kv_b_proj",
        (_, "attn_norm") => "input_layernorm",
        (_, "ffn_norm") => "post_attention_layernorm",
        (_, "attn_q") => "self_attn.q_proj",
        (_, "attn_k") => "self_attn.k_proj",
        (_, "attn_v") => "self_attn.v_proj",
        (_, "attn_output") => "self_attn.o_proj",
        (_, "ffn_gate") => "mlp.gate_proj",
        (_, "ffn_up") => "mlp.up_proj",
        (_, "ffn_down") => "mlp.down_proj",
        _ => return None,
    })
}

/// The entries of a tensor of a mixture of experts, whose name is `blk.N.ffn_{rest}.{kind}`.
fn experts(
    config: &ModelConfig,
    tensor: &GgufTensor,
    prefix: &str,
    rest: &str,
    kind: &str,
) -> Option<Vec<TensorEntry>> {
    let names = config.family.traits().expert_names;
    let block = format!("{prefix}.{}", names.block);
    let own = |projection: &str| match projection {
        "gate" => Some(names.gate),
        "up" => Some(names.up),
        "down" => Some(names.down),
        _ => None,
    };
    if let Some(projection) = rest.strip_suffix("_exps") {
        let own = own(projection)?;
        return split_experts(tensor, |j| format!("{block}.experts.{j}.{own}.{kind}"));
    }
    if let Some(projection) = rest.strip_suffix("_shexp").filter(|p| own(p).is_some()) {
        let name = format!("{block}.{}.{projection}_proj.{kind}", names.shared);
        return Some(vec![entry(tensor, name)]);
    }
    match rest {
        "gate_inp" => Some(vec![entry(tensor, format!("{block}.{}.{kind}", names.router))]),
        "gate_inp_shexp" => {
            let mut gate = entry(tensor, format!("{block}.{}.{kind}", names.shared_gate));
            // Stored as a vector.
            if gate.shape.len() == 1 {
                gate.shape.insert(0, 1);
            }
            Some(vec![gate])
        }
        // Files of 2023 and early 2024 have a tensor for each expert: `blk.N.ffn_gate.J.weight`.
        _ => {
            let (projection, expert) = rest.split_once('.')?;
            let (own, expert): (_, usize) = (own(projection)?, expert.parse().ok()?);
            Some(vec![entry(tensor, format!("{block}.experts.{expert}.{own}.{kind}"))])
        }
    }
}

fn entry(tensor: &GgufTensor, name: String) -> TensorEntry {
    let GgufTensor { dtype, shape, offset, bytes, .. } = tensor;
    TensorEntry {
        name,
        dtype: *dtype,
        shape: shape.clone(),
        shard: 0,
        offset: *offset,
        bytes: *bytes,
    }
}

fn qkv_rows(config: &ModelConfig) -> [(&'static str, usize); 3] {
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    [("q", queries), ("k", keys), ("v", keys)]
}

/// Splits a matrix or a bias by rows; `None` if the row counts of the parts do not add up to the
/// rows of the tensor.
fn split_rows(
    tensor: &GgufTensor,
    parts: &[(&str, usize)],
    name: impl Fn(&str) -> String,
) -> Option<Vec<TensorEntry>> {
    let rows = *tensor.shape.first()?;
    if rows == 0 || parts.iter().map(|(_, n)| n).sum::<usize>() != rows {
        return None;
    }
    let row_bytes = tensor.bytes / rows as u64;
    let mut offset = tensor.offset;
    let split = |(part, rows): &(&str, usize)| {
        let mut shape = tensor.shape.clone();
        shape[0] = *rows;
        let bytes = row_bytes * *rows as u64;
        let entry =
            TensorEntry { name: name(part), dtype: tensor.dtype, shape, shard: 0, offset, bytes };
        offset += bytes;
        entry
    };
    Some(parts.iter().map(split).collect())
}

/// Splits a tensor `[experts, out, in]` into one matrix `[out, in]` per expert, or the biases
/// `[experts, out]` into one vector per expert.
fn split_experts(tensor: &GgufTensor, name: impl Fn(usize) -> String) -> Option<Vec<TensorEntry>> {
    let (&experts, shape) = tensor.shape.split_first()?;
    if !matches!(shape.len(), 1 | 2) {
        return None;
    }
    if experts == 0 || experts > 1 << 16 {
        return None;
    }
    let bytes = tensor.bytes / experts as u64;
    let split = |j: usize| TensorEntry {
        name: name(j),
        dtype: tensor.dtype,
        shape: shape.to_vec(),
        shard: 0,
        offset: tensor.offset + bytes * j as u64,
        bytes,
    };
    Some((0..experts).map(split).collect())
}
