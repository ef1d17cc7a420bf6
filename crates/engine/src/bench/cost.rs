//! [`BenchCost`]: bytes and operations of a forward pass.

use checkpoint::{
    Inventory, ModelConfig, ModuleKind, Requirement, TensorContent, expected_tensors, modules,
};
use device::cpu::measure::DotKind;

/// Lower limits, independent of the kernels, of the bytes that a forward pass reads and of the
/// operations that it computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BenchCost {
    /// Bytes of weights that every pass reads: layers, norms and lm_head. An untied embedding is
    /// not counted, since a pass reads only the rows of its tokens. Routed experts are not counted.
    pub weights_bytes: f64,
    /// Bytes of one routed expert of one layer, on average.
    pub expert_bytes: f64,
    /// Number of routed experts that a token uses, over all layers.
    pub token_experts: f64,
    /// Operations (2 per multiply-add) of the matrix multiplications of all layers, per token.
    pub layer_ops: f64,
    /// Operations of the lm_head, per row of logits.
    pub lm_head_ops: f64,
    /// Operations of attention in all layers, per token and per position that the token attends to.
    pub attention_ops: f64,
    /// Data type of the multiply-adds for most bytes of weights.
    pub dot: DotKind,
}

/// Bytes and operations of one measured pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassCost {
    pub bytes: f64,
    pub ops: f64,
}

impl BenchCost {
    /// Computes the costs from a checkpoint's tensor shapes and the requested `dtype`.
    pub fn of(config: &ModelConfig, inventory: &Inventory, dtype: &str) -> Self {
        let kinds = modules(config);
        // Elements of a key and of a value; latent attention computes with the latents themselves.
        let attended = match config.mla {
            Some(mla) => 2 * mla.kv_lora_rank + mla.qk_rope_head_dim,
            None => config.head_dim + config.value_dim(),
        };
        let mut cost = BenchCost {
            weights_bytes: 0.0,
            expert_bytes: 0.0,
            token_experts: 0.0,
            layer_ops: 0.0,
            lm_head_ops: 0.0,
            attention_ops: 2.0 * (config.layers * config.heads * attended) as f64,
            dot: DotKind::F32,
        };
        // A token uses this share of the routed experts.
        let share =
            config.moe.map_or(1.0, |moe| moe.experts_per_token as f64 / moe.experts.max(1) as f64);
        let mut experts_bytes = 0.0;
        let mut bytes_of = [0.0; 3];
        for tensor in expected_tensors(config).iter().filter(|t| t.requirement != Requirement::Tied)
        {
            let Some(entry) = inventory.get(&tensor.name) else { continue };
            let stored: usize = tensor.shape.iter().product();
            let fp4 = tensor.content == TensorContent::Fp4Blocks;
            let elements = if fp4 { 2 * stored } else { stored };
            let kind = &kinds[tensor.module].kind;
            let embedding = *kind == ModuleKind::Embedding;
            let tied_head = embedding && config.tie_word_embeddings;
            let matrix =
                fp4 || (tensor.shape.len() == 2 && tensor.content == TensorContent::Weight);
            if embedding && !tied_head {
                continue;
            }
            let int8 = dtype == "int8" && matrix && !entry.dtype.is_quantized();
            let bytes =
                if int8 && !embedding { elements as f64 * 34.0 / 32.0 } else { entry.bytes as f64 };
            let is_expert = tensor.name.contains(".experts.");
            let ops = 2.0 * elements as f64 * if is_expert { share } else { 1.0 };
            *if is_expert { &mut experts_bytes } else { &mut cost.weights_bytes } += bytes;
            match (matrix, tied_head || *kind == ModuleKind::Head) {
                (true, true) => cost.lm_head_ops += ops,
                (true, false) => cost.layer_ops += ops,
                (false, _) => {}
            }
            let class = match entry.dtype {
                _ if dtype == "f32" => 0,
                _ if fp4 => 2,
                quantized if quantized.is_quantized() || int8 => 2,
                checkpoint::Dtype::BF16 | checkpoint::Dtype::F8E4M3 => 1,
                _ => 0,
            };
            bytes_of[class] += bytes;
        }
        let sparse = (0..config.layers).filter(|&layer| config.is_sparse(layer)).count();
        let experts = sparse * config.moe.map_or(0, |moe| moe.experts);
        cost.token_experts = experts as f64 * if experts == 0 { 0.0 } else { share };
        cost.expert_bytes = experts_bytes / experts.max(1) as f64;
        let heaviest = (0..3).max_by(|a, b| bytes_of[*a].total_cmp(&bytes_of[*b])).unwrap_or(0);
        cost.dot = [DotKind::F32, DotKind::Bf16, DotKind::Int8][heaviest];
        cost
    }

    /// Bytes of weights that a pass reads if its rows use `experts` distinct routed experts, over
    /// all layers.
    pub fn read_bytes(&self, experts: f64) -> f64 {
        self.weights_bytes + experts * self.expert_bytes
    }

    /// Operations of a prefill of `tokens` tokens that computes the logits of the last token only.
    pub fn prefill_ops(&self, tokens: usize) -> f64 {
        let n = tokens as f64;
        n * self.layer_ops + self.lm_head_ops + self.attention_ops * n * (n + 1.0) / 2.0
    }

    /// Operations of one decode step of `sequences` sequences, each with `positions` earlier
    /// tokens.
    pub fn step_ops(&self, sequences: usize, positions: usize) -> f64 {
        sequences as f64
            * (self.layer_ops + self.lm_head_ops + self.attention_ops * positions as f64)
    }
}
