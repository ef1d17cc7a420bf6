//! Divides the modules off the GPUs between host memory and disk.
//!
//! Of the layers off the GPUs, the first or the last ones stay on disk, as few as possible;
//! embedding and head may stay on disk too. Routed experts stay on disk before any layer does,
//! since a token reads only a few of them. Host memory holds the keys and values of the layers on
//! disk, two buffers of the size of the largest streamed module, and a cache of routed experts.
use super::OnGpus;
use crate::problem::Problem;
use crate::score::score;
use crate::{Shortage, Tier};

/// A way to divide the modules off the GPUs between host memory and disk.
#[derive(Debug, Clone, Copy)]
struct DiskSplit {
    embedding_on_disk: bool,
    head_on_disk: bool,
    /// Whether the layers on disk are the first of those off the GPUs; otherwise they are the last.
    from_front: bool,
}

/// The tiers of all modules for every division that fits. Modules on GPUs keep their GPU. With
/// `all_on_disk`, all layers off the GPUs are on disk.
pub(super) fn splits(problem: &Problem, on_gpus: &OnGpus, all_on_disk: bool) -> Vec<Vec<Tier>> {
    let mut found: Vec<Vec<Tier>> = Vec::new();
    for split in candidates(problem, on_gpus) {
        let queue = disk_queue(problem, on_gpus, split.from_front);
        let counts = if all_on_disk { queue.len()..=queue.len() } else { 0..=queue.len() };
        if let Some(tiers) = fewest_on_disk(problem, on_gpus, &queue, split, counts)
            && !found.contains(&tiers)
        {
            found.push(tiers);
        }
    }
    found
}

/// The tiers of all modules under the division with the best score.
///
/// # Errors
/// The smallest shortage among the divisions, if none fits.
pub(super) fn least(
    problem: &Problem,
    on_gpus: &OnGpus,
    all_on_disk: bool,
) -> Result<Vec<Tier>, Box<Shortage>> {
    let splits = splits(problem, on_gpus, all_on_disk);
    splits
        .into_iter()
        .min_by_key(|tiers| score(problem, tiers))
        .ok_or_else(|| Box::new(shortage(problem, on_gpus)))
}

fn candidates(problem: &Problem, on_gpus: &OnGpus) -> Vec<DiskSplit> {
    let may = |index: usize| problem.may_stream(index) && on_gpus[index].is_none();
    let (embedding, head) = (may(0), may(problem.head()) && !problem.tied);
    let mut splits = Vec::new();
    for embedding_on_disk in [false, true] {
        for head_on_disk in [false, true] {
            for from_front in [false, true] {
                if (embedding || !embedding_on_disk) && (head || !head_on_disk) {
                    splits.push(DiskSplit { embedding_on_disk, head_on_disk, from_front });
                }
            }
        }
    }
    splits
}

/// The layers and routed experts off the GPUs, in the order in which they stay on disk: experts
/// before layers.
fn disk_queue(problem: &Problem, on_gpus: &OnGpus, from_front: bool) -> Vec<usize> {
    let off = |experts: bool| {
        (1..problem.norm()).filter(move |index| {
            on_gpus[*index].is_none() && problem.items[*index].is_experts() == experts
        })
    };
    if from_front {
        off(true).chain(off(false)).collect()
    } else {
        off(true).rev().chain(off(false).rev()).collect()
    }
}

fn fewest_on_disk(
    problem: &Problem,
    on_gpus: &OnGpus,
    queue: &[usize],
    split: DiskSplit,
    counts: std::ops::RangeInclusive<usize>,
) -> Option<Vec<Tier>> {
    let base = tiers(problem, on_gpus, split);
    let mut need = HostNeed::of(problem, &base);
    let enough_disk = |need: &HostNeed| need.disk_weights <= problem.disk_budget;
    for count in 0..=queue.len() {
        if counts.contains(&count) && need.fits(problem) && enough_disk(&need) {
            let mut tiers = base;
            queue[..count].iter().for_each(|&index| tiers[index] = Tier::Disk);
            return Some(tiers);
        }
        if !problem.may_stream(1) {
            return None;
        }
        need.move_to_disk(problem, *queue.get(count)?);
    }
    None
}

/// The tier of each module if all layers off the GPUs are in host memory.
fn tiers(problem: &Problem, on_gpus: &OnGpus, split: DiskSplit) -> Vec<Tier> {
    let off = |index: usize| {
        let disk = (index == 0 && split.embedding_on_disk)
            || (index == problem.head()
                && (split.head_on_disk || (problem.tied && split.embedding_on_disk)));
        if disk { Tier::Disk } else { Tier::Cpu }
    };
    on_gpus.iter().enumerate().map(|(index, on)| on.map_or_else(|| off(index), Tier::Gpu)).collect()
}

/// Host memory and disk space that a placement needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HostNeed {
    pub weights: u64,
    pub kv: u64,
    /// Weights that stay on disk, in bytes.
    pub disk_weights: u64,
    /// Weights of the largest streamed module, in bytes. Routed experts are not streamed.
    pub streamed_max: u64,
    /// Routed experts on disk, in bytes.
    pub experts_on_disk: u64,
    /// The least cache of routed experts, in bytes.
    pub cache_min: u64,
    /// A cache of all routed experts on disk, in bytes.
    pub cache_max: u64,
    /// Whether the CPU computes matrix multiplications.
    pub computes: bool,
}

impl HostNeed {
    pub fn of(problem: &Problem, tiers: &[Tier]) -> HostNeed {
        let mut need = HostNeed::default();
        for (index, tier) in tiers.iter().enumerate().filter(|(_, tier)| !tier.is_gpu()) {
            need.weights += problem.items[index].weights;
            need.kv += problem.items[index].kv;
            let block_or_head = problem.is_computed(index) && index != problem.norm();
            need.computes |= block_or_head && problem.items[index].weights > 0;
            if *tier == Tier::Disk {
                need.move_to_disk(problem, index);
            }
        }
        need
    }

    /// Moves the weights of a module from host memory to disk.
    fn move_to_disk(&mut self, problem: &Problem, index: usize) {
        let item = &problem.items[index];
        self.weights -= item.weights;
        self.disk_weights += item.weights;
        if item.is_experts() {
            self.experts_on_disk += item.weights;
            self.cache_min = self.cache_min.max(item.cache_min);
            self.cache_max = self.cache_max.saturating_add(item.cache_max);
        } else if problem.is_computed(index) {
            self.streamed_max = self.streamed_max.max(item.weights);
        }
    }

    /// Bytes of two buffers for streamed modules: one in use, one being read.
    pub fn stream_buffers(&self) -> u64 {
        self.streamed_max.saturating_mul(2)
    }

    /// Total host memory that the placement needs, in bytes, with the least cache of experts.
    pub fn total(&self, problem: &Problem) -> u64 {
        let fixed = problem.host.fixed;
        let activations = problem.host.activations(self.computes);
        let weights = [self.weights, self.cache_min, self.stream_buffers()];
        weights
            .into_iter()
            .chain([self.kv, activations, fixed.staging, fixed.reserve])
            .fold(0u64, u64::saturating_add)
    }

    /// Bytes of a cache of the routed experts on disk: what host memory and the budget for weights
    /// have left, but no more than all of these experts need.
    pub fn expert_cache(&self, problem: &Problem) -> u64 {
        let host = &problem.host;
        let left = host.usable.saturating_sub(self.total(problem)).saturating_add(self.cache_min);
        let budget = host.budget.saturating_sub(self.weights);
        left.min(budget).min(self.cache_max).max(self.cache_min)
    }

    pub fn fits(&self, problem: &Problem) -> bool {
        self.weights <= problem.host.budget && self.total(problem) <= problem.host.usable
    }

    /// The largest shortage under the limits of host memory and disk; `None` if the placement fits.
    /// `what` is the phrase for the modules in messages.
    pub fn shortage(&self, problem: &Problem, what: &str) -> Option<Shortage> {
        let host = &problem.host;
        let limits = [
            ("the weights", self.weights, host.budget, host.budget_name.clone(), Tier::Cpu),
            ("all", self.total(problem), host.usable, format!("90% of {}", host.limit), Tier::Cpu),
            (
                "the weights",
                self.disk_weights,
                problem.disk_budget,
                "max_memory of disk".to_owned(),
                Tier::Disk,
            ),
        ];
        let worst =
            limits.into_iter().max_by_key(|(_, need, have, ..)| need.saturating_sub(*have))?;
        let (part, need_bytes, have_bytes, limit, tier) = worst;
        let short_bytes = need_bytes.saturating_sub(have_bytes);
        let what = format!("{part} of {what}");
        (short_bytes > 0).then_some(Shortage {
            what,
            tier,
            limit,
            need_bytes,
            have_bytes,
            short_bytes,
        })
    }
}

/// The smallest shortage among the divisions with none or all of the layers off the GPUs on disk.
pub(super) fn shortage(problem: &Problem, on_gpus: &OnGpus) -> Shortage {
    let mut least: Option<Shortage> = None;
    for split in candidates(problem, on_gpus) {
        for all in [false, true] {
            let mut tiers = tiers(problem, on_gpus, split);
            if all && problem.may_stream(1) {
                let queue = disk_queue(problem, on_gpus, split.from_front);
                queue.into_iter().for_each(|index| tiers[index] = Tier::Disk);
            }
            let what = if on_gpus.iter().any(Option::is_some) {
                "what the GPUs do not hold"
            } else {
                "the model"
            };
            let found = HostNeed::of(problem, &tiers).shortage(problem, what);
            if let Some(found) = found
                && least.as_ref().is_none_or(|least| found.short_bytes < least.short_bytes)
            {
                least = Some(found);
            }
        }
    }
    // A division without a shortage would have been returned as a placement, so this default is not
    // expected to be used.
    least.unwrap_or_else(|| Shortage {
        what: "the model".to_owned(),
        tier: Tier::Cpu,
        limit: problem.host.limit.clone(),
        need_bytes: 0,
        have_bytes: problem.host.usable,
        short_bytes: 0,
    })
}
