//! The parts of a model that are placed as wholes, by accelerate's names.
use crate::{Family, ModelConfig};
use serde::Serialize;

/// One part of a model that is placed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// accelerate's name: `model.embed_tokens`, `model.layers.0`, ..., `model.norm`, `lm_head`.
    pub name: String,
    /// What it is.
    pub kind: ModuleKind,
}

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum ModuleKind {
    Embedding,
    Layer(usize),
    FinalNorm,
    Head,
}

impl ModuleKind {
    /// Index into [`modules`] of a model with so many layers.
    pub fn index(self, layers: usize) -> usize {
        match self {
            ModuleKind::Embedding => 0,
            ModuleKind::Layer(i) => 1 + i,
            ModuleKind::FinalNorm => layers + 1,
            ModuleKind::Head => layers + 2,
        }
    }
}

/// The modules of a model in the order in which data flows through them: `layers + 3`. A tied head
/// is there, without bytes.
pub fn modules(config: &ModelConfig) -> Vec<Module> {
    let named = |name: &str, kind| Module { name: name.to_owned(), kind };
    let block = |i| named(&format!("model.layers.{i}"), ModuleKind::Layer(i));
    let mut all = vec![named("model.embed_tokens", ModuleKind::Embedding)];
    all.extend((0..config.layers).map(block));
    all.push(named(final_norm(config), ModuleKind::FinalNorm));
    all.push(named("lm_head", ModuleKind::Head));
    all
}

/// The name of the last norm: Phi-2 calls it differently.
pub(crate) fn final_norm(config: &ModelConfig) -> &'static str {
    match config.family {
        Family::Phi => "model.final_layernorm",
        _ => "model.norm",
    }
}
