//! Classes of identical GPUs. The search counts GPUs by class instead of distinguishing identical
//! ones, which keeps it small and exact.
use crate::problem::Problem;

/// GPUs that are interchangeable after embedding, norm and head have been assigned.
#[derive(Debug, Clone)]
pub(super) struct GpuClass {
    pub gpus: Vec<usize>,
    /// Bytes of each GPU that are available for the weights of layers.
    pub weights: u64,
    /// Bytes of each GPU that are available for weights, keys and values of layers.
    pub space: u64,
}

/// The classes of GPUs after embedding, norm and head have been assigned, and the sets of GPUs that
/// can be formed from them.
///
/// A set contains a number of GPUs of each class. It is encoded as one mixed-radix number, so that
/// adding a GPU increases the number.
#[derive(Debug, Clone)]
pub(super) struct GpuClasses {
    pub kinds: Vec<GpuClass>,
    strides: Vec<usize>,
    sets: usize,
}

impl GpuClasses {
    /// `placed` contains pairs of module index and GPU. `None` if a GPU cannot hold its modules.
    pub fn new(problem: &Problem, placed: &[(usize, usize)]) -> Option<GpuClasses> {
        let mut kinds: Vec<GpuClass> = Vec::new();
        for (index, gpu) in problem.gpus.iter().enumerate() {
            let on = || {
                placed
                    .iter()
                    .filter(|(_, at)| *at == index)
                    .map(|(item, _)| problem.items[*item].weights)
            };
            let (used, special): (u64, bool) = (on().sum(), on().next().is_some());
            let (weights, space) = (gpu.budget.checked_sub(used)?, gpu.space().checked_sub(used)?);
            let twin = |kind: &GpuClass| {
                problem.gpus[kind.gpus[0]].is_twin(gpu) && !is_special(placed, kind.gpus[0])
            };
            match kinds.iter_mut().find(|kind| !special && twin(kind)) {
                Some(kind) => kind.gpus.push(index),
                None => kinds.push(GpuClass { gpus: vec![index], weights, space }),
            }
        }
        let mut strides = Vec::new();
        let mut sets = 1usize;
        for kind in &kinds {
            strides.push(sets);
            sets = sets.checked_mul(kind.gpus.len() + 1)?;
        }
        Some(GpuClasses { kinds, strides, sets })
    }

    /// The number of sets. The set with the highest number contains all GPUs.
    pub fn sets(&self) -> usize {
        self.sets
    }

    pub fn all(&self) -> usize {
        self.sets - 1
    }

    /// The number of GPUs of a class in a set.
    pub fn count(&self, set: usize, kind: usize) -> usize {
        set / self.strides[kind] % (self.kinds[kind].gpus.len() + 1)
    }

    /// The set with one more GPU of a class.
    pub fn with(&self, set: usize, kind: usize) -> usize {
        set + self.strides[kind]
    }

    /// The set with one GPU of a class less.
    pub fn without(&self, set: usize, kind: usize) -> usize {
        set - self.strides[kind]
    }

    /// The class that contains a GPU.
    pub fn of_gpu(&self, gpu: usize) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.gpus.contains(&gpu))
    }
}

fn is_special(placed: &[(usize, usize)], gpu: usize) -> bool {
    placed.iter().any(|(_, at)| *at == gpu)
}

/// Prefix sums over layers, in bytes: element `i` is the sum over the first `i` layers.
#[derive(Debug)]
pub(super) struct PrefixSums {
    pub weights: Vec<u64>,
    /// Sums of weights, keys and values.
    pub all: Vec<u64>,
}

impl PrefixSums {
    pub fn new(problem: &Problem) -> PrefixSums {
        let (mut weights, mut all) = (vec![0u64], vec![0u64]);
        for item in &problem.items[1..problem.norm()] {
            weights.push(weights[weights.len() - 1].saturating_add(item.weights));
            all.push(all[all.len() - 1].saturating_add(item.weights).saturating_add(item.kv));
        }
        PrefixSums { weights, all }
    }

    /// The end (exclusive) of the longest run of layers that starts at `from` and fits on a GPU of
    /// this class.
    pub fn reach(&self, kind: &GpuClass, from: usize) -> usize {
        let within = |sums: &[u64], room: u64| {
            let limit = sums[from].saturating_add(room);
            from + sums[from..].partition_point(|sum| *sum <= limit) - 1
        };
        within(&self.weights, kind.weights).min(within(&self.all, kind.space))
    }

    /// The start of the longest run of layers that ends at `to` (exclusive) and fits on a GPU of
    /// this class.
    pub fn reach_back(&self, kind: &GpuClass, to: usize) -> usize {
        let within = |sums: &[u64], room: u64| {
            let limit = sums[to].saturating_sub(room);
            sums[..=to].partition_point(|sum| *sum < limit)
        };
        within(&self.weights, kind.weights).max(within(&self.all, kind.space))
    }

    pub fn layers(&self) -> usize {
        self.weights.len() - 1
    }
}
