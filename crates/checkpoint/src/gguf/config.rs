//! GGUF hyper-parameters -> [`ModelConfig`]. Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
use super::reader::{GgufFile, GgufTensor};
use super::value::GgufMetadata;
use crate::config::*;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::{Dtype, RopeConfig, RopeScaling};
use std::collections::BTreeMap;
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

/// The architectures that are known, as `general.architecture` names them, and the classes that
/// they are.
pub const ARCHITECTURES: [(&str, Family, &str); 8] = [
    ("llama", Family::Llama, "LlamaForCausalLM"),
    ("qwen2", Family::Qwen2, "Qwen2ForCausalLM"),
    ("qwen3", Family::Qwen3, "Qwen3ForCausalLM"),
    ("qwen3moe", Family::Qwen3Moe, "Qwen3MoeForCausalLM"),
    ("olmo2", Family::Olmo2, "Olmo2ForCausalLM"),
    ("phi2", Family::Phi, "PhiForCausalLM"),
    ("phi3", Family::Phi3, "Phi3ForCausalLM"),
    ("deepseek2", Family::DeepseekV2, "DeepseekV2ForCausalLM"),
];

/// The factors that some files bring as tensors, read from the data.
#[derive(Default)]
pub(super) struct RopeFactors {
    /// `rope_freqs.weight`: Llama 3's scaling, worked out.
    pub all: Option<Vec<f64>>,
    /// `rope_factors_short.weight`.
    pub short: Option<Vec<f64>>,
    /// `rope_factors_long.weight`.
    pub long: Option<Vec<f64>>,
}

pub(super) fn config(file: &Path, gguf: &GgufFile, factors: RopeFactors) -> Result<ModelConfig> {
    let metadata = &gguf.metadata;
    let arch = metadata.get_str("general.architecture").unwrap_or("none");
    let Some((arch, family, class)) = ARCHITECTURES.iter().find(|(name, ..)| *name == arch) else {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|(name, ..)| *name).collect();
        let defect = Defect::new(
            DefectKind::GgufArchitecture,
            file,
            format!("one of {}", known.join(", ")),
            arch,
        );
        return Err(defect.key("general.architecture").into());
    };
    GgufConfigReader { file, metadata, tensors: &gguf.tensors, arch, family: *family }
        .config(class, factors)
}

struct GgufConfigReader<'a> {
    file: &'a Path,
    metadata: &'a GgufMetadata,
    tensors: &'a [GgufTensor],
    arch: &'a str,
    family: Family,
}

impl GgufConfigReader<'_> {
    fn config(&self, class: &str, factors: RopeFactors) -> Result<ModelConfig> {
        use Family::*;
        let family = self.family;
        self.refuse_unsupported()?;
        let hidden_size = self.required("embedding_length")?;
        let heads = self.required("attention.head_count")?;
        let layers = self.required("block_count")?;
        let mla = if family == DeepseekV2 { Some(self.mla()?) } else { None };
        let head_dim = match mla {
            Some(mla) => mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            None => self.count("attention.key_length")?.unwrap_or(hidden_size / heads),
        };
        let max_positions = self.required("context_length")?;
        let sliding_window =
            self.count("attention.sliding_window")?.filter(|_| matches!(family, Phi3));
        let bias = |part: &str| self.has(&format!("blk.0.{part}.bias"));
        let config = ModelConfig {
            family,
            class_name: class.to_owned(),
            vocab_size: self.vocab_size()?,
            hidden_size,
            intermediate_size: self.required("feed_forward_length")?,
            layers,
            heads,
            kv_heads: if mla.is_some() {
                heads
            } else {
                self.count("attention.head_count_kv")?.unwrap_or(heads)
            },
            head_dim,
            max_positions,
            norm: self.norm()?,
            activation: if family == Phi { Activation::GeluTanh } else { Activation::Silu },
            rope: self.rope(head_dim, max_positions, mla, factors)?,
            attention_bias: bias("attn_q") || bias("attn_qkv"),
            attention_out_bias: bias("attn_output"),
            mlp_bias: bias("ffn_up"),
            lm_head_bias: self.has("output.bias"),
            attention_sinks: false,
            qk_norm: match family {
                Qwen3 | Qwen3Moe => QkNorm::PerHead,
                Olmo2 => QkNorm::Full,
                _ => QkNorm::None,
            },
            layer_layout: match family {
                Olmo2 => LayerLayout::PostNorm,
                Phi => LayerLayout::Parallel,
                _ => LayerLayout::Sequential,
            },
            tie_word_embeddings: !self.has("output.weight"),
            sliding_window,
            sliding_layers: vec![sliding_window.is_some(); layers],
            dtype: self.main_dtype(),
            moe: self.moe()?,
            sparse_layers: self.sparse_layers(layers),
            mla,
            bos: self.metadata.get_u32("tokenizer.ggml.bos_token_id"),
            eos: self.eos(),
            pad: self.metadata.get_u32("tokenizer.ggml.padding_token_id"),
        };
        self.check(&config)?;
        Ok(config)
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn has(&self, tensor: &str) -> bool {
        self.tensors.iter().any(|t| t.name == tensor)
    }

    fn bad(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> CheckpointError {
        Defect::new(DefectKind::ConfigValue, self.file, expected, found).key(&self.key(name)).into()
    }

    fn unsupported(
        &self,
        key: &str,
        expected: &str,
        found: impl std::fmt::Display,
    ) -> CheckpointError {
        Defect::new(DefectKind::Unsupported, self.file, expected, found).key(key).into()
    }

    /// A positive count; a list with one entry a layer counts if all entries agree.
    fn count(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        let number = match self.metadata.get_u64_array(&key) {
            Some(list) if !list.is_empty() && list.iter().all(|n| *n == list[0]) => list[0],
            Some(_) => {
                return Err(self.unsupported(
                    &key,
                    "the same number in all layers",
                    "different ones",
                ));
            }
            None => match self.metadata.get_u64(&key) {
                Some(n) => n,
                None => return Err(self.bad(name, "a whole number", value.type_label())),
            },
        };
        if number == 0 || number >= 1 << 32 {
            return Err(self.bad(name, "a whole number from 1 to 2^32", number));
        }
        Ok(Some(number as usize))
    }

    fn required(&self, name: &str) -> Result<usize> {
        self.count(name)?.ok_or_else(|| {
            let defect =
                Defect::new(DefectKind::ConfigMissing, self.file, "a whole number", "no such key");
            defect.key(&self.key(name)).into()
        })
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        let key = self.key(name);
        let Some(value) = self.metadata.get(&key) else { return Ok(None) };
        match self.metadata.get_f64(&key).filter(|x| x.is_finite()) {
            Some(x) => Ok(Some(x)),
            None => Err(self.bad(name, "a number", value.type_label())),
        }
    }

    fn refuse_unsupported(&self) -> Result<()> {
        if self.family == Family::Llama
            && self.metadata.get_u64(&self.key("expert_count")).unwrap_or(0) > 0
        {
            return Err(self.unsupported(
                &self.key("expert_count"),
                "a dense llama",
                "a mixture of experts (Mixtral)",
            ));
        }
        for (tensor, words) in [
            ("blk.0.attn_k_b.weight", "latent attention with split kv_b"),
            ("blk.0.attn_qkv.weight", "fused q, k and v"),
        ] {
            let fused_here = matches!(self.family, Family::Phi | Family::Phi3);
            if self.has(tensor) && !(fused_here && tensor.contains("qkv")) {
                let defect = Defect::new(
                    DefectKind::Unsupported,
                    self.file,
                    "the tensors of the architecture",
                    words,
                );
                return Err(defect
                    .tensor(tensor)
                    .remedy("Use the safetensors form of the model")
                    .into());
            }
        }
        let split = self.metadata.get_u64("split.count").unwrap_or(1);
        if split > 1 {
            let defect = Defect::new(
                DefectKind::Unsupported,
                self.file,
                "one file",
                format!("one of {split} parts"),
            );
            return Err(defect
                .key("split.count")
                .remedy("Join the parts with `llama-gguf-split --merge`")
                .into());
        }
        Ok(())
    }

    fn vocab_size(&self) -> Result<usize> {
        // The embedding's rows are what counts: files are padded and keys forgotten.
        let rows = self
            .tensors
            .iter()
            .find(|t| t.name == "token_embd.weight")
            .and_then(|t| t.shape.first().copied());
        match rows {
            Some(rows) if rows > 0 => Ok(rows),
            _ => Err(Defect::new(DefectKind::TensorMissing, self.file, "the embedding", "none")
                .tensor("token_embd.weight")
                .into()),
        }
    }

    /// The dtype of most bytes.
    fn main_dtype(&self) -> Option<Dtype> {
        let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
        for tensor in self.tensors {
            *bytes.entry(tensor.dtype).or_default() += tensor.bytes;
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype)
    }

    fn norm(&self) -> Result<NormKind> {
        match self.family {
            Family::Phi => Ok(NormKind::Layer {
                eps: self.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5) as f32,
            }),
            _ => match self.number("attention.layer_norm_rms_epsilon")? {
                Some(eps) if eps > 0.0 => Ok(NormKind::Rms { eps: eps as f32 }),
                other => Err(self.bad(
                    "attention.layer_norm_rms_epsilon",
                    "a number above 0",
                    format!("{other:?}"),
                )),
            },
        }
    }

    fn eos(&self) -> Vec<u32> {
        let ids = ["eos", "eot", "eom"]
            .iter()
            .filter_map(|name| self.metadata.get_u32(&format!("tokenizer.ggml.{name}_token_id")));
        let mut eos: Vec<u32> = Vec::new();
        for id in ids {
            if !eos.contains(&id) {
                eos.push(id);
            }
        }
        eos
    }

    fn rope(
        &self,
        head_dim: usize,
        max_positions: usize,
        mla: Option<Mla>,
        factors: RopeFactors,
    ) -> Result<RopeConfig> {
        let rotary_dim = match mla {
            Some(mla) => mla.qk_rope_head_dim,
            None => self.count("rope.dimension_count")?.unwrap_or(head_dim),
        };
        let pairing = match self.family {
            Family::Llama | Family::DeepseekV2 => Pairing::Interleaved,
            _ => Pairing::Halves,
        };
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let scaling = self.scaling(max_positions, rotary_dim, factors)?;
        Ok(RopeConfig { theta, rotary_dim, pairing, scaling })
    }

    fn scaling(
        &self,
        max_positions: usize,
        rotary_dim: usize,
        factors: RopeFactors,
    ) -> Result<RopeScaling> {
        let original = self.count("rope.scaling.original_context_length")?.unwrap_or(max_positions);
        for list in [&factors.all, &factors.short, &factors.long].into_iter().flatten() {
            if list.len() != rotary_dim / 2 || list.iter().any(|f| *f <= 0.0 || !f.is_finite()) {
                let expected = format!("{} positive rotary factors", rotary_dim / 2);
                return Err(self.bad("rope", expected, format!("{} numbers", list.len())));
            }
        }
        if let Some(all) = factors.all {
            return Ok(RopeScaling::LongRope {
                short_factor: all.clone(),
                long_factor: all,
                original_max_positions: max_positions,
                attention_factor: Some(1.0),
            });
        }
        if let (Some(short), Some(long)) = (factors.short, factors.long) {
            let factor = max_positions as f64 / original as f64;
            let derived = if factor <= 1.0 {
                1.0
            } else {
                (1.0 + factor.ln() / (original as f64).ln()).sqrt()
            };
            return Ok(RopeScaling::LongRope {
                short_factor: short,
                long_factor: long,
                original_max_positions: original,
                attention_factor: Some(self.number("rope.scaling.attn_factor")?.unwrap_or(derived)),
            });
        }
        let factor = self
            .number("rope.scaling.factor")?
            .or(self.number("rope.scale_linear")?)
            .filter(|f| *f > 0.0);
        match (self.metadata.get_str(&self.key("rope.scaling.type")), factor) {
            (None | Some("linear"), Some(factor)) if factor != 1.0 => {
                Ok(RopeScaling::Linear { factor })
            }
            (None | Some("none" | "linear"), _) => Ok(RopeScaling::None),
            (Some("yarn"), Some(factor)) => self.yarn(factor, original),
            (Some(other), _) => {
                let key = self.key("rope.scaling.type");
                Err(Defect::new(
                    DefectKind::UnknownRope,
                    self.file,
                    "none, linear, or yarn with a factor",
                    other,
                )
                .key(&key)
                .into())
            }
        }
    }

    fn yarn(&self, factor: f64, original: usize) -> Result<RopeScaling> {
        // DeepSeek-V2: the key holds 0.1 * mscale_all_dim, and mscale equals mscale_all_dim in its
        // files.
        let mscale = self.number("rope.scaling.yarn_log_multiplier")?.map(|m| m * 10.0);
        Ok(RopeScaling::Yarn {
            factor,
            original_max_positions: original,
            beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention_factor: self.number("rope.scaling.attn_factor")?.filter(|f| *f != 1.0),
            mscale,
            mscale_all_dim: mscale,
            truncate: true,
        })
    }

    fn mla(&self) -> Result<Mla> {
        let rope = self.required("rope.dimension_count")?;
        let query = self.required("attention.key_length")?;
        if query <= rope {
            return Err(self.bad(
                "attention.key_length",
                format!("more than the {rope} rotating dimensions"),
                query,
            ));
        }
        Ok(Mla {
            q_lora_rank: self
                .count("attention.q_lora_rank")?
                .filter(|_| self.has("blk.0.attn_q_a.weight")),
            kv_lora_rank: self.required("attention.kv_lora_rank")?,
            qk_nope_head_dim: query - rope,
            qk_rope_head_dim: rope,
            v_head_dim: self.required("attention.value_length")?,
        })
    }

    fn sparse_layers(&self, layers: usize) -> Vec<bool> {
        let sparse = matches!(self.family, Family::Qwen3Moe | Family::DeepseekV2);
        let dense = self.metadata.get_u64(&self.key("leading_dense_block_count")).unwrap_or(0);
        (0..layers.min(1 << 12)).map(|i| sparse && i as u64 >= dense).collect()
    }

    fn moe(&self) -> Result<Option<Moe>> {
        if !matches!(self.family, Family::Qwen3Moe | Family::DeepseekV2) {
            return Ok(None);
        }
        let qwen = self.family == Family::Qwen3Moe;
        Ok(Some(Moe {
            experts: self.required("expert_count")?,
            experts_per_token: self.required("expert_used_count")?,
            intermediate_size: self.required("expert_feed_forward_length")?,
            shared_experts: self
                .metadata
                .get_u64(&self.key("expert_shared_count"))
                .unwrap_or(0)
                .min(1 << 10) as usize,
            storage: ExpertStorage::Separate,
            routing: Routing {
                softmax_after_choice: false,
                // llama.cpp normalizes for every model of this architecture.
                normalize: qwen
                    || self.metadata.get_bool(&self.key("expert_weights_norm")).unwrap_or(false),
                scale: self.number("expert_weights_scale")?.filter(|s| *s != 0.0).unwrap_or(1.0),
                groups: self.groups()?,
            },
            clamped: None,
        }))
    }

    fn groups(&self) -> Result<Option<(usize, usize)>> {
        Ok(match (self.count("expert_group_count")?, self.count("expert_group_used_count")?) {
            (Some(groups), Some(kept)) if groups > 1 => Some((groups, kept)),
            _ => None,
        })
    }

    fn check(&self, c: &ModelConfig) -> Result<()> {
        let limits = [
            ("block_count", c.layers, 1 << 12),
            ("embedding_length", c.hidden_size, 1 << 20),
            ("feed_forward_length", c.intermediate_size, 1 << 20),
            ("attention.head_count", c.heads, 1 << 14),
            ("attention.key_length", c.head_dim, 1 << 20),
            ("expert_count", c.moe.map_or(0, |moe| moe.experts), 1 << 12),
        ];
        if let Some((name, value, max)) = limits.iter().find(|(_, value, max)| value > max) {
            return Err(self.bad(name, format!("at most {max}"), value));
        }
        if !c.heads.is_multiple_of(c.kv_heads) {
            return Err(self.bad(
                "attention.head_count_kv",
                format!("a divisor of {} heads", c.heads),
                c.kv_heads,
            ));
        }
        if c.rope.rotary_dim < 2
            || !c.rope.rotary_dim.is_multiple_of(2)
            || c.rope.rotary_dim > c.head_dim
        {
            return Err(self.bad(
                "rope.dimension_count",
                format!("an even number up to {}", c.head_dim),
                c.rope.rotary_dim,
            ));
        }
        if c.rope.theta <= 1.0 {
            return Err(self.bad("rope.freq_base", "a number above 1", c.rope.theta));
        }
        Ok(())
    }
}
