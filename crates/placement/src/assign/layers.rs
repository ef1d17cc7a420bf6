//! The placement problem with one item per layer, as the search for runs of layers sees it.
use super::OnGpus;
use crate::problem::{ModuleBytes, Problem};
use checkpoint::ModuleKind;

/// Where the routed experts of a layer are in a search for runs of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpertsAre {
    /// On the tier of their layer.
    WithLayer,
    /// In host memory or on disk.
    OffGpus,
}

/// A problem with one item per layer: embedding, layers, norm and head.
pub(super) struct LayerProblem<'a> {
    /// The problem of all modules.
    pub full: &'a Problem,
    pub problem: Problem,
    /// For each layer, whether its experts follow it on another tier. A change of GPU behind such
    /// a layer costs nothing more: the hidden states pass through the host in any case.
    pub leaves_gpu: Vec<bool>,
    pub experts: ExpertsAre,
}

impl<'a> LayerProblem<'a> {
    pub fn new(full: &'a Problem, experts: ExpertsAre) -> LayerProblem<'a> {
        let mut items: Vec<ModuleBytes> = Vec::new();
        let mut leaves_gpu = Vec::new();
        for item in &full.items {
            match item.kind {
                ModuleKind::Experts(_) => {
                    if let Some(leaves) = leaves_gpu.last_mut() {
                        *leaves = experts == ExpertsAre::OffGpus;
                    }
                    if let Some(layer) = items.last_mut()
                        && experts == ExpertsAre::WithLayer
                    {
                        layer.weights = layer.weights.saturating_add(item.weights);
                        layer.active = layer.active.saturating_add(item.active);
                    }
                    continue;
                }
                ModuleKind::Layer(_) => leaves_gpu.push(false),
                ModuleKind::Embedding | ModuleKind::FinalNorm | ModuleKind::Head => {}
            }
            items.push(*item);
        }
        LayerProblem { full, problem: Problem { items, ..full.clone() }, leaves_gpu, experts }
    }

    /// The problem for modes that keep layers whole where all GPUs can hold experts.
    pub fn whole_if_possible(full: &'a Problem) -> LayerProblem<'a> {
        let whole = full.gpus.iter().all(|gpu| gpu.holds_experts);
        Self::new(full, if whole { ExpertsAre::WithLayer } else { ExpertsAre::OffGpus })
    }

    /// The GPU of each module of the full problem, from those of the layers.
    pub fn expand(&self, on_gpus: &OnGpus) -> OnGpus {
        let mut layers = on_gpus.iter().copied();
        let mut last = None;
        let gpu_of = |item: &ModuleBytes| match (item.is_experts(), self.experts) {
            (true, ExpertsAre::WithLayer) => last,
            (true, ExpertsAre::OffGpus) => None,
            (false, _) => {
                last = layers.next().flatten();
                last
            }
        };
        self.full.items.iter().map(gpu_of).collect()
    }
}
