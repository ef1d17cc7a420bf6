use checkpoint::{Inventory, ModelConfig, ModuleKind, Requirement, expected_tensors, modules};
use device::cpu::measure::DotKind;

/// What a pass has to do at least, whatever the kernels: bytes to read and multiplications to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Work {
    /// Bytes of all weights that every pass reads: blocks, norms and head, not the embedding's
    /// other rows.
    pub weights_bytes: f64,
    /// Operations (2 for each multiply-add) of the blocks' matrices, for each token.
    pub block_ops: f64,
    /// Operations of the head, for each token whose logits are wanted.
    pub head_ops: f64,
    /// Operations of attention, for each token and each position before it.
    pub attention_ops: f64,
    /// The multiply-add that most of them use.
    pub dot: DotKind,
}

impl Work {
    /// Of a checkpoint's shape; `dtype` is the one that was asked for.
    pub fn of(config: &ModelConfig, inventory: &Inventory, dtype: &str) -> Self {
        let kinds = modules(config);
        let mut work = Work {
            weights_bytes: 0.0,
            block_ops: 0.0,
            head_ops: 0.0,
            attention_ops: 4.0 * (config.layers * config.heads * config.head_dim) as f64,
            dot: DotKind::F32,
        };
        let mut bytes_of = [0.0; 3];
        for tensor in
            expected_tensors(config).iter().filter(|t| t.requirement == Requirement::Required)
        {
            let Some(entry) = inventory.get(&tensor.name) else { continue };
            let numbers: usize = tensor.shape.iter().product();
            let kind = &kinds[tensor.module].kind;
            let embedding = *kind == ModuleKind::Embedding;
            let tied_head = embedding && config.tie_word_embeddings;
            let matrix = tensor.shape.len() == 2;
            if embedding && !tied_head {
                continue;
            }
            let int8 = dtype == "int8" && matrix && !entry.dtype.is_quantized();
            let bytes =
                if int8 && !embedding { numbers as f64 * 34.0 / 32.0 } else { entry.bytes as f64 };
            work.weights_bytes += bytes;
            match (matrix, tied_head || *kind == ModuleKind::Head) {
                (true, true) => work.head_ops += 2.0 * numbers as f64,
                (true, false) => work.block_ops += 2.0 * numbers as f64,
                (false, _) => {}
            }
            let class = match entry.dtype {
                _ if dtype == "f32" => 0,
                quantized if quantized.is_quantized() || int8 => 2,
                checkpoint::Dtype::BF16 => 1,
                _ => 0,
            };
            bytes_of[class] += bytes;
        }
        let most = (0..3).max_by(|a, b| bytes_of[*a].total_cmp(&bytes_of[*b])).unwrap_or(0);
        work.dot = [DotKind::F32, DotKind::Bf16, DotKind::Int8][most];
        work
    }

    /// Operations of a prompt of `tokens`, with the last one's logits.
    pub fn prefill_ops(&self, tokens: usize) -> f64 {
        let n = tokens as f64;
        n * self.block_ops + self.head_ops + self.attention_ops * n * (n + 1.0) / 2.0
    }

    /// Operations of one token each of `sequences`, with `positions` before it.
    pub fn step_ops(&self, sequences: usize, positions: usize) -> f64 {
        sequences as f64 * (self.block_ops + self.head_ops + self.attention_ops * positions as f64)
    }
}
