//! Makes a [`Plan`] with reasons, predictions and warnings from inventory, machine and limits.
use crate::alternatives::{self, Goal};
use crate::assign::{AssignError, Assigned, HostNeed};
use crate::footprint::Weights;
use crate::gpu_support::{experts_note, usable_machine};
use crate::solver::{Solution, Solver};
use crate::{
    DeviceMapMode, DtypeChoice, Limits, Machine, ModulePlan, Plan, PlanError, Spill, Tier,
    TierPlan, predict, reason, warn,
};
use checkpoint::{Inventory, ModelConfig};

/// Plans the tier of each module of a model. Never accesses hardware.
///
/// # Errors
/// [`PlanError::DoesNotFit`] with the shortage and changes that make the model fit;
/// [`PlanError::DeviceMap`] for an invalid map; [`PlanError::Setting`] for a context or concurrency
/// of 0.
pub fn plan(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
) -> Result<Plan, PlanError> {
    Planner::new(config, inventory).plan(machine, limits)
}

/// Plans one model several times. The bytes of its tensors are counted only once per dtype.
pub struct Planner<'a> {
    solver: Solver<'a>,
}

impl<'a> Planner<'a> {
    pub fn new(config: &'a ModelConfig, inventory: &'a Inventory) -> Planner<'a> {
        Planner { solver: Solver::new(config, inventory) }
    }

    /// The bytes of the model's weights in a dtype.
    pub fn weights(&self, dtype: DtypeChoice) -> &Weights {
        self.solver.weights(dtype)
    }

    /// As the function [`plan`].
    ///
    /// # Errors
    /// As for [`plan`].
    pub fn plan(&self, machine: &Machine, limits: &Limits) -> Result<Plan, PlanError> {
        check(limits)?;
        let machine = &*usable_machine(self.solver.config, machine, limits)?;
        let solution = self
            .solver
            .solve(machine, limits)
            .map_err(|refusal| self.refused(refusal, machine, limits))?;
        Ok(self.describe(&solution, machine, limits))
    }

    fn refused(&self, refusal: AssignError, machine: &Machine, limits: &Limits) -> PlanError {
        match refusal {
            AssignError::Wrong(error) => error,
            AssignError::Short(shortage) => {
                let changes = alternatives::that_reach(&self.solver, machine, limits, Goal::Fits);
                PlanError::DoesNotFit { shortage, changes }
            }
        }
    }

    fn describe(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Plan {
        let Solution { weights, footprint, problem, assigned } = solution;
        let reasons = reason::reasons(problem, &assigned.tiers, &limits.mode);
        let module = |((of, tier), (item, reason))| {
            let (of, item): (&crate::ModuleWeights, &crate::problem::ModuleBytes) = (of, item);
            ModulePlan {
                name: of.name.clone(),
                tier,
                weights_bytes: of.bytes,
                kv_bytes: item.kv,
                reason,
            }
        };
        let placed = weights.modules.iter().zip(assigned.tiers.iter().copied());
        let mut modules: Vec<ModulePlan> = Vec::new();
        for part in placed.zip(problem.items.iter().zip(reasons)) {
            let is_experts = part.1.0.is_experts();
            let part = module(part);
            match modules.last_mut() {
                // Routed experts on the tier of their layer are a part of it.
                Some(layer) if is_experts && layer.tier == part.tier => {
                    layer.weights_bytes += part.weights_bytes;
                }
                _ => modules.push(part),
            }
        }
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
            kv_dtype: limits.kv_kept(self.solver.config).name(),
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
            warnings: warn::warnings(&self.solver, solution, machine, limits),
            notes: machine
                .notes
                .iter()
                .chain(&assigned.notes)
                .chain(&predicted.notes)
                .cloned()
                .chain(experts_note(problem, &assigned.tiers))
                .collect(),
        }
    }

    fn spill(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Option<Spill> {
        let bytes = solution.spilled_bytes();
        if machine.gpus.is_empty() || bytes == 0 || is_fixed_by_map(limits) {
            return None;
        }
        let modules = modules(solution, solution.spilled());
        let shortage = reason::nearest_shortage(&solution.problem, &solution.assigned.tiers);
        let changes = alternatives::that_reach(&self.solver, machine, limits, Goal::NoSpill);
        Some(Spill { bytes, modules, shortage, changes })
    }

    fn disk_spill(&self, solution: &Solution, machine: &Machine, limits: &Limits) -> Option<Spill> {
        let Solution { problem, assigned, .. } = solution;
        let on_disk = assigned.tiers.iter().enumerate().filter(|(_, tier)| **tier == Tier::Disk);
        let modules = modules(solution, on_disk.map(|(index, _)| index));
        if modules == 0 || is_fixed_by_map(limits) {
            return None;
        }
        let without_disk = |tier: &Tier| if *tier == Tier::Disk { Tier::Cpu } else { *tier };
        let on_gpus = assigned.tiers.iter().any(|tier| tier.is_gpu());
        let what = if on_gpus { "what the GPUs do not hold" } else { "the model" };
        let in_memory: Vec<Tier> = assigned.tiers.iter().map(without_disk).collect();
        let shortage = HostNeed::of(problem, &in_memory).shortage(problem, what);
        let bytes = HostNeed::of(problem, &assigned.tiers).disk_weights;
        let changes = alternatives::that_reach(&self.solver, machine, limits, Goal::NothingOnDisk);
        Some(Spill { bytes, modules, shortage, changes })
    }
}

/// The number of modules, of which a layer and its routed experts on one tier are one.
fn modules(solution: &Solution, indices: impl Iterator<Item = usize>) -> usize {
    let Solution { problem, assigned: Assigned { tiers, .. }, .. } = solution;
    let is_own =
        |index: &usize| !problem.items[*index].is_experts() || tiers[*index] != tiers[*index - 1];
    indices.filter(is_own).count()
}

/// Whether the device map prescribes the tiers off the GPUs, so that no spill is reported.
fn is_fixed_by_map(limits: &Limits) -> bool {
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

fn tiers(solution: &Solution) -> Vec<TierPlan> {
    let Solution { weights, problem, assigned, .. } = solution;
    let sum = |tier: Tier, bytes: fn(&crate::problem::ModuleBytes) -> u64| -> u64 {
        let on = assigned.tiers.iter().zip(&problem.items).filter(|(at, _)| **at == tier);
        on.map(|(_, item)| bytes(item)).sum()
    };
    // The search assumes that each GPU holds the logits of the head. Only the GPU with the head
    // allocates them, so they are subtracted from the others.
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
            expert_cache_bytes: 0,
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
        expert_cache_bytes: need.expert_cache(problem),
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
        expert_cache_bytes: 0,
        staging_bytes: 0,
        reserve_bytes: 0,
    });
    tiers
}
