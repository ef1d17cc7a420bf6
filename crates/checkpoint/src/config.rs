//! The hyper-parameters of a model, in one type for all families and file formats.
use crate::Dtype;
use crate::family::{Family, LayerLayout, QkNorm};
use crate::rope::{RopeConfig, RopeScaling};
use serde::Serialize;

/// The kind of normalization layer for hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum NormKind {
    Rms { eps: f32 },
    Layer { eps: f32 },
}

/// The activation function of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    Silu,
    Gelu,
    GeluTanh,
}

/// The storage format of the weights of a layer's experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ExpertStorage {
    /// One matrix per expert and projection: `experts.{j}.gate_proj.weight [i, h]`, `up_proj [i,
    /// h]`, `down_proj [h, i]`, where `h` is the hidden size and `i` the width of an expert.
    Separate,
    /// gpt-oss: one tensor per projection for all `e` experts: `experts.gate_up_proj [e, h, 2i]`
    /// with gate and up columns interleaved, and `down_proj [e, i, h]`. Both projections have a
    /// bias.
    Fused,
    /// gpt-oss: as `Fused`, but transposed and in MXFP4: `gate_up_proj_blocks [e, 2i, h/32, 16]`
    /// and `gate_up_proj_scales [e, 2i, h/32]`.
    Mxfp4,
}

/// Rows and columns of a block of weights with a common scale, in block FP8.
pub const FP8_BLOCK: usize = 128;

/// How the router selects the experts of a token, and which weights it gives their outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Routing {
    /// Whether the softmax is over the logits of the selected experts only (gpt-oss) instead of
    /// over those of all experts.
    pub softmax_after_choice: bool,
    /// Whether the weights of the selected experts are divided by their sum.
    pub normalize: bool,
    /// Factor that multiplies the weights of the selected experts.
    pub scale: f64,
    /// `(groups, kept)`: group-limited routing. The experts are divided into `groups` groups, and
    /// only the `kept` groups with the highest-scoring best expert take part in the selection.
    pub groups: Option<(usize, usize)>,
}

/// gpt-oss's activation function: `gate = min(gate, limit)`, `up = clamp(up, -limit, limit)`,
/// `out = (up + 1) * gate * sigmoid(alpha * gate)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClampedSwiglu {
    pub alpha: f64,
    pub limit: f64,
}

/// The hyper-parameters of a mixture of experts, which replaces the dense MLP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moe {
    /// Number of routed experts in a layer.
    pub experts: usize,
    /// Number of routed experts that a token uses.
    pub experts_per_token: usize,
    /// Width of the MLP of one expert.
    pub intermediate_size: usize,
    /// Width of the MLP that every token uses, which stands for one or more shared experts; 0:
    /// none.
    pub shared_size: usize,
    /// Whether the output of the shared experts is multiplied with a gate: the sigmoid of a linear
    /// layer with one output (Qwen2-MoE).
    pub shared_gate: bool,
    /// Whether the router and the routed experts have biases (gpt-oss).
    pub biases: bool,
    pub storage: ExpertStorage,
    pub routing: Routing,
    /// gpt-oss's activation function; `None`: the activation function of the model.
    pub clamped: Option<ClampedSwiglu>,
}

impl Moe {
    /// Numbers of a row's up projection: with those of the gate if a matrix has both in turns.
    pub fn up_width(&self) -> usize {
        let pairs = self.storage == ExpertStorage::Mxfp4;
        if pairs { 2 * self.intermediate_size } else { self.intermediate_size }
    }
}

/// Multi-head latent attention (DeepSeek-V2). The norms of the latents have an epsilon of 1e-6,
/// independent of the model's epsilon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mla {
    /// Rank of the low-rank pair of query matrices; `None`: one matrix `q_proj` instead.
    pub q_lora_rank: Option<usize>,
    pub kv_lora_rank: usize,
    pub qk_nope_head_dim: usize,
    pub qk_rope_head_dim: usize,
    pub v_head_dim: usize,
    /// Whether `kv_b_proj` is stored as two matrices, as newer GGUF files have it: `k_b_proj`, of
    /// which each head's part is transposed, and `v_b_proj`.
    pub split_kv_b: bool,
}

/// The hyper-parameters of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    pub family: Family,
    /// The name of the model class in transformers, such as `LlamaForCausalLM`.
    pub class_name: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the dense MLP. The width of an expert is in [`Moe`].
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a query or key head; with latent attention `qk_nope_head_dim + qk_rope_head_dim`.
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm: NormKind,
    pub activation: Activation,
    pub rope: RopeConfig,
    /// Whether the q, k and v projections have biases.
    pub attention_bias: bool,
    pub attention_out_bias: bool,
    pub mlp_bias: bool,
    pub lm_head_bias: bool,
    /// Whether attention has sinks (gpt-oss): one learned logit per head that takes part in the
    /// softmax but has no value (`self_attn.sinks [heads]`).
    pub attention_sinks: bool,
    pub qk_norm: QkNorm,
    pub layer_layout: LayerLayout,
    pub tie_word_embeddings: bool,
    pub sliding_window: Option<usize>,
    /// For each layer, whether its attention is limited to the sliding window.
    pub sliding_layers: Vec<bool>,
    pub dtype: Option<Dtype>,
    pub moe: Option<Moe>,
    /// For each layer, whether it has a mixture of experts instead of a dense MLP.
    pub sparse_layers: Vec<bool>,
    pub mla: Option<Mla>,
    /// Whether the layers' matrices may be stored in block FP8 (DeepSeek-V3, Qwen3-FP8): E4M3
    /// elements, and in the tensor `weight_scale_inv` a factor for each block of [`FP8_BLOCK`] rows
    /// and columns.
    pub block_fp8: bool,
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl ModelConfig {
    /// The factor of attention scores: `head_dim^-0.5`. With latent attention and YaRN it is
    /// multiplied by `mscale^2`.
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

    /// Width of the widest MLP that is not a routed expert: of a dense layer or of the shared
    /// experts. 0: there is none.
    pub fn mlp_width(&self) -> usize {
        let dense = (0..self.layers).any(|layer| !self.is_sparse(layer));
        let dense = if dense { self.intermediate_size } else { 0 };
        self.moe.map_or(dense, |moe| dense.max(moe.shared_size))
    }

    /// Whether a layer has routed experts: [`Self::is_sparse`] and a description of them.
    pub fn has_experts(&self, layer: usize) -> bool {
        self.moe.is_some() && self.is_sparse(layer)
    }

    /// Whether a tensor is the weight or the bias of a router of experts.
    pub fn is_router(&self, tensor: &str) -> bool {
        let router = self.family.traits().expert_names.router;
        self.moe.is_some() && tensor.rsplit('.').nth(1) == Some(router)
    }

    /// Whether a layer has a mixture of experts.
    pub fn is_sparse(&self, layer: usize) -> bool {
        self.sparse_layers.get(layer).copied().unwrap_or(false)
    }
}
