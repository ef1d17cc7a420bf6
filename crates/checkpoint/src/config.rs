//! The model's shape, in one form for all families.
use crate::{Dtype, RopeConfig, RopeScaling};
use serde::Serialize;

/// A family of architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

/// How hidden states are normalized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs)]
pub enum NormKind {
    Rms { eps: f32 },
    Layer { eps: f32 },
}

/// The non-linearity of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Activation {
    Silu,
    Gelu,
    GeluTanh,
}

/// Normalization of queries and keys before they rotate: over each head, or over all of them at
/// once (OLMo-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum QkNorm {
    None,
    PerHead,
    Full,
}

/// How attention, MLP and norms are put together: norms before each half, norms after each half
/// (OLMo-2), or both halves from one norm (Phi-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum LayerLayout {
    Sequential,
    PostNorm,
    Parallel,
}

/// Which dimensions rotate together: `i` and `i + rotary_dim / 2`, or `2 i` and `2 i + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Pairing {
    Halves,
    Interleaved,
}

/// How the weights of a layer's experts lie in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ExpertStorage {
    /// `experts.{j}.gate_proj.weight [i, h]`, `up_proj [i, h]`, `down_proj [h, i]`.
    Separate,
    /// gpt-oss: `experts.gate_up_proj [e, h, 2i]` with gate and up in turns, `down_proj [e, i, h]`,
    /// each with a bias.
    Fused,
    /// gpt-oss: as `Fused`, transposed and in MXFP4: `gate_up_proj_blocks [e, 2i, h/32, 16]` and
    /// `_scales [e, 2i, h/32]`.
    Mxfp4,
}

/// How a token's experts are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Routing {
    /// The softmax goes over the chosen experts only (gpt-oss), not over all.
    pub softmax_after_choice: bool,
    /// The weights of the chosen experts are divided by their sum.
    pub normalize: bool,
    /// The weights are multiplied with this.
    pub scale: f64,
    /// `(groups, kept)`: the best experts are sought in the `kept` groups that hold the best
    /// single experts.
    pub groups: Option<(usize, usize)>,
}

/// gpt-oss: `gate = min(gate, limit)`, `up = clamp(up, -limit, limit)`, `out = (up + 1) * gate *
/// sigmoid(alpha * gate)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ClampedSwiglu {
    pub alpha: f64,
    pub limit: f64,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moe {
    /// Experts in a layer.
    pub experts: usize,
    /// Experts that compute a token.
    pub experts_per_token: usize,
    /// Width of an expert.
    pub intermediate_size: usize,
    /// Experts that every token visits; they are one MLP of `shared_experts * intermediate_size`.
    pub shared_experts: usize,
    /// How the weights lie in the checkpoint.
    pub storage: ExpertStorage,
    /// How experts are chosen.
    pub routing: Routing,
    /// The clamped activation of gpt-oss.
    pub clamped: Option<ClampedSwiglu>,
}

/// Latent attention (DeepSeek-V2). The norms over the latents have an eps of 1e-6 whatever the
/// model's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Mla {
    /// `None`: queries come from one matrix, `q_proj`.
    pub q_lora_rank: Option<usize>,
    pub kv_lora_rank: usize,
    pub qk_nope_head_dim: usize,
    pub qk_rope_head_dim: usize,
    pub v_head_dim: usize,
}

/// The shape of a model, the same form for all families.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct ModelConfig {
    pub family: Family,
    /// The class in transformers, `LlamaForCausalLM`.
    pub class_name: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the dense MLP; of one expert, see [`Moe`].
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a query or key head. With latent attention: nope + rope.
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm: NormKind,
    pub activation: Activation,
    pub rope: RopeConfig,
    /// Biases of q, k and v.
    pub attention_bias: bool,
    pub attention_out_bias: bool,
    pub mlp_bias: bool,
    pub lm_head_bias: bool,
    /// gpt-oss: a learnt logit for each head that takes part in the softmax and is dropped
    /// (`self_attn.sinks [heads]`).
    pub attention_sinks: bool,
    pub qk_norm: QkNorm,
    pub layer_layout: LayerLayout,
    pub tie_word_embeddings: bool,
    pub sliding_window: Option<usize>,
    /// For each layer whether it looks through the window only.
    pub sliding_layers: Vec<bool>,
    pub dtype: Option<Dtype>,
    pub moe: Option<Moe>,
    /// For each layer whether it has experts; the others have one dense MLP.
    pub sparse_layers: Vec<bool>,
    pub mla: Option<Mla>,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl ModelConfig {
    /// What the products of queries and keys are multiplied with: `head_dim^-0.5`, and for latent
    /// attention under yarn the square of its `mscale` besides.
    pub fn softmax_scale(&self) -> f64 {
        let plain = (self.head_dim as f64).powf(-0.5);
        match (&self.mla, &self.rope.scaling) {
            (Some(_), RopeScaling::Yarn { factor, mscale_all_dim: Some(m), .. }) if *m != 0.0 => {
                let mscale = crate::rope::yarn_mscale(*factor, *m);
                plain * mscale * mscale
            }
            _ => plain,
        }
    }

    /// Width of a value head.
    pub fn value_dim(&self) -> usize {
        self.mla.map_or(self.head_dim, |mla| mla.v_head_dim)
    }

    /// Whether layer `i` has experts.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.sparse_layers.get(layer).copied().unwrap_or(false)
    }
}
