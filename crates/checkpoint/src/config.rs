//! The model's shape, in one form for all families.
use crate::Dtype;

/// A family of architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)]
pub enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Olmo2,
    Phi,
    Phi3,
    GptOss,
    DeepseekV2,
}

/// How hidden states are normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Norm {
    Rms { eps: f32 },
    Layer { eps: f32 },
}

/// The non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Activation {
    Silu,
    Gelu,
    GeluTanh,
}

/// Normalisation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum QkNorm {
    None,
    PerHead,
    Full,
}

/// How attention, MLP and norms are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BlockShape {
    Sequential,
    PostNorm,
    Parallel,
}

/// Which dimensions rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Pairing {
    Halves,
    Interleaved,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moe {
    /// Experts in a layer.
    pub experts: usize,
    /// Experts that compute a token.
    pub experts_per_token: usize,
    /// Width of an expert.
    pub intermediate_size: usize,
    /// Experts that every token visits.
    pub shared_experts: usize,
    /// Layers before the first with experts.
    pub dense_layers: usize,
}

/// Latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Mla {
    pub q_lora_rank: usize,
    pub kv_lora_rank: usize,
    pub qk_nope_head_dim: usize,
    pub qk_rope_head_dim: usize,
    pub v_head_dim: usize,
}

/// The shape of a model, the same form for all families.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ModelConfig {
    pub family: Family,
    /// The class in transformers, `LlamaForCausalLM`.
    pub class_name: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm: Norm,
    pub activation: Activation,
    pub rope: crate::Rope,
    /// Biases of q, k and v.
    pub attention_bias: bool,
    pub attention_out_bias: bool,
    pub mlp_bias: bool,
    pub lm_head_bias: bool,
    pub qk_norm: QkNorm,
    pub block: BlockShape,
    pub tie_word_embeddings: bool,
    pub sliding_window: Option<usize>,
    /// For each layer whether it looks through the window.
    pub sliding_layers: Vec<bool>,
    pub dtype: Option<Dtype>,
    pub moe: Option<Moe>,
    pub mla: Option<Mla>,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}
