//! Bytes of weights by module, in the dtype that they have after loading.
use crate::DtypeChoice;
use checkpoint::{
    Dtype, Inventory, ModelConfig, ModuleKind, Requirement, expected_tensors, modules,
};

/// Padding of an expert in a cache, at most: each of its matrices is aligned as in its file, to a
/// page of up to 16 KiB, and gate and up, and down, take whole pages.
const EXPERT_PADDING_BYTES: u64 = 80 << 10;

/// The weights of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleWeights {
    /// The module's name in accelerate.
    pub name: String,
    pub kind: ModuleKind,
    /// Bytes after loading.
    pub bytes: u64,
    /// Bytes that are read to decode one token: of the experts only the selected ones, of an untied
    /// embedding only one row.
    pub active_bytes: u64,
}

/// All weights of a model in one dtype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// The modules in the order of [`checkpoint::modules`]. A tied head has 0 bytes.
    pub modules: Vec<ModuleWeights>,
    /// Whether head and embedding use the same weights. They are counted once, in the embedding,
    /// and read completely for each token.
    pub tied: bool,
    /// Bytes as stored in the files.
    pub stored_bytes: u64,
    /// Whether `--dtype int8` would change the dtype of any tensor.
    pub can_be_int8: bool,
    /// Number of routed experts in a layer.
    pub experts: usize,
    /// Number of routed experts that a token uses in a layer.
    pub experts_per_token: usize,
}

impl Weights {
    /// Counts a checkpoint's weights in the chosen dtype.
    pub fn of(config: &ModelConfig, inventory: &Inventory, choice: DtypeChoice) -> Weights {
        let named = |module: checkpoint::Module| ModuleWeights {
            name: module.name,
            kind: module.kind,
            bytes: 0,
            active_bytes: 0,
        };
        let mut modules: Vec<ModuleWeights> = modules(config).into_iter().map(named).collect();
        let (mut stored_bytes, mut can_be_int8) = (0u64, false);
        let needed =
            expected_tensors(config).into_iter().filter(|t| t.requirement != Requirement::Tied);
        for expected in needed {
            let Some(tensor) = inventory.get(&expected.name) else { continue };
            let kept = choice.kept_of(tensor.dtype, &expected);
            let bytes = bytes_as(kept, &tensor.shape).unwrap_or(tensor.bytes);
            modules[expected.module].bytes += bytes;
            stored_bytes += tensor.bytes;
            can_be_int8 |=
                DtypeChoice::Int8.kept_of(kept, &expected) == Dtype::Q8_0 && kept != Dtype::Q8_0;
        }
        let mut weights = Weights {
            modules,
            tied: config.tie_word_embeddings,
            stored_bytes,
            can_be_int8,
            experts: config.moe.as_ref().map_or(0, |moe| moe.experts),
            experts_per_token: config.moe.as_ref().map_or(0, |moe| moe.experts_per_token),
        };
        weights.count_active(config);
        weights
    }

    fn count_active(&mut self, config: &ModelConfig) {
        let share = config
            .moe
            .as_ref()
            .map_or((1, 1), |moe| (moe.experts_per_token as u64, moe.experts.max(1) as u64));
        for module in &mut self.modules {
            module.active_bytes = match module.kind {
                ModuleKind::Embedding if !self.tied => {
                    module.bytes / config.vocab_size.max(1) as u64
                }
                ModuleKind::Experts(_) => module.bytes / share.1 * share.0,
                _ => module.bytes,
            };
        }
    }

    /// Bytes of a cache for the routed experts of one layer: for those that a token uses, and for
    /// all of them. 0 for other modules.
    pub fn expert_cache_bytes(&self, module: &ModuleWeights) -> [u64; 2] {
        let padding = |experts: usize| experts as u64 * EXPERT_PADDING_BYTES;
        match module.kind {
            ModuleKind::Experts(_) => [
                module.active_bytes + padding(self.experts_per_token),
                module.bytes + padding(self.experts),
            ],
            _ => [0, 0],
        }
    }

    /// Bytes of all modules after loading.
    pub fn bytes(&self) -> u64 {
        self.modules.iter().map(|module| module.bytes).sum()
    }
}

fn bytes_as(dtype: Dtype, shape: &[usize]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64))?;
    dtype.bytes_for(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_is_34_bytes_for_32_weights_of_matrices_only() {
        let kept = |shape: &[usize]| DtypeChoice::Int8.kept(Dtype::BF16, shape);
        assert_eq!(bytes_as(kept(&[10, 64]), &[10, 64]), Some(20 * 34));
        assert_eq!(kept(&[64]), Dtype::BF16);
        assert_eq!(kept(&[10, 33]), Dtype::BF16);
        assert_eq!(DtypeChoice::Int8.kept(Dtype::Q4K, &[10, 256]), Dtype::Q4K);
        assert_eq!(DtypeChoice::F32.kept(Dtype::BF16, &[10, 64]), Dtype::BF16);
    }
}
