//! The placement problem with one item per layer, as the search for runs of layers sees it.
use super::OnGpus;
use crate::problem::{ModuleBytes, Problem};

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
    pub experts: ExpertsAre,
}

impl<'a> LayerProblem<'a> {
    pub fn new(full: &'a Problem, experts: ExpertsAre) -> LayerProblem<'a> {
        let mut items: Vec<ModuleBytes> = Vec::new();
        for item in &full.items {
            match items.last_mut() {
                Some(layer) if item.is_experts() => {
                    if experts == ExpertsAre::WithLayer {
                        layer.weights = layer.weights.saturating_add(item.weights);
                        layer.active = layer.active.saturating_add(item.active);
                    }
                }
                _ => items.push(*item),
            }
        }
        LayerProblem { full, problem: Problem { items, ..full.clone() }, experts }
    }

    /// The problem of whole layers, of which GPUs that cannot hold experts hold nothing.
    pub fn on_holders(full: &'a Problem) -> LayerProblem<'a> {
        let mut layers = Self::new(full, ExpertsAre::WithLayer);
        for gpu in layers.problem.gpus.iter_mut().filter(|gpu| !gpu.holds_experts) {
            (gpu.budget, gpu.free) = (0, 0);
        }
        layers
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
