//! The families of architectures: the name of each family in `config.json` and in GGUF, and the
//! properties that all of its models have.
use crate::rope::Pairing;
use serde::Serialize;

/// A family of model architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Family {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen2Moe,
    Qwen3,
    Qwen3Moe,
    Olmoe,
    Olmo2,
    Phi,
    Phi3,
    GptOss,
    DeepseekV2,
}

/// Normalization of queries and keys before RoPE: each head separately, or all heads as one vector
/// (OLMo-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum QkNorm {
    None,
    PerHead,
    Full,
}

/// How a transformer layer combines attention, MLP and norms: a norm before attention and one
/// before the MLP, a norm after attention and one after the MLP (OLMo-2), or one norm whose output
/// is the input of both, computed in parallel (Phi-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LayerLayout {
    Sequential,
    PostNorm,
    Parallel,
}

/// The names of the tensors of a mixture of experts in a layer: the router `{block}.{router}`, the
/// matrices of expert `j` `{block}.experts.{j}.{gate}`, and those of the shared experts
/// `{block}.{shared}.gate_proj`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertNames {
    pub block: &'static str,
    pub router: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub shared: &'static str,
    /// The gate of the shared experts (Qwen2-MoE).
    pub shared_gate: &'static str,
}

const EXPERT_NAMES: ExpertNames = ExpertNames {
    block: "mlp",
    router: "gate",
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
    shared: "shared_experts",
    shared_gate: "shared_expert_gate",
};

/// Properties that all models of a family have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyTraits {
    pub family: Family,
    /// The name of the model class in transformers.
    pub class_name: &'static str,
    /// `general.architecture` in GGUF files; `None` if GGUF files of the family are not supported.
    pub gguf_architecture: Option<&'static str>,
    pub qk_norm: QkNorm,
    pub layer_layout: LayerLayout,
    /// Whether the norms are LayerNorm instead of RMSNorm.
    pub layer_norm: bool,
    /// Whether keys and values are stored as latents (MLA, DeepSeek-V2).
    pub latent_attention: bool,
    /// Whether layers may have a mixture of experts.
    pub experts: bool,
    pub expert_names: ExpertNames,
    /// Which dimensions RoPE rotates together in Hugging Face's row order.
    pub hf_pairing: Pairing,
    /// Which dimensions RoPE rotates together in GGUF's row order: the converter reorders the rows
    /// of Llama's query and key matrices.
    pub gguf_pairing: Pairing,
    /// The name of the norm after the last layer.
    pub final_norm: &'static str,
}

/// The traits of a plain decoder: pre-norm RMSNorm, no norm of queries and keys, one dense MLP per
/// layer.
const fn decoder(
    family: Family,
    class_name: &'static str,
    gguf_architecture: Option<&'static str>,
) -> FamilyTraits {
    FamilyTraits {
        family,
        class_name,
        gguf_architecture,
        qk_norm: QkNorm::None,
        layer_layout: LayerLayout::Sequential,
        layer_norm: false,
        latent_attention: false,
        experts: false,
        expert_names: EXPERT_NAMES,
        hf_pairing: Pairing::Halves,
        gguf_pairing: Pairing::Halves,
        final_norm: "model.norm",
    }
}

/// All families, in the order of [`Family`].
pub const FAMILIES: [FamilyTraits; 13] = [
    FamilyTraits {
        gguf_pairing: Pairing::Interleaved,
        ..decoder(Family::Llama, "LlamaForCausalLM", Some("llama"))
    },
    decoder(Family::Mistral, "MistralForCausalLM", None),
    // GGUF files of Mixtral have the architecture `llama` and a number of experts.
    FamilyTraits {
        experts: true,
        expert_names: ExpertNames {
            block: "block_sparse_moe",
            gate: "w1",
            up: "w3",
            down: "w2",
            ..EXPERT_NAMES
        },
        gguf_pairing: Pairing::Interleaved,
        ..decoder(Family::Mixtral, "MixtralForCausalLM", None)
    },
    decoder(Family::Qwen2, "Qwen2ForCausalLM", Some("qwen2")),
    FamilyTraits {
        experts: true,
        expert_names: ExpertNames { shared: "shared_expert", ..EXPERT_NAMES },
        ..decoder(Family::Qwen2Moe, "Qwen2MoeForCausalLM", Some("qwen2moe"))
    },
    FamilyTraits {
        qk_norm: QkNorm::PerHead,
        ..decoder(Family::Qwen3, "Qwen3ForCausalLM", Some("qwen3"))
    },
    FamilyTraits {
        qk_norm: QkNorm::PerHead,
        experts: true,
        ..decoder(Family::Qwen3Moe, "Qwen3MoeForCausalLM", Some("qwen3moe"))
    },
    FamilyTraits {
        qk_norm: QkNorm::Full,
        experts: true,
        ..decoder(Family::Olmoe, "OlmoeForCausalLM", Some("olmoe"))
    },
    FamilyTraits {
        qk_norm: QkNorm::Full,
        layer_layout: LayerLayout::PostNorm,
        ..decoder(Family::Olmo2, "Olmo2ForCausalLM", Some("olmo2"))
    },
    FamilyTraits {
        layer_layout: LayerLayout::Parallel,
        layer_norm: true,
        final_norm: "model.final_layernorm",
        ..decoder(Family::Phi, "PhiForCausalLM", Some("phi2"))
    },
    decoder(Family::Phi3, "Phi3ForCausalLM", Some("phi3")),
    FamilyTraits {
        experts: true,
        expert_names: ExpertNames { router: "router", ..EXPERT_NAMES },
        ..decoder(Family::GptOss, "GptOssForCausalLM", Some("gpt-oss"))
    },
    FamilyTraits {
        latent_attention: true,
        experts: true,
        hf_pairing: Pairing::Interleaved,
        gguf_pairing: Pairing::Interleaved,
        ..decoder(Family::DeepseekV2, "DeepseekV2ForCausalLM", Some("deepseek2"))
    },
];

impl Family {
    /// Properties that all models of the family have in common.
    pub fn traits(self) -> &'static FamilyTraits {
        &FAMILIES[self as usize]
    }

    /// The family of a transformers class name.
    pub(crate) fn of_class(class_name: &str) -> Option<Family> {
        FAMILIES.iter().find(|known| known.class_name == class_name).map(|known| known.family)
    }

    /// The family of a GGUF `general.architecture`.
    pub(crate) fn of_gguf(architecture: &str) -> Option<Family> {
        let is = |known: &&FamilyTraits| known.gguf_architecture == Some(architecture);
        FAMILIES.iter().find(is).map(|known| known.family)
    }
}

#[cfg(test)]
mod tests {
    use super::FAMILIES;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, known) in FAMILIES.iter().enumerate() {
            assert_eq!(known.family as usize, index, "{:?}", known.family);
            assert_eq!(known.family.traits(), known);
        }
    }

    #[test]
    fn the_guide_to_models_names_each_family() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md");
        let guide = std::fs::read_to_string(path).expect("read docs/models.md");
        for known in &FAMILIES {
            let architecture = known.gguf_architecture.unwrap_or("llama");
            let row = format!("| `{}` | `{architecture}` |", known.class_name);
            assert!(guide.contains(&row), "docs/models.md has no row {row}");
        }
    }
}
