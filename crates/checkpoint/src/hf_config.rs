//! `config.json` -> [`ModelConfig`], with the defaults of transformers' configuration classes.
use crate::config::*;
use crate::{CheckpointError, Dtype, Rope, RopeScaling};
use serde_json::{Map, Value};
use std::path::Path;

const KNOWN: [(&str, Family); 11] = [
    ("LlamaForCausalLM", Family::Llama),
    ("MistralForCausalLM", Family::Mistral),
    ("Qwen2ForCausalLM", Family::Qwen2),
    ("Qwen3ForCausalLM", Family::Qwen3),
    ("Qwen3MoeForCausalLM", Family::Qwen3Moe),
    ("Olmo2ForCausalLM", Family::Olmo2),
    ("PhiForCausalLM", Family::Phi),
    ("Phi3ForCausalLM", Family::Phi3),
    ("GptOssForCausalLM", Family::GptOss),
    ("DeepseekV2ForCausalLM", Family::DeepseekV2),
    ("DeepseekForCausalLM", Family::Llama),
];

/// Reads a configuration.
///
/// # Errors
/// 65 with the key, what it should be and what it is.
pub fn parse(file: &Path, text: &str) -> Result<ModelConfig, CheckpointError> {
    let root: Value =
        serde_json::from_str(text).map_err(|e| CheckpointError::bad(file, "JSON", "a JSON object", e.to_string()))?;
    let Value::Object(map) = root else {
        return Err(CheckpointError::bad(file, "JSON", "a JSON object", "another kind of value"));
    };
    let keys = Keys { file, map: &map };
    refuse_quantised(&keys)?;
    let (class_name, family) = class(&keys)?;
    let config = build(&keys, class_name, family)?;
    check(&keys, &config)?;
    Ok(config)
}

struct Keys<'a> {
    file: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn bad(&self, key: &str, expected: &str, found: impl std::fmt::Display) -> CheckpointError {
        CheckpointError::bad(self.file, format!("key {key}"), expected, found.to_string())
    }

    fn usize_or(&self, key: &str, default: Option<usize>) -> Result<usize, CheckpointError> {
        match self.get(key) {
            Some(v) => v
                .as_u64()
                .filter(|n| *n > 0 && *n < 1 << 32)
                .map(|n| n as usize)
                .ok_or_else(|| self.bad(key, "a positive whole number", v)),
            None => default.ok_or_else(|| self.bad(key, "a positive whole number", "no such key")),
        }
    }

    fn usize(&self, key: &str) -> Result<usize, CheckpointError> {
        self.usize_or(key, None)
    }

    fn f64_or(&self, key: &str, default: f64) -> Result<f64, CheckpointError> {
        match self.get(key) {
            Some(v) => v.as_f64().ok_or_else(|| self.bad(key, "a number", v)),
            None => Ok(default),
        }
    }

    fn bool_or(&self, key: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.get(key) {
            Some(v) => v.as_bool().ok_or_else(|| self.bad(key, "true or false", v)),
            None => Ok(default),
        }
    }

    fn str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

fn refuse_quantised(keys: &Keys) -> Result<(), CheckpointError> {
    let Some(quantised) = keys.get("quantization_config") else { return Ok(()) };
    let method = quantised.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
    if method == "mxfp4" {
        return Ok(());
    }
    let expected = "weights stored as bf16, f16 or f32 (or MXFP4 experts, or a GGUF file)";
    let error = keys.bad("quantization_config", expected, format!("quantisation method {method}"));
    Err(error.with_remedy("Use the unquantised checkpoint with --dtype int8, or a GGUF file of the model"))
}

fn class(keys: &Keys) -> Result<(String, Family), CheckpointError> {
    let names = keys.get("architectures").and_then(Value::as_array);
    let name = names.and_then(|a| a.first()).and_then(Value::as_str).map(str::to_owned);
    let name = match (name, keys.str("model_type")) {
        (Some(name), _) => name,
        (None, Some(kind)) => KNOWN
            .iter()
            .find(|(class, _)| class.to_lowercase() == format!("{}forcausallm", kind.replace('_', "")))
            .map_or_else(|| kind.to_owned(), |(class, _)| (*class).to_owned()),
        (None, None) => return Err(keys.bad("architectures", "a list with the model's class", "no such key")),
    };
    match KNOWN.iter().find(|(class, _)| *class == name) {
        Some((_, family)) => Ok((name, *family)),
        None => {
            let known: Vec<_> = KNOWN.iter().map(|(class, _)| *class).collect();
            let error = keys.bad("architectures", &format!("one of {}", known.join(", ")), &name);
            Err(error.with_remedy("This architecture is not built yet"))
        }
    }
}

fn build(keys: &Keys, class_name: String, family: Family) -> Result<ModelConfig, CheckpointError> {
    use Family::*;
    let hidden_size = keys.usize("hidden_size")?;
    let heads = keys.usize("num_attention_heads")?;
    let mla = (family == DeepseekV2).then(|| mla(keys)).transpose()?;
    let default_head_dim = match family {
        Qwen3 | Qwen3Moe => Some(128),
        GptOss => Some(64),
        _ => Some((hidden_size / heads).max(1)),
    };
    let head_dim = keys.usize_or("head_dim", default_head_dim)?;
    let default_kv_heads = if matches!(family, Mistral | GptOss) { 8 } else { heads };
    let layers = keys.usize("num_hidden_layers")?;
    let eps_default = if matches!(family, Olmo2 | Phi | GptOss | Phi3) { 1e-5 } else { 1e-6 };
    let norm = match family {
        Phi => Norm::Layer { eps: keys.f64_or("layer_norm_eps", eps_default)? as f32 },
        _ => Norm::Rms { eps: keys.f64_or("rms_norm_eps", eps_default)? as f32 },
    };
    let max_positions = keys.usize_or("max_position_embeddings", Some(default_positions(family)))?;
    let sliding = sliding(keys, family, layers)?;
    Ok(ModelConfig {
        family,
        class_name,
        vocab_size: keys.usize("vocab_size")?,
        hidden_size,
        intermediate_size: keys.usize("intermediate_size")?,
        layers,
        heads,
        kv_heads: keys.usize_or("num_key_value_heads", Some(default_kv_heads))?,
        head_dim,
        max_positions,
        norm,
        activation: activation(keys, family)?,
        rope: rope(keys, family, head_dim, max_positions, mla)?,
        attention_bias: match family {
            Qwen2 | Phi => true,
            GptOss => keys.bool_or("attention_bias", true)?,
            Mistral | Phi3 => false,
            _ => keys.bool_or("attention_bias", false)?,
        },
        attention_out_bias: match family {
            Phi => true,
            GptOss => keys.bool_or("attention_bias", true)?,
            Llama | Qwen3 | Qwen3Moe | Olmo2 | DeepseekV2 => keys.bool_or("attention_bias", false)?,
            _ => false,
        },
        mlp_bias: family == Phi || (family == Llama && keys.bool_or("mlp_bias", false)?),
        lm_head_bias: family == Phi,
        qk_norm: match family {
            Qwen3 | Qwen3Moe => QkNorm::PerHead,
            Olmo2 => QkNorm::Full,
            _ => QkNorm::None,
        },
        block: match family {
            Olmo2 => BlockShape::PostNorm,
            Phi => BlockShape::Parallel,
            _ => BlockShape::Sequential,
        },
        tie_word_embeddings: keys.bool_or("tie_word_embeddings", false)?,
        sliding_window: sliding.0,
        sliding_layers: sliding.1,
        dtype: dtype(keys)?,
        moe: moe(keys, family)?,
        mla,
        bos: id(keys, "bos_token_id")?.first().copied(),
        eos: id(keys, "eos_token_id")?,
        pad: id(keys, "pad_token_id")?.first().copied(),
    })
}

fn default_positions(family: Family) -> usize {
    match family {
        Family::Mistral | Family::GptOss => 131_072,
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => 32_768,
        Family::Phi3 => 4096,
        _ => 2048,
    }
}

fn check(keys: &Keys, c: &ModelConfig) -> Result<(), CheckpointError> {
    if !c.heads.is_multiple_of(c.kv_heads) {
        return Err(keys.bad("num_key_value_heads", &format!("a divisor of {} heads", c.heads), c.kv_heads));
    }
    if c.layers > 4096 || c.hidden_size > 1 << 20 || c.vocab_size > 1 << 24 || c.heads > 4096 || c.head_dim > 1 << 16 {
        return Err(keys.bad("num_hidden_layers, hidden_size, vocab_size", "the size of a language model", "more"));
    }
    if !c.rope.rotary_dim.is_multiple_of(2) || c.rope.rotary_dim > c.head_dim.max(c.rope.rotary_dim) {
        return Err(keys.bad("head_dim", "an even number of rotating dimensions", c.rope.rotary_dim));
    }
    Ok(())
}

fn activation(keys: &Keys, family: Family) -> Result<Activation, CheckpointError> {
    let default = if family == Family::Phi { "gelu_new" } else { "silu" };
    match keys.str("hidden_act").unwrap_or(default) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        other => Err(keys.bad("hidden_act", "silu, gelu, gelu_new or gelu_pytorch_tanh", other)),
    }
}

fn dtype(keys: &Keys) -> Result<Option<Dtype>, CheckpointError> {
    match keys.str("dtype").or_else(|| keys.str("torch_dtype")) {
        None => Ok(None),
        Some("bfloat16") => Ok(Some(Dtype::BF16)),
        Some("float16") => Ok(Some(Dtype::F16)),
        Some("float32") => Ok(Some(Dtype::F32)),
        Some(other) => Err(keys.bad("dtype", "bfloat16, float16 or float32", other)),
    }
}

fn id(keys: &Keys, key: &str) -> Result<Vec<u32>, CheckpointError> {
    let Some(value) = keys.get(key) else { return Ok(Vec::new()) };
    crate::generation::ids(value).ok_or_else(|| keys.bad(key, "a token id or a list of them", value))
}

fn moe(keys: &Keys, family: Family) -> Result<Option<Moe>, CheckpointError> {
    Ok(match family {
        Family::Qwen3Moe => Some(Moe {
            experts: keys.usize_or("num_experts", Some(128))?,
            experts_per_token: keys.usize_or("num_experts_per_tok", Some(8))?,
            intermediate_size: keys.usize_or("moe_intermediate_size", Some(768))?,
            shared_experts: 0,
            dense_layers: 0,
        }),
        Family::GptOss => Some(Moe {
            experts: keys.usize_or("num_local_experts", Some(128))?,
            experts_per_token: keys.usize_or("num_experts_per_tok", Some(4))?,
            intermediate_size: keys.usize("intermediate_size")?,
            shared_experts: 0,
            dense_layers: 0,
        }),
        Family::DeepseekV2 => Some(Moe {
            experts: keys.usize("n_routed_experts")?,
            experts_per_token: keys.usize("num_experts_per_tok")?,
            intermediate_size: keys.usize("moe_intermediate_size")?,
            shared_experts: keys.f64_or("n_shared_experts", 0.0)? as usize,
            dense_layers: keys.f64_or("first_k_dense_replace", 0.0)? as usize,
        }),
        _ => None,
    })
}

fn mla(keys: &Keys) -> Result<Mla, CheckpointError> {
    Ok(Mla {
        q_lora_rank: keys.f64_or("q_lora_rank", 0.0)? as usize,
        kv_lora_rank: keys.usize("kv_lora_rank")?,
        qk_nope_head_dim: keys.usize("qk_nope_head_dim")?,
        qk_rope_head_dim: keys.usize("qk_rope_head_dim")?,
        v_head_dim: keys.usize("v_head_dim")?,
    })
}

fn sliding(keys: &Keys, family: Family, layers: usize) -> Result<(Option<usize>, Vec<bool>), CheckpointError> {
    let window = match keys.get("sliding_window") {
        Some(_) => Some(keys.usize("sliding_window")?),
        None => None,
    };
    let uses = match family {
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => keys.bool_or("use_sliding_window", false)?,
        Family::Mistral | Family::Phi3 | Family::GptOss => true,
        _ => false,
    };
    let Some(window) = window.filter(|_| uses) else { return Ok((None, vec![false; layers])) };
    if let Some(kinds) = keys.get("layer_types").and_then(Value::as_array) {
        let slides: Vec<bool> = kinds.iter().map(|k| k.as_str() == Some("sliding_attention")).collect();
        if slides.len() != layers {
            return Err(keys.bad("layer_types", &format!("{layers} entries"), slides.len()));
        }
        return Ok((Some(window), slides));
    }
    let slides = match family {
        Family::GptOss => (0..layers).map(|i| i % 2 == 0).collect(),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => {
            let from = keys.f64_or("max_window_layers", 28.0)? as usize;
            (0..layers).map(|i| i >= from).collect()
        }
        _ => vec![true; layers],
    };
    Ok((Some(window), slides))
}

fn rope(
    keys: &Keys,
    family: Family,
    head_dim: usize,
    max_positions: usize,
    mla: Option<Mla>,
) -> Result<Rope, CheckpointError> {
    let parameters = keys.get("rope_parameters").or_else(|| keys.get("rope_scaling"));
    let empty = Map::new();
    let inner = match parameters {
        None => &empty,
        Some(Value::Object(map)) => map,
        Some(other) => return Err(keys.bad("rope_scaling", "an object", other)),
    };
    let inner = Keys { file: keys.file, map: inner };
    let default_theta = match family {
        Family::GptOss => 150_000.0,
        _ => 10_000.0,
    };
    let theta = inner.f64_or("rope_theta", keys.f64_or("rope_theta", default_theta)?)?;
    let partial_default = if family == Family::Phi { 0.5 } else { 1.0 };
    let partial = inner.f64_or("partial_rotary_factor", keys.f64_or("partial_rotary_factor", partial_default)?)?;
    let rotary_dim = mla.map_or((head_dim as f64 * partial) as usize, |m| m.qk_rope_head_dim);
    let scaling = scaling(keys, &inner, max_positions, rotary_dim)?;
    let pairing = if family == Family::DeepseekV2 { Pairing::Interleaved } else { Pairing::Halves };
    Ok(Rope { theta, rotary_dim, pairing, scaling })
}

fn scaling(keys: &Keys, inner: &Keys, max_positions: usize, rotary_dim: usize) -> Result<RopeScaling, CheckpointError> {
    let kind = inner.str("rope_type").or_else(|| inner.str("type")).unwrap_or("default");
    let factor = || match inner.get("factor") {
        Some(_) => inner.f64_or("factor", 1.0),
        None => Err(keys.bad("rope_scaling.factor", "a number", "no such key")),
    };
    let optional = |key: &str| inner.get(key).map(|_| inner.f64_or(key, 0.0)).transpose();
    let original = || {
        let outer = keys.usize_or("original_max_position_embeddings", Some(max_positions))?;
        inner.usize_or("original_max_position_embeddings", Some(outer))
    };
    Ok(match kind {
        "default" | "mrope" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: factor()? },
        "dynamic" => RopeScaling::Dynamic { factor: factor()?, original_max_positions: original()? },
        "llama3" => RopeScaling::Llama3 {
            factor: factor()?,
            low_freq_factor: inner.f64_or("low_freq_factor", 1.0)?,
            high_freq_factor: inner.f64_or("high_freq_factor", 4.0)?,
            original_max_positions: original()?,
        },
        "yarn" => RopeScaling::Yarn {
            factor: factor()?,
            original_max_positions: original()?,
            beta_fast: inner.f64_or("beta_fast", 32.0)?,
            beta_slow: inner.f64_or("beta_slow", 1.0)?,
            attention_factor: optional("attention_factor")?,
            mscale: optional("mscale")?,
            mscale_all_dim: optional("mscale_all_dim")?,
            truncate: inner.bool_or("truncate", true)?,
        },
        "longrope" | "su" => RopeScaling::LongRope {
            short_factor: factors(inner, "short_factor", rotary_dim / 2)?,
            long_factor: factors(inner, "long_factor", rotary_dim / 2)?,
            original_max_positions: original()?,
            max_positions,
            attention_factor: optional("attention_factor")?,
        },
        other => {
            let expected = "default, linear, dynamic, llama3, yarn or longrope";
            return Err(keys.bad("rope_scaling.rope_type", expected, other));
        }
    })
}

fn factors(inner: &Keys, key: &str, count: usize) -> Result<Vec<f64>, CheckpointError> {
    let expected = format!("a list of {count} numbers");
    let Some(Value::Array(list)) = inner.get(key) else { return Err(inner.bad(key, &expected, "no list")) };
    let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
    if numbers.len() != count || list.len() != count {
        return Err(inner.bad(key, &expected, format!("{} entries", list.len())));
    }
    Ok(numbers)
}
