//! Which tensors a model of a given shape has, and which module each belongs to.
use crate::config::*;

/// One module of the model, under accelerate's name. Modules are placed whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// `model.embed_tokens`, `model.layers.0`, ..., `model.norm`, `lm_head`.
    pub name: String,
    /// What it is.
    pub kind: ModuleKind,
}

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ModuleKind {
    Embedding,
    Block(usize),
    FinalNorm,
    Head,
}

/// A tensor that the architecture has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its name in Hugging Face checkpoints.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Index into [`modules`].
    pub module: usize,
    /// Whether a checkpoint without it is bad (a tied head may be absent).
    pub required: bool,
}

/// The modules of a model, in the order in which a token visits them.
pub fn modules(c: &ModelConfig) -> Vec<Module> {
    let norm = if c.family == Family::Phi { "model.final_layernorm" } else { "model.norm" };
    let module = |name: String, kind| Module { name, kind };
    let mut all = vec![module("model.embed_tokens".into(), ModuleKind::Embedding)];
    all.extend((0..c.layers).map(|i| module(format!("model.layers.{i}"), ModuleKind::Block(i))));
    all.push(module(norm.into(), ModuleKind::FinalNorm));
    all.push(module("lm_head".into(), ModuleKind::Head));
    all
}

/// Every tensor of a model.
pub fn expected_tensors(c: &ModelConfig) -> Vec<ExpectedTensor> {
    let mut list = List { tensors: Vec::new(), module: 0, prefix: String::new() };
    let (hidden, last) = (c.hidden_size, c.layers + 1);
    list.add("model.embed_tokens.weight", &[c.vocab_size, hidden]);
    for i in 0..c.layers {
        (list.module, list.prefix) = (i + 1, format!("model.layers.{i}."));
        block(&mut list, c, i);
    }
    (list.module, list.prefix) = (last, String::new());
    let norm = modules(c)[last].name.clone();
    list.norm(&norm, hidden, c);
    list.module = last + 1;
    list.add("lm_head.weight", &[c.vocab_size, hidden]);
    if c.tie_word_embeddings
        && let Some(head) = list.tensors.last_mut()
    {
        head.required = false;
    }
    if c.lm_head_bias {
        list.add("lm_head.bias", &[c.vocab_size]);
    }
    list.tensors
}

struct List {
    tensors: Vec<ExpectedTensor>,
    module: usize,
    prefix: String,
}

impl List {
    fn add(&mut self, name: &str, shape: &[usize]) {
        let name = format!("{}{name}", self.prefix);
        self.tensors.push(ExpectedTensor { name, shape: shape.to_vec(), module: self.module, required: true });
    }

    fn linear(&mut self, name: &str, out: usize, input: usize, bias: bool) {
        self.add(&format!("{name}.weight"), &[out, input]);
        if bias {
            self.add(&format!("{name}.bias"), &[out]);
        }
    }

    fn norm(&mut self, name: &str, width: usize, c: &ModelConfig) {
        self.add(&format!("{name}.weight"), &[width]);
        if matches!(c.norm, Norm::Layer { .. }) {
            self.add(&format!("{name}.bias"), &[width]);
        }
    }
}

fn block(list: &mut List, c: &ModelConfig, layer: usize) {
    match c.block {
        BlockShape::Parallel => list.norm("input_layernorm", c.hidden_size, c),
        BlockShape::Sequential => {
            list.norm("input_layernorm", c.hidden_size, c);
            list.norm("post_attention_layernorm", c.hidden_size, c);
        }
        BlockShape::PostNorm => {
            list.norm("post_attention_layernorm", c.hidden_size, c);
            list.norm("post_feedforward_layernorm", c.hidden_size, c);
        }
    }
    match c.mla {
        Some(mla) => latent_attention(list, c, mla),
        None => attention(list, c),
    }
    match c.moe {
        Some(moe) if layer >= moe.dense_layers => experts(list, c, moe),
        _ => mlp(list, c),
    }
}

fn attention(list: &mut List, c: &ModelConfig) {
    let (q, kv, hidden) = (c.heads * c.head_dim, c.kv_heads * c.head_dim, c.hidden_size);
    if c.family == Family::Phi3 {
        list.linear("self_attn.qkv_proj", q + 2 * kv, hidden, false);
    } else {
        list.linear("self_attn.q_proj", q, hidden, c.attention_bias);
        list.linear("self_attn.k_proj", kv, hidden, c.attention_bias);
        list.linear("self_attn.v_proj", kv, hidden, c.attention_bias);
    }
    let out = if c.family == Family::Phi { "self_attn.dense" } else { "self_attn.o_proj" };
    list.linear(out, hidden, q, c.attention_out_bias);
    match c.qk_norm {
        QkNorm::None => {}
        QkNorm::PerHead => {
            list.add("self_attn.q_norm.weight", &[c.head_dim]);
            list.add("self_attn.k_norm.weight", &[c.head_dim]);
        }
        QkNorm::Full => {
            list.add("self_attn.q_norm.weight", &[q]);
            list.add("self_attn.k_norm.weight", &[kv]);
        }
    }
    if c.family == Family::GptOss {
        list.add("self_attn.sinks", &[c.heads]);
    }
}

fn latent_attention(list: &mut List, c: &ModelConfig, m: Mla) {
    let (hidden, qk) = (c.hidden_size, m.qk_nope_head_dim + m.qk_rope_head_dim);
    if m.q_lora_rank > 0 {
        list.linear("self_attn.q_a_proj", m.q_lora_rank, hidden, c.attention_bias);
        list.add("self_attn.q_a_layernorm.weight", &[m.q_lora_rank]);
        list.linear("self_attn.q_b_proj", c.heads * qk, m.q_lora_rank, false);
    } else {
        list.linear("self_attn.q_proj", c.heads * qk, hidden, false);
    }
    list.linear("self_attn.kv_a_proj_with_mqa", m.kv_lora_rank + m.qk_rope_head_dim, hidden, c.attention_bias);
    list.add("self_attn.kv_a_layernorm.weight", &[m.kv_lora_rank]);
    list.linear("self_attn.kv_b_proj", c.heads * (m.qk_nope_head_dim + m.v_head_dim), m.kv_lora_rank, false);
    list.linear("self_attn.o_proj", hidden, c.heads * m.v_head_dim, c.attention_bias);
}

fn mlp(list: &mut List, c: &ModelConfig) {
    let (hidden, wide) = (c.hidden_size, c.intermediate_size);
    match c.family {
        Family::Phi => {
            list.linear("mlp.fc1", wide, hidden, true);
            list.linear("mlp.fc2", hidden, wide, true);
        }
        Family::Phi3 => {
            list.linear("mlp.gate_up_proj", 2 * wide, hidden, false);
            list.linear("mlp.down_proj", hidden, wide, false);
        }
        _ => gated(list, "mlp", wide, hidden, c.mlp_bias),
    }
}

fn gated(list: &mut List, prefix: &str, wide: usize, hidden: usize, bias: bool) {
    list.linear(&format!("{prefix}.gate_proj"), wide, hidden, bias);
    list.linear(&format!("{prefix}.up_proj"), wide, hidden, bias);
    list.linear(&format!("{prefix}.down_proj"), hidden, wide, bias);
}

fn experts(list: &mut List, c: &ModelConfig, moe: Moe) {
    let (hidden, wide) = (c.hidden_size, moe.intermediate_size);
    if c.family == Family::GptOss {
        list.linear("mlp.router", moe.experts, hidden, true);
        // MXFP4: 32 numbers are 16 bytes of 4-bit codes and one byte of exponent.
        list.add("mlp.experts.gate_up_proj_blocks", &[moe.experts, 2 * wide, hidden / 32, 16]);
        list.add("mlp.experts.gate_up_proj_scales", &[moe.experts, 2 * wide, hidden / 32]);
        list.add("mlp.experts.gate_up_proj_bias", &[moe.experts, 2 * wide]);
        list.add("mlp.experts.down_proj_blocks", &[moe.experts, hidden, wide / 32, 16]);
        list.add("mlp.experts.down_proj_scales", &[moe.experts, hidden, wide / 32]);
        list.add("mlp.experts.down_proj_bias", &[moe.experts, hidden]);
        return;
    }
    list.linear("mlp.gate", moe.experts, hidden, false);
    for e in 0..moe.experts {
        gated(list, &format!("mlp.experts.{e}"), wide, hidden, false);
    }
    if moe.shared_experts > 0 {
        gated(list, "mlp.shared_experts", wide * moe.shared_experts, hidden, false);
    }
}

impl crate::Inventory {
    /// Bytes of each of [`modules`], as stored. A tied head is counted once, with the embedding.
    pub fn bytes_by_module(&self, c: &ModelConfig) -> Vec<u64> {
        let mut bytes = vec![0; c.layers + 3];
        for expected in expected_tensors(c) {
            let tied_head = c.tie_word_embeddings && expected.name == "lm_head.weight";
            if let Some(tensor) = self.get(&expected.name).filter(|_| !tied_head) {
                bytes[expected.module] += tensor.bytes;
            }
        }
        bytes
    }
}
