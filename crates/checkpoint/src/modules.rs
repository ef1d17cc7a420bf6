//! The units of placement, with the names that accelerate uses.
use crate::ModelConfig;
use serde::Serialize;

/// A part of a model that is placed on one device as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// The name in accelerate: `model.embed_tokens`, `model.layers.0`, ..., `model.norm`,
    /// `lm_head`.
    pub name: String,
    pub kind: ModuleKind,
}

/// Which part of the model a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ModuleKind {
    Embedding,
    Layer(usize),
    FinalNorm,
    Head,
}

impl ModuleKind {
    /// Index into the [`modules`] of a model with `layers` layers.
    pub fn index(self, layers: usize) -> usize {
        match self {
            ModuleKind::Embedding => 0,
            ModuleKind::Layer(i) => 1 + i,
            ModuleKind::FinalNorm => layers + 1,
            ModuleKind::Head => layers + 2,
        }
    }
}

/// The `layers + 3` modules of a model, in the order of the forward pass. A tied head is included,
/// although it has no bytes.
pub fn modules(config: &ModelConfig) -> Vec<Module> {
    let named = |name: &str, kind| Module { name: name.to_owned(), kind };
    let layer = |i| named(&format!("model.layers.{i}"), ModuleKind::Layer(i));
    let mut all = vec![named("model.embed_tokens", ModuleKind::Embedding)];
    all.extend((0..config.layers).map(layer));
    all.push(named(config.family.traits().final_norm, ModuleKind::FinalNorm));
    all.push(named("lm_head", ModuleKind::Head));
    all
}
