//! The hyper-parameters of a model, in one form for all families and file formats.
use crate::Dtype;
use crate::family::{Family, LayerLayout, QkNorm};
use crate::rope::{RopeConfig, RopeScaling};
use serde::Serialize;

/// The norm of hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum NormKind {
    Rms { eps: f32 },
    Layer { eps: f32 },
}

/// The MLP's activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    Silu,
    Gelu,
    GeluTanh,
}

/// How a checkpoint stores the weights of a layer's experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ExpertStorage {
    /// `experts.{j}.gate_proj.weight [i, h]`, `up_proj [i, h]`, `down_proj [h, i]`.
    Separate,
    /// gpt-oss: `experts.gate_up_proj [e, h, 2i]` with gate and up interleaved,
    /// `down_proj [e, i, h]`, each with a bias.
    Fused,
    /// gpt-oss: as `Fused`, but transposed and in MXFP4: `gate_up_proj_blocks [e, 2i, h/32, 16]`
    /// and `_scales [e, 2i, h/32]`.
    Mxfp4,
}

/// How the router selects and weights a token's experts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Routing {
    /// Softmax over the selected experts' logits (gpt-oss) instead of all experts'.
    pub softmax_after_choice: bool,
    /// Divides the weights of the selected experts by their sum.
    pub normalize: bool,
    /// Factor of the weights.
    pub scale: f64,
    /// `(groups, kept)`: group-limited routing. Experts are selected from the `kept` groups whose
    /// best expert scores highest.
    pub groups: Option<(usize, usize)>,
}

/// gpt-oss's activation: `gate = min(gate, limit)`, `up = clamp(up, -limit, limit)`,
/// `out = (up + 1) * gate * sigmoid(alpha * gate)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClampedSwiglu {
    pub alpha: f64,
    pub limit: f64,
}

/// A mixture of experts in place of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moe {
    /// Routed experts of a layer.
    pub experts: usize,
    /// Routed experts that each token uses.
    pub experts_per_token: usize,
    /// Width of an expert.
    pub intermediate_size: usize,
    /// Experts that every token uses: one MLP of width `shared_experts * intermediate_size`.
    pub shared_experts: usize,
    pub storage: ExpertStorage,
    pub routing: Routing,
    /// gpt-oss's activation; `None`: the model's.
    pub clamped: Option<ClampedSwiglu>,
}

/// Multi-head latent attention (DeepSeek-V2). The norms of the latents have an eps of 1e-6,
/// independent of the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mla {
    /// `None`: one matrix `q_proj` instead of a low-rank pair.
    pub q_lora_rank: Option<usize>,
    pub kv_lora_rank: usize,
    pub qk_nope_head_dim: usize,
    pub qk_rope_head_dim: usize,
    pub v_head_dim: usize,
}

/// The hyper-parameters of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    pub family: Family,
    /// The class in transformers, `LlamaForCausalLM`.
    pub class_name: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the dense MLP. [`Moe`] has that of an expert.
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a query or key head; with latent attention nope + rope.
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm: NormKind,
    pub activation: Activation,
    pub rope: RopeConfig,
    /// Biases of the q, k and v projections.
    pub attention_bias: bool,
    pub attention_out_bias: bool,
    pub mlp_bias: bool,
    pub lm_head_bias: bool,
    /// gpt-oss: a learned logit for each head that joins the softmax and has no value
    /// (`self_attn.sinks [heads]`).
    pub attention_sinks: bool,
    pub qk_norm: QkNorm,
    pub layer_layout: LayerLayout,
    pub tie_word_embeddings: bool,
    pub sliding_window: Option<usize>,
    /// Whether each layer attends within the window only.
    pub sliding_layers: Vec<bool>,
    pub dtype: Option<Dtype>,
    pub moe: Option<Moe>,
    /// Whether each layer has experts; the others have a dense MLP.
    pub sparse_layers: Vec<bool>,
    pub mla: Option<Mla>,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl ModelConfig {
    /// The factor of attention scores: `head_dim^-0.5`, for latent attention under YaRN times
    /// `mscale^2`.
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
