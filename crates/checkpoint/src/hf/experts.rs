//! Reads the hyper-parameters of mixtures of experts and of latent attention from `config.json`.
use super::keys::{ConfigKeys, Result};
use super::{check, quantized};
use crate::config::{ClampedSwiglu, ExpertStorage, Mla, Moe, Routing};
use crate::family::Family;

pub(super) fn mla(keys: &ConfigKeys) -> Result<Mla> {
    // If the key is absent, the default of the class applies. Null means a single query matrix
    // instead of a low-rank pair.
    let q_lora_rank = if keys.has("q_lora_rank") { keys.count("q_lora_rank")? } else { Some(1536) };
    Ok(Mla {
        q_lora_rank,
        kv_lora_rank: keys.count("kv_lora_rank")?.unwrap_or(512),
        qk_nope_head_dim: keys.count("qk_nope_head_dim")?.unwrap_or(128),
        qk_rope_head_dim: keys.count("qk_rope_head_dim")?.unwrap_or(64),
        v_head_dim: keys.count("v_head_dim")?.unwrap_or(128),
        split_kv_b: false,
    })
}

pub(super) fn moe(
    keys: &ConfigKeys,
    family: Family,
    intermediate_size: usize,
) -> Result<Option<Moe>> {
    match family {
        Family::Qwen3Moe => qwen(keys, 128, 8, 768).map(Some),
        Family::Qwen2Moe => {
            let shared_size = keys.count("shared_expert_intermediate_size")?.unwrap_or(5632);
            let moe = qwen(keys, 60, 4, 1408)?;
            Ok(Some(Moe { shared_size, shared_gate: true, ..moe }))
        }
        Family::Olmoe => {
            qwen(keys, 64, 8, intermediate_size).map(|moe| Some(Moe { intermediate_size, ..moe }))
        }
        Family::Mixtral => mixtral(keys, intermediate_size).map(Some),
        Family::GptOss => gpt_oss(keys, intermediate_size).map(Some),
        Family::DeepseekV2 => deepseek(keys).map(Some),
        _ => Ok(None),
    }
}

/// For each layer, whether it has a mixture of experts instead of a dense MLP.
pub(super) fn sparse_layers(keys: &ConfigKeys, family: Family, layers: usize) -> Result<Vec<bool>> {
    let layers = 0..layers.min(check::LAYERS_MAX);
    match family {
        Family::Qwen3Moe | Family::Qwen2Moe => {
            let step = keys.count("decoder_sparse_step")?.unwrap_or(1);
            let dense: Vec<u64> = keys
                .list("mlp_only_layers")?
                .into_iter()
                .flatten()
                .filter_map(|i| i.as_u64())
                .collect();
            Ok(layers
                .map(|i| !dense.contains(&(i as u64)) && (i + 1).is_multiple_of(step))
                .collect())
        }
        Family::DeepseekV2 => {
            let first = keys.count_or_zero("first_k_dense_replace")?.unwrap_or(0);
            let step = keys.count("moe_layer_freq")?.unwrap_or(1);
            Ok(layers.map(|i| i >= first && i.is_multiple_of(step)).collect())
        }
        _ => Ok(layers.map(|_| family.traits().experts).collect()),
    }
}

/// The number of experts, from the family's own key or from the alias that transformers accepts.
fn experts(keys: &ConfigKeys, own: &str, other: &str, default: usize) -> Result<usize> {
    Ok(keys.count(own)?.or(keys.count(other)?).unwrap_or(default))
}

/// Qwen3-MoE, and families with the same keys and other defaults.
fn qwen(keys: &ConfigKeys, count: usize, per_token: usize, width: usize) -> Result<Moe> {
    Ok(Moe {
        experts: experts(keys, "num_experts", "num_local_experts", count)?,
        experts_per_token: keys.count("num_experts_per_tok")?.unwrap_or(per_token),
        intermediate_size: keys.count("moe_intermediate_size")?.unwrap_or(width),
        shared_size: 0,
        shared_gate: false,
        biases: false,
        storage: ExpertStorage::Separate,
        routing: Routing {
            softmax_after_choice: false,
            normalize: keys.flag("norm_topk_prob", false)?,
            scale: 1.0,
            groups: None,
        },
        clamped: None,
    })
}

fn mixtral(keys: &ConfigKeys, intermediate_size: usize) -> Result<Moe> {
    let moe = Moe {
        experts: experts(keys, "num_local_experts", "num_experts", 8)?,
        intermediate_size,
        ..qwen(keys, 8, 2, intermediate_size)?
    };
    Ok(Moe { routing: Routing { normalize: true, ..moe.routing }, ..moe })
}

fn gpt_oss(keys: &ConfigKeys, intermediate_size: usize) -> Result<Moe> {
    Ok(Moe {
        experts: experts(keys, "num_local_experts", "num_experts", 128)?,
        experts_per_token: keys
            .count("num_experts_per_tok")?
            .or(keys.count("experts_per_token")?)
            .unwrap_or(4),
        intermediate_size,
        shared_size: 0,
        shared_gate: false,
        biases: true,
        storage: if quantized::is_mxfp4(keys) {
            ExpertStorage::Mxfp4
        } else {
            ExpertStorage::Fused
        },
        routing: Routing { softmax_after_choice: true, normalize: false, scale: 1.0, groups: None },
        clamped: Some(ClampedSwiglu {
            alpha: keys.number("swiglu_alpha")?.unwrap_or(1.702),
            limit: keys.positive("swiglu_limit")?.unwrap_or(7.0),
        }),
    })
}

fn deepseek(keys: &ConfigKeys) -> Result<Moe> {
    let shared_default = if keys.has("n_shared_experts") { 0 } else { 2 };
    let Some(experts_per_token) = keys.count("num_experts_per_tok")? else {
        return Err(keys.missing("num_experts_per_tok", "the number of experts per token"));
    };
    let intermediate_size = keys.count("moe_intermediate_size")?.unwrap_or(1407);
    let shared = keys.count_or_zero("n_shared_experts")?.unwrap_or(shared_default);
    Ok(Moe {
        experts: experts(keys, "n_routed_experts", "num_experts", 64)?,
        experts_per_token,
        intermediate_size,
        shared_size: shared.saturating_mul(intermediate_size),
        shared_gate: false,
        biases: false,
        storage: ExpertStorage::Separate,
        routing: deepseek_routing(keys)?,
        clamped: None,
    })
}

fn deepseek_routing(keys: &ConfigKeys) -> Result<Routing> {
    if let Some(scoring) = keys.text("scoring_func")?.filter(|s| *s != "softmax") {
        return Err(keys.defect("scoring_func", "softmax", scoring).into());
    }
    let groups = match keys.text("topk_method")?.unwrap_or("greedy") {
        "greedy" => None,
        "group_limited_greedy" => match (keys.count("n_group")?, keys.count("topk_group")?) {
            (Some(groups), Some(kept)) => Some((groups, kept)),
            _ => {
                return Err(keys.missing(
                    "n_group and topk_group",
                    "numbers, which this topk_method requires",
                ));
            }
        },
        other => {
            return Err(keys.defect("topk_method", "greedy or group_limited_greedy", other).into());
        }
    };
    Ok(Routing {
        softmax_after_choice: false,
        normalize: keys.flag("norm_topk_prob", false)?,
        scale: keys.number("routed_scaling_factor")?.unwrap_or(1.0),
        groups,
    })
}
