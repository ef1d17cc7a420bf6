//! The units of placement, with the names that accelerate uses.
use crate::ModelConfig;
use serde::Serialize;

/// A part of a model that is placed on one device as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// The name in accelerate: `model.embed_tokens`, `model.layers.0`, ..., `model.norm`,
    /// `lm_head`. The routed experts of a layer have the name of their block in the checkpoint:
    /// `model.layers.0.mlp.experts`.
    pub name: String,
    pub kind: ModuleKind,
}

/// Which part of the model a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ModuleKind {
    Embedding,
    /// A layer without its routed experts: attention, norms, the MLP or router and shared experts.
    Layer(usize),
    /// The routed experts of a layer.
    Experts(usize),
    FinalNorm,
    Head,
}

/// The modules of a model, in the order of the forward pass. A layer with a mixture of experts has
/// two. A tied head is included, although it has no bytes.
pub fn modules(config: &ModelConfig) -> Vec<Module> {
    let named = |name: &str, kind| Module { name: name.to_owned(), kind };
    let block = config.family.traits().expert_names.block;
    let mut all = vec![named("model.embed_tokens", ModuleKind::Embedding)];
    for i in 0..config.layers {
        all.push(named(&format!("model.layers.{i}"), ModuleKind::Layer(i)));
        if config.has_experts(i) {
            let name = format!("model.layers.{i}.{block}.experts");
            all.push(named(&name, ModuleKind::Experts(i)));
        }
    }
    all.push(named(config.family.traits().final_norm, ModuleKind::FinalNorm));
    all.push(named("lm_head", ModuleKind::Head));
    all
}
