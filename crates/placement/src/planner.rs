//! From inventory, machine and limits to a plan.
use crate::assign::{Assigned, HostNeed, Refusal, assign};
use crate::footprint::{Footprint, Weights};
use crate::problem::Problem;
use crate::{
    DeviceMapMode, DtypeChoice, Limits, Machine, ModulePlan, Plan, PlanError, Shortage, Spill,
    Tier, TierPlan, change, predict, reason, warn,
};
use checkpoint::{Inventory, ModelConfig};
use std::cell::OnceCell;

/// Plans where each module of a model goes. Asks nothing of the hardware.
///
/// # Errors
/// [`PlanError::DoesNotFit`] with what is short and the smallest change that fits;
/// [`PlanError::DeviceMap`] for a map that is wrong.
pub fn plan(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
) -> Result<Plan, PlanError> {
    Planner::new(config, inventory).plan(machine, limits)
}

/// Plans one model several times: its tensors are counted once for each dtype.
pub struct Planner<'a> {
    config: &'a ModelConfig,
    inventory: &'a Inventory,
    weights: [OnceCell<Weights>; 5],
}

/// A placement and the numbers it was made from.
pub(crate) struct Solution<'p> {
    pub weights: &'p Weights,
    pub footprint: Footprint,
    pub problem: Problem,
    pub assigned: Assigned,
}

impl Solution<'_> {
    /// Bytes off the GPUs.
    pub fn off_bytes(&self) -> u64 {
        let off = |(tier, item): (&Tier, &crate::problem::Item)| {
            if tier.is_gpu() { 0 } else { item.weights }
        };
        self.assigned.tiers.iter().zip(&self.problem.items).map(off).sum()
    }
}

impl<'a> Planner<'a> {
    /// A planner for a checkpoint.
    pub fn new(config: &'a ModelConfig, inventory: &'a Inventory) -> Planner<'a> {
        Planner { config, inventory, weights: Default::default() }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.config
    }

    /// The model's weights in a dtype.
    pub fn weights(&self, dtype: DtypeChoice) -> &Weights {
        self.weights[dtype as usize].get_or_init(|| Weights::of(self.config, self.inventory, dtype))
    }

    /// As [`plan`].
    ///
    /// # Errors
    /// As [`plan`].
    pub fn plan(&self, machine: &Machine, limits: &Limits) -> Result<Plan, PlanError> {
        check(limits)?;
        let solution = self
            .solve(machine, limits)
            .map_err(|refusal| self.refused(refusal, machine, limits))?;
        Ok(self.written_out(&solution, machine, limits))
    }

    /// The placement alone.
    pub(crate) fn solve(
        &self,
        machine: &Machine,
        limits: &Limits,
    ) -> Result<Solution<'_>, Refusal> {
        let weights = self.weights(limits.dtype);
        let footprint = Footprint::of(self.config, limits);
        let problem = Problem::new(weights, &footprint, machine, limits);
        let names: Vec<&str> = weights.modules.iter().map(|module| module.name.as_str()).collect();
        let assigned = assign(&problem, &limits.mode, &names)?;
        match virtual_shortage(&problem, &assigned.tiers) {
            Some(shortage) => Err(Refusal::Short(Box::new(shortage))),
            None => Ok(Solution { weights, footprint, problem, assigned }),
        }
    }

    fn refused(&self, refusal: Refusal, machine: &Machine, limits: &Limits) -> PlanError {
        match refusal {
            Refusal::Wrong(error) => error,
            Refusal::Short(shortage) => {
                let changes = change::that_fit(self, machine, limits, change::Goal::Fits);
                PlanError::DoesNotFit { shortage, changes }
            }
        }
    }

    fn written_out(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Plan {
        let Solution { weights, footprint, problem, assigned } = solution;
        let reasons = reason::reasons(problem, &assigned.tiers, &limits.mode);
        let module = |((of, tier), (item, reason))| {
            let (of, item): (&crate::ModuleWeights, &crate::problem::Item) = (of, item);
            ModulePlan {
                name: of.name.clone(),
                tier,
                weights_bytes: of.bytes,
                kv_bytes: item.kv,
                reason,
            }
        };
        let placed = weights.modules.iter().zip(assigned.tiers.iter().copied());
        let modules: Vec<ModulePlan> =
            placed.zip(problem.items.iter().zip(reasons)).map(module).collect();
        let predicted = predict::predict(
            problem,
            machine,
            &assigned.tiers,
            weights.stored_bytes,
            limits.concurrency,
        );
        Plan {
            device_map: modules.iter().map(|module| (module.name.clone(), module.tier)).collect(),
            mode: limits.mode.name(),
            dtype: limits.dtype.name(),
            kv_dtype: limits.kv_kept(self.config).name(),
            context: limits.context,
            concurrency: limits.concurrency,
            kv_blocks: footprint.kv_blocks,
            weights_bytes: weights.bytes(),
            stored_bytes: weights.stored_bytes,
            tiers: tiers(solution),
            modules,
            spill: self.spill(solution, machine, limits),
            disk_spill: self.disk_spill(solution, machine, limits),
            predicted_load_s: predicted.load_s,
            predicted_decode_tok_s: predicted.decode_tok_s,
            predicted_decode_tok_s_full: predicted.decode_tok_s_full,
            rates: predicted.rates,
            max_memory: limits.max_memory.echo(),
            warnings: warn::warnings(self, solution, machine, limits),
            notes: machine
                .notes
                .iter()
                .chain(&assigned.notes)
                .chain(&predicted.notes)
                .cloned()
                .collect(),
        }
    }

    fn spill(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Option<Spill> {
        let bytes = solution.off_bytes();
        if machine.gpus.is_empty() || bytes == 0 || asked_for(limits) {
            return None;
        }
        let modules = solution.assigned.tiers.iter().filter(|tier| !tier.is_gpu()).count();
        let shortage = reason::nearest_shortage(&solution.problem, &solution.assigned.tiers);
        let changes = change::that_fit(self, machine, limits, change::Goal::NoSpill);
        Some(Spill { bytes, modules, shortage, changes })
    }

    fn disk_spill(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Option<Spill> {
        let Solution { problem, assigned, .. } = solution;
        let modules = assigned.tiers.iter().filter(|tier| **tier == Tier::Disk).count();
        if modules == 0 || asked_for(limits) {
            return None;
        }
        let in_memory = |tier: &Tier| if *tier == Tier::Disk { Tier::Cpu } else { *tier };
        let on_gpus = assigned.tiers.iter().any(|tier| tier.is_gpu());
        let what = if on_gpus { "what the GPUs do not hold" } else { "the model" };
        let wanted: Vec<Tier> = assigned.tiers.iter().map(in_memory).collect();
        let shortage = HostNeed::of(problem, &wanted).shortage(problem, what);
        let bytes = HostNeed::of(problem, &assigned.tiers).disk_weights;
        let changes = change::that_fit(self, machine, limits, change::Goal::NothingOnDisk);
        Some(Spill { bytes, modules, shortage, changes })
    }
}

/// Whether the map that was asked for says itself what is where.
fn asked_for(limits: &Limits) -> bool {
    matches!(limits.mode, DeviceMapMode::Cpu | DeviceMapMode::Disk | DeviceMapMode::Explicit(_))
}

fn check(limits: &Limits) -> Result<(), PlanError> {
    let positive = |key, value: usize| match value {
        0 => Err(PlanError::Setting {
            key,
            expected: "at least 1".to_owned(),
            found: "0".to_owned(),
        }),
        _ => Ok(()),
    };
    positive("--context", limits.context)?;
    positive("--concurrency", limits.concurrency)
}

/// Virtual devices are host memory: together with the host's own share they must be there.
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

fn tiers(solution: &Solution) -> Vec<TierPlan> {
    let Solution { weights, problem, assigned, .. } = solution;
    let sum = |tier: Tier, bytes: fn(&crate::problem::Item) -> u64| -> u64 {
        let on = assigned.tiers.iter().zip(&problem.items).filter(|(at, _)| **at == tier);
        on.map(|(_, item)| bytes(item)).sum()
    };
    // Where a module may go is decided as if each GPU had the head's logits; what is told, and
    // taken, is what comes to be there.
    let has_head = |tier: Tier| assigned.tiers[problem.head()] == tier;
    let unused = |tier: Tier| if has_head(tier) { 0 } else { problem.logits };
    let mut tiers = Vec::new();
    for (index, gpu) in problem.gpus.iter().enumerate() {
        let tier = Tier::Gpu(index);
        let in_use = |bytes: u64| if assigned.tiers.contains(&tier) { bytes } else { 0 };
        tiers.push(TierPlan {
            tier,
            name: gpu.name.clone(),
            available_bytes: gpu.free,
            budget_bytes: gpu.budget,
            budget_name: gpu.budget_name.clone(),
            weights_bytes: sum(tier, |item| item.weights),
            kv_bytes: sum(tier, |item| item.kv),
            activations_bytes: in_use(gpu.fixed.activations.saturating_sub(unused(tier))),
            staging_bytes: in_use(gpu.fixed.staging),
            reserve_bytes: in_use(gpu.fixed.reserve),
        });
    }
    let (host, need) = (&problem.host, HostNeed::of(problem, &assigned.tiers));
    tiers.push(TierPlan {
        tier: Tier::Cpu,
        name: format!(
            "host memory, {} of it available under {}",
            crate::short_text(host.available),
            host.limit
        ),
        available_bytes: host.usable,
        budget_bytes: host.budget,
        budget_name: host.budget_name.clone(),
        weights_bytes: need.weights,
        kv_bytes: need.kv,
        activations_bytes: host.activations(need.computes),
        staging_bytes: host.fixed.staging.saturating_add(need.stream_buffers()),
        reserve_bytes: host.fixed.reserve,
    });
    tiers.push(TierPlan {
        tier: Tier::Disk,
        name: "the checkpoint's own files".to_owned(),
        available_bytes: weights.stored_bytes,
        budget_bytes: problem.disk_budget.min(weights.stored_bytes.max(weights.bytes())),
        budget_name: if problem.disk_budget == 0 { "not asked for" } else { "nothing is copied" }
            .to_owned(),
        weights_bytes: need.disk_weights,
        kv_bytes: 0,
        activations_bytes: 0,
        staging_bytes: 0,
        reserve_bytes: 0,
    });
    tiers
}
