//! Converts GGUF hyper-parameters to a [`ModelConfig`]. The keys are documented in
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
mod check;
mod experts;
mod keys;
mod rope;

use crate::Dtype;
use crate::config::{Activation, ModelConfig, NormKind};
use crate::error::{Defect, DefectKind};
use crate::family::{FAMILIES, Family};
use crate::gguf::reader::GgufFile;
use crate::gguf_metadata::GgufMetadata;
use keys::{GgufKeys, Result};
pub(super) use rope::RopeFactors;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the hyper-parameters of a GGUF file.
///
/// # Errors
/// A [`Defect`] if the architecture is unknown or unsupported, or a key is missing, invalid or out
/// of bounds.
pub(super) fn read_config(
    file: &Path,
    gguf: &GgufFile,
    factors: RopeFactors,
) -> Result<ModelConfig> {
    let metadata = &gguf.metadata;
    let architecture = metadata.get_str("general.architecture").unwrap_or("none");
    let Some(family) = family(metadata, architecture) else {
        let known: Vec<&str> = FAMILIES.iter().filter_map(|f| f.gguf_architecture).collect();
        let expected = format!("one of {}", known.join(", "));
        let defect = Defect::new(DefectKind::GgufArchitecture, file, expected, architecture);
        return Err(defect.key("general.architecture").into());
    };
    let keys = GgufKeys { file, metadata, tensors: &gguf.tensors, architecture, family };
    keys.refuse_unsupported()?;
    let config = keys.model_config(factors)?;
    keys.check_bounds(&config)?;
    Ok(config)
}

/// The family of an architecture. `llama` with experts is Mixtral.
fn family(metadata: &GgufMetadata, architecture: &str) -> Option<Family> {
    let family = Family::of_gguf(architecture)?;
    let experts = metadata.get_u64(&format!("{architecture}.expert_count")).unwrap_or(0);
    Some(if family == Family::Llama && experts > 0 { Family::Mixtral } else { family })
}

impl GgufKeys<'_> {
    fn model_config(&self, factors: RopeFactors) -> Result<ModelConfig> {
        let (family, traits) = (self.family, self.family.traits());
        let hidden_size = self.required("embedding_length")?;
        let heads = self.required("attention.head_count")?;
        let layers = self.required("block_count")?;
        let mla = if traits.latent_attention { Some(self.mla()?) } else { None };
        let head_dim = match mla {
            Some(mla) => mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            None => self.count("attention.key_length")?.unwrap_or(hidden_size / heads),
        };
        let max_positions = self.required("context_length")?;
        let slides = matches!(family, Family::Phi3 | Family::GptOss);
        let sliding_window = self.count("attention.sliding_window")?.filter(|_| slides);
        // gpt-oss alternates; the file has no key for it.
        let slides = |layer: usize| family != Family::GptOss || layer.is_multiple_of(2);
        let bias = |part: &str| self.has(&format!("blk.0.{part}.bias"));
        Ok(ModelConfig {
            family,
            class_name: traits.class_name.to_owned(),
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
            activation: if family == Family::Phi { Activation::GeluTanh } else { Activation::Silu },
            rope: self.rope(head_dim, max_positions, mla, factors)?,
            attention_bias: bias("attn_q") || bias("attn_qkv"),
            attention_out_bias: bias("attn_output"),
            mlp_bias: bias("ffn_up"),
            lm_head_bias: self.has("output.bias"),
            attention_sinks: family == Family::GptOss,
            qk_norm: traits.qk_norm,
            layer_layout: traits.layer_layout,
            tie_word_embeddings: !self.has("output.weight"),
            sliding_window,
            sliding_layers: (0..layers.min(1 << 12))
                .map(|layer| sliding_window.is_some() && slides(layer))
                .collect(),
            dtype: self.main_dtype(),
            moe: self.moe()?,
            sparse_layers: self.sparse_layers(layers),
            mla,
            block_fp8: false,
            bos: self.metadata.get_u32("tokenizer.ggml.bos_token_id"),
            eos: self.metadata.end_tokens(),
            pad: self.metadata.get_u32("tokenizer.ggml.padding_token_id"),
        })
    }

    fn vocab_size(&self) -> Result<usize> {
        // The number of rows of the embedding, which may be padded. The key `vocab_size` is often
        // absent.
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

    /// The dtype that accounts for the most bytes of the file's tensors.
    fn main_dtype(&self) -> Option<Dtype> {
        let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
        for tensor in self.tensors {
            *bytes.entry(tensor.dtype).or_default() += tensor.bytes;
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype)
    }

    fn norm(&self) -> Result<NormKind> {
        if self.family.traits().layer_norm {
            let eps = self.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5);
            return Ok(NormKind::Layer { eps: eps as f32 });
        }
        let key = "attention.layer_norm_rms_epsilon";
        match self.number(key)? {
            Some(eps) if eps > 0.0 => Ok(NormKind::Rms { eps: eps as f32 }),
            other => Err(self.bad(key, "a number above 0", format!("{other:?}"))),
        }
    }
}
