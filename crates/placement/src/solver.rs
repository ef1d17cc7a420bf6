//! Solves the placement problem of one model for given limits, without describing the result.
use crate::assign::{AssignError, Assigned, HostNeed, assign};
use crate::footprint::{Footprint, Weights};
use crate::problem::Problem;
use crate::{DeviceMapMode, DtypeChoice, Limits, Machine, Shortage, Tier};
use checkpoint::{Inventory, ModelConfig};
use std::cell::OnceCell;

/// Solves placements of one model. The bytes of its tensors are counted only once per dtype.
pub(crate) struct Solver<'a> {
    pub config: &'a ModelConfig,
    inventory: &'a Inventory,
    weights: [OnceCell<Weights>; 5],
}

/// A placement, and the values that it was computed from.
pub(crate) struct Solution<'p> {
    pub weights: &'p Weights,
    pub footprint: Footprint,
    pub problem: Problem,
    pub assigned: Assigned,
}

impl Solution<'_> {
    /// Bytes of weights that are in host memory or on disk because the GPUs are too small.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled().map(|index| self.problem.items[index].weights).sum()
    }

    /// Indices of the modules off the GPUs that a larger GPU would hold.
    pub fn spilled(&self) -> impl Iterator<Item = usize> {
        let tiers = self.assigned.tiers.iter().enumerate();
        let spilled =
            |(index, tier): &(usize, &Tier)| !tier.is_gpu() && self.problem.may_be_on_a_gpu(*index);
        tiers.filter(spilled).map(|(index, _)| index)
    }
}

impl<'a> Solver<'a> {
    pub fn new(config: &'a ModelConfig, inventory: &'a Inventory) -> Solver<'a> {
        Solver { config, inventory, weights: Default::default() }
    }

    /// The bytes of the model's weights in a dtype.
    pub fn weights(&self, dtype: DtypeChoice) -> &Weights {
        self.weights[dtype as usize].get_or_init(|| Weights::of(self.config, self.inventory, dtype))
    }

    /// Assigns every module to a tier.
    ///
    /// # Errors
    /// [`AssignError::Wrong`] for an invalid device map, [`AssignError::Short`] if the model does
    /// not fit.
    pub fn solve(&self, machine: &Machine, limits: &Limits) -> Result<Solution<'_>, AssignError> {
        let weights = self.weights(limits.dtype);
        let footprint = Footprint::of(self.config, limits);
        let problem = Problem::new(weights, &footprint, machine, limits);
        let names: Vec<&str> = weights.modules.iter().map(|module| module.name.as_str()).collect();
        let mut assigned = assign(&problem, &limits.mode, &names)?;
        if !matches!(limits.mode, DeviceMapMode::Explicit(_)) {
            share_cache(&problem, &mut assigned.tiers);
        }
        match virtual_shortage(&problem, &assigned.tiers) {
            Some(shortage) => Err(AssignError::Short(Box::new(shortage))),
            None => Ok(Solution { weights, footprint, problem, assigned }),
        }
    }
}

/// Leaves the routed experts of all layers in host memory to the cache, if those of any layer are
/// on disk and the disk may hold them: a cache for all layers keeps the most used experts of each.
fn share_cache(problem: &Problem, tiers: &mut [Tier]) {
    let is_experts = |index: &usize| problem.items[*index].is_experts();
    let on_disk =
        |tiers: &[Tier]| (0..tiers.len()).filter(is_experts).any(|i| tiers[i] == Tier::Disk);
    if !on_disk(tiers) {
        return;
    }
    let mut shared = tiers.to_vec();
    for index in (0..tiers.len()).filter(is_experts).filter(|i| tiers[*i] == Tier::Cpu) {
        shared[index] = Tier::Disk;
    }
    let need = HostNeed::of(problem, &shared);
    if need.fits(problem) && need.disk_weights <= problem.disk_budget {
        tiers.copy_from_slice(&shared);
    }
}

/// The shortage of host memory caused by virtual GPUs, which are parts of host memory: they and the
/// host's other needs must fit into it together.
fn virtual_shortage(problem: &Problem, tiers: &[Tier]) -> Option<Shortage> {
    let is_virtual = |tier: &Tier| matches!(tier, Tier::Gpu(gpu) if problem.gpus[*gpu].is_virtual);
    if !tiers.iter().any(is_virtual) {
        return None;
    }
    let on_gpus: u64 = (0..problem.gpus.len())
        .filter(|gpu| problem.gpus[*gpu].is_virtual && tiers.contains(&Tier::Gpu(*gpu)))
        .map(|gpu| gpu_total(problem, tiers, gpu))
        .sum();
    let need_bytes = on_gpus.saturating_add(HostNeed::of(problem, tiers).total(problem));
    let short_bytes = need_bytes.saturating_sub(problem.host.usable);
    (short_bytes > 0).then(|| Shortage {
        what: "the virtual devices and the host's own share together".to_owned(),
        tier: Tier::Cpu,
        limit: format!("90% of {}", problem.host.limit),
        need_bytes,
        have_bytes: problem.host.usable,
        short_bytes,
    })
}

fn gpu_total(problem: &Problem, tiers: &[Tier], gpu: usize) -> u64 {
    let on = tiers.iter().zip(&problem.items).filter(|(tier, _)| **tier == Tier::Gpu(gpu));
    on.map(|(_, item)| item.weights + item.kv).sum::<u64>() + problem.gpus[gpu].fixed.total()
}
