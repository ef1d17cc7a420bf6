//! The tensors that a configuration requires, with their Hugging Face names and row-major shapes.
use crate::config::{ExpertStorage, FP8_BLOCK, Mla, ModelConfig, Moe, NormKind};
use crate::family::{Family, LayerLayout, QkNorm};
use serde::Serialize;

/// A tensor that a configuration requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedTensor {
    pub name: String,
    /// Row-major shape; `[out, in]` for a matrix.
    pub shape: Vec<usize>,
    /// Index of the tensor's module in [`modules`](crate::modules()).
    pub module: usize,
    pub requirement: Requirement,
    pub content: TensorContent,
}

/// Whether a checkpoint must contain a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Requirement {
    /// A checkpoint without the tensor is an error.
    Required,
    /// The output head of a model with tied embeddings: the file may contain it, but it is not
    /// loaded, since the embedding is used as the head.
    Tied,
    /// The scales of a matrix of a checkpoint with block FP8: required if the matrix is stored in
    /// FP8, which is not so for all.
    ScalesOfFp8,
}

/// The role of a tensor in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TensorContent {
    /// A weight matrix.
    Weight,
    /// The weights of a norm, which are around 1.
    NormWeight,
    /// The bias of a projection or a norm.
    Bias,
    /// The factors of the blocks of a matrix in block FP8, `[rows / 128, columns / 128]`, rounded
    /// up.
    BlockScales,
    /// MXFP4 elements: two 4-bit floats per byte.
    Fp4Blocks,
    /// MXFP4 scales: one byte per quantization block of 32 elements, an exponent biased by 127.
    Fp4Scales,
}

impl ExpectedTensor {
    /// The name of the matrix whose scales this tensor holds; `None` for other tensors.
    pub fn scaled_matrix(&self) -> Option<&str> {
        match self.content {
            TensorContent::BlockScales => self.name.strip_suffix("_scale_inv"),
            _ => None,
        }
    }
}

/// All tensors of a model, in the order of embedding, layers, norm and head.
pub fn expected_tensors(config: &ModelConfig) -> Vec<ExpectedTensor> {
    let mut list = TensorList { config, module: 0, prefix: String::new(), tensors: Vec::new() };
    list.matrix("model.embed_tokens", config.vocab_size, config.hidden_size);
    for layer in 0..config.layers {
        list.enter(format!("model.layers.{layer}."));
        attention(&mut list);
        mlp(&mut list, layer);
        layer_norms(&mut list);
        // The routed experts are the module after the rest of the layer.
        list.module += usize::from(config.has_experts(layer));
    }
    list.enter(String::new());
    list.norm(config.family.traits().final_norm, config.hidden_size);
    list.enter(String::new());
    head(&mut list);
    list.tensors
}

struct TensorList<'a> {
    config: &'a ModelConfig,
    module: usize,
    prefix: String,
    tensors: Vec<ExpectedTensor>,
}

impl TensorList<'_> {
    /// Begins the next module.
    fn enter(&mut self, prefix: String) {
        self.module += 1;
        self.prefix = prefix;
    }

    fn push(&mut self, name: &str, shape: &[usize], content: TensorContent) {
        let routed_expert = name
            .strip_prefix(self.config.family.traits().expert_names.block)
            .is_some_and(|rest| rest.starts_with(".experts."));
        let name = format!("{}{name}", self.prefix);
        let requirement = Requirement::Required;
        self.tensors.push(ExpectedTensor {
            name,
            shape: shape.to_vec(),
            module: self.module + usize::from(routed_expert),
            requirement,
            content,
        });
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) {
        self.push(&format!("{name}.weight"), &[rows, cols], TensorContent::Weight);
        // Only matrices of layers are quantized, and routers are not.
        let router = ["gate", "router"].iter().any(|end| name.ends_with(end));
        if self.config.block_fp8 && !self.prefix.is_empty() && !router {
            let blocks = [rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)];
            self.push(&format!("{name}.weight_scale_inv"), &blocks, TensorContent::BlockScales);
            if let Some(scales) = self.tensors.last_mut() {
                scales.requirement = Requirement::ScalesOfFp8;
            }
        }
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize, bias: bool) {
        self.matrix(name, rows, cols);
        if bias {
            self.push(&format!("{name}.bias"), &[rows], TensorContent::Bias);
        }
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(&format!("{name}.weight"), &[width], TensorContent::NormWeight);
        if matches!(self.config.norm, NormKind::Layer { .. }) {
            self.push(&format!("{name}.bias"), &[width], TensorContent::Bias);
        }
    }
}

fn attention(list: &mut TensorList) {
    let c = list.config;
    if let Some(mla) = c.mla {
        return latent_attention(list, mla);
    }
    let (hidden, queries, keys) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);
    if c.family == Family::Phi3 {
        list.matrix("self_attn.qkv_proj", queries + 2 * keys, hidden);
    } else {
        list.linear("self_attn.q_proj", queries, hidden, c.attention_bias);
        list.linear("self_attn.k_proj", keys, hidden, c.attention_bias);
        list.linear("self_attn.v_proj", keys, hidden, c.attention_bias);
    }
    let out = if c.family == Family::Phi { "self_attn.dense" } else { "self_attn.o_proj" };
    list.linear(out, hidden, queries, c.attention_out_bias);
    match c.qk_norm {
        QkNorm::None => {}
        QkNorm::PerHead => qk_norms(list, c.head_dim, c.head_dim),
        QkNorm::Full => qk_norms(list, queries, keys),
    }
    if c.attention_sinks {
        list.push("self_attn.sinks", &[c.heads], TensorContent::Bias);
    }
}

fn qk_norms(list: &mut TensorList, query_width: usize, key_width: usize) {
    list.norm("self_attn.q_norm", query_width);
    list.norm("self_attn.k_norm", key_width);
}

fn latent_attention(list: &mut TensorList, mla: Mla) {
    let c = list.config;
    let queries = c.heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
    match mla.q_lora_rank {
        None => list.matrix("self_attn.q_proj", queries, c.hidden_size),
        Some(rank) => {
            list.linear("self_attn.q_a_proj", rank, c.hidden_size, c.attention_bias);
            list.norm("self_attn.q_a_layernorm", rank);
            list.matrix("self_attn.q_b_proj", queries, rank);
        }
    }
    let latent = mla.kv_lora_rank + mla.qk_rope_head_dim;
    list.linear("self_attn.kv_a_proj_with_mqa", latent, c.hidden_size, c.attention_bias);
    list.norm("self_attn.kv_a_layernorm", mla.kv_lora_rank);
    if mla.split_kv_b {
        let (keys, values) = (c.heads * mla.kv_lora_rank, c.heads * mla.v_head_dim);
        list.matrix("self_attn.k_b_proj", keys, mla.qk_nope_head_dim);
        list.matrix("self_attn.v_b_proj", values, mla.kv_lora_rank);
    } else {
        let rows = c.heads * (mla.qk_nope_head_dim + mla.v_head_dim);
        list.matrix("self_attn.kv_b_proj", rows, mla.kv_lora_rank);
    }
    list.linear("self_attn.o_proj", c.hidden_size, c.heads * mla.v_head_dim, c.attention_out_bias);
}

fn mlp(list: &mut TensorList, layer: usize) {
    let c = list.config;
    match (&c.moe, c.family) {
        (Some(moe), _) if c.is_sparse(layer) => experts(list, moe),
        (_, Family::Phi) => {
            list.linear("mlp.fc1", c.intermediate_size, c.hidden_size, c.mlp_bias);
            list.linear("mlp.fc2", c.hidden_size, c.intermediate_size, c.mlp_bias);
        }
        (_, Family::Phi3) => {
            list.matrix("mlp.gate_up_proj", 2 * c.intermediate_size, c.hidden_size);
            list.matrix("mlp.down_proj", c.hidden_size, c.intermediate_size);
        }
        _ => gated(list, "mlp", c.intermediate_size),
    }
}

fn gated(list: &mut TensorList, name: &str, width: usize) {
    let (hidden, bias) = (list.config.hidden_size, list.config.mlp_bias);
    list.linear(&format!("{name}.gate_proj"), width, hidden, bias);
    list.linear(&format!("{name}.up_proj"), width, hidden, bias);
    list.linear(&format!("{name}.down_proj"), hidden, width, bias);
}

/// The routed and the shared experts of a layer, one matrix per expert and projection.
fn separate_experts(list: &mut TensorList, moe: &Moe) {
    let (hidden, width, bias) = (list.config.hidden_size, moe.intermediate_size, moe.biases);
    let names = list.config.family.traits().expert_names;
    let block = names.block;
    list.linear(&format!("{block}.{}", names.router), moe.experts, hidden, bias);
    for j in 0..moe.experts {
        let expert = format!("{block}.experts.{j}");
        list.linear(&format!("{expert}.{}", names.gate), width, hidden, bias);
        list.linear(&format!("{expert}.{}", names.up), width, hidden, bias);
        list.linear(&format!("{expert}.{}", names.down), hidden, width, bias);
    }
    if moe.shared_size > 0 {
        gated(list, &format!("{block}.{}", names.shared), moe.shared_size);
    }
    if moe.shared_gate {
        list.matrix(&format!("{block}.{}", names.shared_gate), 1, hidden);
    }
}

fn experts(list: &mut TensorList, moe: &Moe) {
    let hidden = list.config.hidden_size;
    if moe.storage == ExpertStorage::Separate {
        return separate_experts(list, moe);
    }
    list.linear("mlp.router", moe.experts, hidden, true);
    let (e, h, i) = (moe.experts, hidden, moe.intermediate_size);
    if moe.storage == ExpertStorage::Fused {
        list.push("mlp.experts.gate_up_proj", &[e, h, 2 * i], TensorContent::Weight);
        list.push("mlp.experts.down_proj", &[e, i, h], TensorContent::Weight);
    } else {
        list.push(
            "mlp.experts.gate_up_proj_blocks",
            &[e, 2 * i, h / 32, 16],
            TensorContent::Fp4Blocks,
        );
        list.push("mlp.experts.gate_up_proj_scales", &[e, 2 * i, h / 32], TensorContent::Fp4Scales);
        list.push("mlp.experts.down_proj_blocks", &[e, h, i / 32, 16], TensorContent::Fp4Blocks);
        list.push("mlp.experts.down_proj_scales", &[e, h, i / 32], TensorContent::Fp4Scales);
    }
    list.push("mlp.experts.gate_up_proj_bias", &[e, 2 * i], TensorContent::Bias);
    list.push("mlp.experts.down_proj_bias", &[e, h], TensorContent::Bias);
}

fn layer_norms(list: &mut TensorList) {
    let names: &[&str] = match list.config.layer_layout {
        LayerLayout::Sequential => &["input_layernorm", "post_attention_layernorm"],
        LayerLayout::PostNorm => &["post_attention_layernorm", "post_feedforward_layernorm"],
        LayerLayout::Parallel => &["input_layernorm"],
    };
    for name in names {
        list.norm(name, list.config.hidden_size);
    }
}

fn head(list: &mut TensorList) {
    let c = list.config;
    let at = list.tensors.len();
    list.linear("lm_head", c.vocab_size, c.hidden_size, c.lm_head_bias);
    if c.tie_word_embeddings {
        list.tensors[at].requirement = Requirement::Tied;
    }
}
