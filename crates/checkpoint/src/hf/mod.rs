//! Converts `config.json` to a [`ModelConfig`], with the defaults of transformers' configuration
//! classes.
mod check;
mod defaults;
mod experts;
mod fused_experts;
pub(crate) mod keys;
mod quantized;
mod reader;
mod rope;
mod sliding;

use crate::config::{Activation, ModelConfig, NormKind};
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::family::{FAMILIES, Family};
use crate::{Dtype, json};
pub(crate) use fused_experts::split_fused_experts;
use keys::{ConfigKeys, Result};
use reader::HfConfigReader;
use std::path::Path;

/// Parses the text of a `config.json`. Harmless irregularities are reported in `notes`.
///
/// # Errors
/// A [`Defect`] if the text is not valid JSON, the architecture or quantization is unsupported, or
/// a key is missing, invalid or out of bounds.
pub fn parse_config(file: &Path, text: &str, notes: &mut Vec<String>) -> Result<ModelConfig> {
    let map = json::object(file, text)?;
    let keys = ConfigKeys { file, map: &map, within: "" };
    let (class_name, family) = class(&keys)?;
    quantized::refuse(&keys, family)?;
    let mut reader = HfConfigReader { keys, family, defaults: defaults::of(family), notes };
    let config = reader.config(class_name)?;
    check::check(&reader.keys, &config, reader.notes)?;
    Ok(config)
}

fn class(keys: &ConfigKeys) -> Result<(String, Family)> {
    let listed = keys.list("architectures")?.and_then(|a| a.first()).and_then(|name| name.as_str());
    let name = match (listed, keys.text("model_type")?) {
        (Some(name), _) => name.to_owned(),
        (None, Some(kind)) => class_of_type(kind),
        (None, None) => {
            return Err(keys.missing("architectures", "a list with the name of the model's class"));
        }
    };
    match Family::of_class(&name) {
        Some(family) => Ok((name, family)),
        None => {
            let known: Vec<&str> = FAMILIES.iter().map(|known| known.class_name).collect();
            let expected = format!("one of {}", known.join(", "));
            Err(Defect::new(DefectKind::UnknownArchitecture, keys.file, expected, name)
                .key("architectures")
                .into())
        }
    }
}

/// The class name for a `model_type`, such as `Qwen3MoeForCausalLM` for `qwen3_moe`. It is used for
/// configurations without `architectures`.
fn class_of_type(kind: &str) -> String {
    let plain = kind.replace('_', "");
    let matches = |class: &str| {
        class.strip_suffix("ForCausalLM").is_some_and(|c| c.eq_ignore_ascii_case(&plain))
    };
    FAMILIES
        .iter()
        .find(|known| matches(known.class_name))
        .map_or_else(|| kind.to_owned(), |known| known.class_name.to_owned())
}

impl HfConfigReader<'_> {
    fn config(&mut self, class_name: String) -> Result<ModelConfig> {
        use Family::{
            DeepseekV2, GptOss, Llama, Olmo2, Olmoe, Phi, Qwen2, Qwen2Moe, Qwen3, Qwen3Moe,
        };
        let (family, traits) = (self.family, self.family.traits());
        let hidden_size = self.size("hidden_size", self.defaults.hidden_size)?;
        let heads = self.size("num_attention_heads", self.defaults.heads)?;
        let layers = self.size("num_hidden_layers", self.defaults.layers)?;
        let intermediate_size = self.size("intermediate_size", self.defaults.intermediate_size)?;
        let mla = if traits.latent_attention { Some(experts::mla(&self.keys)?) } else { None };
        let head_dim = match mla {
            Some(mla) => mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            None => self.head_dim(hidden_size, heads)?,
        };
        let max_positions =
            self.keys.count("max_position_embeddings")?.unwrap_or(self.defaults.max_positions);
        let (sliding_window, sliding_layers) = sliding::read(self, layers)?;
        let attention_bias = self.keys.flag("attention_bias", family == GptOss)?;
        let declared_bias =
            matches!(family, Llama | Qwen3 | Qwen3Moe | Olmo2 | Olmoe | GptOss | DeepseekV2)
                && attention_bias;
        Ok(ModelConfig {
            family,
            class_name,
            vocab_size: self.size("vocab_size", self.defaults.vocab_size)?,
            hidden_size,
            intermediate_size,
            layers,
            heads,
            kv_heads: self.kv_heads(heads)?,
            head_dim,
            max_positions,
            norm: self.norm()?,
            activation: self.activation()?,
            rope: rope::read(self, rope::RopeShape { head_dim, max_positions, mla })?,
            attention_bias: declared_bias
                || matches!(family, Qwen2 | Phi)
                || (family == Qwen2Moe && self.keys.flag("qkv_bias", true)?),
            attention_out_bias: declared_bias || family == Phi,
            mlp_bias: family == Phi
                || (matches!(family, Llama | DeepseekV2) && self.keys.flag("mlp_bias", false)?),
            lm_head_bias: family == Phi,
            attention_sinks: family == GptOss,
            qk_norm: traits.qk_norm,
            layer_layout: traits.layer_layout,
            tie_word_embeddings: self.keys.flag("tie_word_embeddings", false)?,
            sliding_window,
            sliding_layers,
            dtype: self.dtype()?,
            moe: experts::moe(&self.keys, family, intermediate_size)?,
            sparse_layers: experts::sparse_layers(&self.keys, family, layers)?,
            mla,
            block_fp8: quantized::is_block_fp8(&self.keys),
            bos: self.keys.ids("bos_token_id", self.defaults.bos)?.first().copied(),
            eos: self.keys.ids("eos_token_id", self.defaults.eos)?,
            pad: self.keys.ids("pad_token_id", self.defaults.pad)?.first().copied(),
        })
    }

    /// A positive integer that is a dimension of the model. If the key is absent, a note reports
    /// the default, since the default of the class seldom fits.
    fn size(&mut self, key: &str, default: usize) -> Result<usize> {
        if let Some(n) = self.keys.count(key)? {
            return Ok(n);
        }
        let class = self.family;
        self.notes.push(format!(
            "{}: no {key}: uses {default}, the default of {class:?}",
            self.keys.file.display()
        ));
        Ok(default)
    }

    fn head_dim(&self, hidden_size: usize, heads: usize) -> Result<usize> {
        if let Some(n) = self.keys.count("head_dim")?.or(self.defaults.head_dim) {
            return Ok(n);
        }
        if !hidden_size.is_multiple_of(heads) {
            let expected = format!("a divisor of hidden_size {hidden_size}, or a key head_dim");
            return Err(self.keys.defect("num_attention_heads", expected, heads).into());
        }
        Ok(hidden_size / heads)
    }

    fn kv_heads(&self, heads: usize) -> Result<usize> {
        let default =
            if self.keys.has("num_key_value_heads") { None } else { self.defaults.kv_heads };
        Ok(self.keys.count("num_key_value_heads")?.or(default).unwrap_or(heads))
    }

    fn norm(&self) -> Result<NormKind> {
        let eps = |key: &str| {
            Ok::<_, CheckpointError>(
                self.keys.positive(key)?.unwrap_or(self.defaults.norm_eps) as f32
            )
        };
        match self.family.traits().layer_norm {
            true => Ok(NormKind::Layer { eps: eps("layer_norm_eps")? }),
            false => Ok(NormKind::Rms { eps: eps("rms_norm_eps")? }),
        }
    }

    fn activation(&self) -> Result<Activation> {
        match self.keys.text("hidden_act")?.unwrap_or(self.defaults.activation) {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" => {
                Ok(Activation::GeluTanh)
            }
            other => Err(self
                .keys
                .defect("hidden_act", "silu, gelu, gelu_new or gelu_pytorch_tanh", other)
                .into()),
        }
    }

    fn dtype(&mut self) -> Result<Option<Dtype>> {
        let word = self.keys.text("dtype")?.or(self.keys.text("torch_dtype")?);
        Ok(match word.map(|w| w.trim_start_matches("torch.")) {
            None | Some("auto") => None,
            Some("bfloat16") => Some(Dtype::BF16),
            Some("float16" | "half") => Some(Dtype::F16),
            Some("float32" | "float") => Some(Dtype::F32),
            Some(other) => {
                let file = self.keys.file.display();
                self.notes.push(format!(
                    "{file}: dtype {other} is not one that is computed in; the tensors' own counts"
                ));
                None
            }
        })
    }
}
