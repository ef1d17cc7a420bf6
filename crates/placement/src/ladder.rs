//! The ladder of fallbacks: as configured -> without `max_memory` -> sequential -> int8 -> disk
//! tier -> error.
use crate::planner::Planner;
use crate::{
    Change, ChangeKind, DeviceMapMode, DtypeChoice, Fallback, LimitFound, Limits, Machine,
    MaxMemory, Plan, PlanError, Rung, RungOutcome, RungState, Shortage,
};
use checkpoint::{Inventory, ModelConfig};
use serde::{Deserialize, Serialize};

/// The rung that fits and its plan, with the outcomes of all rungs tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ladder {
    pub rung: Rung,
    pub plan: Plan,
    /// Outcomes in the order of the attempts; the last is that of the rung that fits.
    pub tried: Vec<RungOutcome>,
}

/// Tries the rungs from the top until a plan fits.
///
/// # Errors
/// [`PlanError::NoRungFits`] with the shortage of the plan as configured, changes that make a plan
/// fit, and the outcome of each rung.
pub fn ladder(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
    fallback: Fallback,
) -> Result<Ladder, PlanError> {
    let planner = Planner::new(config, inventory);
    ladder_below(&planner, machine, limits, fallback, &[])
}

/// A rung whose plan fit, but whose load ran out of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRung {
    pub rung: Rung,
    /// The loader's error, or how its process ended.
    pub why: String,
    /// Host memory allowed for the next plan, in bytes: see [`Plan::host_bytes_if_too_much`].
    pub next_host_bytes: u64,
    /// The GPU that ran out of memory; `None`: the host ran out of memory.
    #[serde(default)]
    pub gpu: Option<GpuLeft>,
}

/// A GPU that ran out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuLeft {
    pub gpu: usize,
    /// Memory of the GPU allowed for the next plan, in bytes: see [`Plan::gpu_bytes_if_too_much`].
    pub next_bytes: u64,
}

impl FailedRung {
    /// Lowers the machine's memory, since less was available than the failed plan assumed.
    fn take_from(&self, machine: &mut Machine) {
        match self.gpu {
            Some(GpuLeft { gpu, next_bytes }) => {
                if let Some(gpu) = machine.gpus.get_mut(gpu) {
                    gpu.free_bytes = Some(gpu.free().min(next_bytes));
                }
            }
            None => {
                let what = format!("less than what ran out on the rung {}", self.rung.name());
                // The planner uses 90% of a limit. `next_host_bytes` is already usable memory, so
                // the limit is larger by that factor.
                let bytes = self.next_host_bytes / 9 * 10;
                machine.host.limits.push(LimitFound { what, bytes, used_bytes: 0 });
            }
        }
    }
}

/// Continues below the rungs whose loads failed. `machine` has the memory that is free now. If no
/// rung failed, the result is that of [`ladder()`].
///
/// # Errors
/// As for [`ladder()`].
pub fn ladder_below(
    planner: &Planner,
    machine: &Machine,
    limits: &Limits,
    fallback: Fallback,
    failed: &[FailedRung],
) -> Result<Ladder, PlanError> {
    let mut tried: Vec<RungOutcome> = Vec::new();
    let mut short: Vec<RungShortage> = Vec::new();
    let mut machine = machine.clone();
    failed.iter().for_each(|failed| failed.take_from(&mut machine));
    let machine = &machine;
    let lowest = failed.iter().map(|failed| failed.rung).max();
    for rung in Rung::ALL {
        if let Some(failed) = failed.iter().find(|failed| failed.rung == rung) {
            tried.push(RungOutcome { rung, state: RungState::Failed, why: failed.why.clone() });
            continue;
        }
        let step = match step(rung, planner, machine, limits, fallback) {
            Ok(_) if lowest.is_some_and(|lowest| rung < lowest) => {
                Err((RungState::TooSmall, "it did not when this load began"))
            }
            step => step,
        };
        match step.map(|limits| planner.plan(machine, &limits)) {
            Err((state, why)) => tried.push(RungOutcome { rung, state, why: why.to_owned() }),
            Ok(Ok(plan)) => {
                tried.push(RungOutcome {
                    rung,
                    state: RungState::Taken,
                    why: "its plan fits".to_owned(),
                });
                return Ok(Ladder { rung, plan, tried });
            }
            Ok(Err(PlanError::DoesNotFit { shortage, changes })) => {
                tried.push(RungOutcome {
                    rung,
                    state: RungState::TooSmall,
                    why: shortage.to_string(),
                });
                short.push(RungShortage { rung, shortage, changes });
            }
            Ok(Err(error)) => return Err(error),
        }
    }
    Err(refusal(planner, machine, limits, short, tried))
}

struct RungShortage {
    rung: Rung,
    shortage: Box<Shortage>,
    changes: Vec<Change>,
}

/// The error if no rung fits: the shortage of the first rung, and the changes that make some rung
/// fit. The changes of the lowest rung are the smallest and come first.
fn refusal(
    planner: &Planner,
    machine: &Machine,
    limits: &Limits,
    mut short: Vec<RungShortage>,
    rungs: Vec<RungOutcome>,
) -> PlanError {
    if short.is_empty() {
        // After failed loads there may be no rung left to plan. The error is then that of the
        // configured limits.
        match planner.plan(machine, limits) {
            Err(PlanError::DoesNotFit { shortage, changes }) => {
                short.push(RungShortage { rung: Rung::AsConfigured, shortage, changes });
            }
            Err(error) => return error,
            Ok(_) => {}
        }
    }
    let mut changes: Vec<Change> = Vec::new();
    for RungShortage { rung, changes: of_rung, .. } in short.iter().rev() {
        for change in of_rung
            .iter()
            .filter(|change| !matches!(change.kind, ChangeKind::Disk | ChangeKind::Int8))
        {
            let text = match rung {
                Rung::AsConfigured => change.text.clone(),
                _ => format!("{} (on the rung {})", change.text, rung.name()),
            };
            changes.push(Change { text, kind: change.kind.clone() });
        }
    }
    // Int8 and the disk tier are rungs themselves: as changes they remain only if the policy
    // excludes their rungs. Their texts name the option that permits them.
    let allowed = |change: &&Change| matches!(change.kind, ChangeKind::Disk | ChangeKind::Int8);
    changes.extend(
        short.iter().take(1).flat_map(|short| short.changes.iter().filter(allowed).cloned()),
    );
    let shortage = short
        .into_iter()
        .next()
        .map_or_else(|| planned_and_failed(planner, machine, limits), |short| short.shortage);
    PlanError::NoRungFits { shortage, changes, rungs }
}

fn planned_and_failed(planner: &Planner, machine: &Machine, limits: &Limits) -> Box<Shortage> {
    let (have_bytes, limit) = machine.host.really_available();
    let need_bytes = planner.weights(limits.dtype).bytes();
    let what = "the model, which was planned to fit and did not,".to_owned();
    let short_bytes = need_bytes.saturating_sub(have_bytes);
    Box::new(Shortage { what, tier: crate::Tier::Cpu, limit, need_bytes, have_bytes, short_bytes })
}

/// The limits of a rung, or the state and the reason if it is not tried.
type Step = Result<Limits, (RungState, &'static str)>;

fn step(
    rung: Rung,
    planner: &Planner,
    machine: &Machine,
    limits: &Limits,
    fallback: Fallback,
) -> Step {
    let skipped = |why| Err((RungState::Skipped, why));
    let not_allowed = |why| Err((RungState::NotAllowed, why));
    if rung != Rung::AsConfigured && !fallback.any {
        return not_allowed("--fallback none");
    }
    let over = if fallback.over_limit { MaxMemory::default() } else { limits.max_memory.clone() };
    // A typed limit for the disk allows the disk tier, even if this rung drops the limit.
    let free = Limits { max_memory: over, disk: limits.allows_disk(), ..limits.clone() };
    match rung {
        Rung::AsConfigured => Ok(limits.clone()),
        Rung::WithoutMaxMemory if limits.max_memory.is_empty() => {
            skipped("no max_memory was typed")
        }
        Rung::WithoutMaxMemory if !fallback.over_limit => {
            not_allowed("it would pass the limits that were typed (--fallback allow=over-limit)")
        }
        Rung::WithoutMaxMemory => Ok(free),
        Rung::Sequential if machine.gpus.is_empty() => {
            skipped("there is no GPU to fill in sequence")
        }
        Rung::Sequential => match limits.mode {
            DeviceMapMode::Sequential => skipped("the device map is sequential already"),
            DeviceMapMode::Auto => skipped("auto has looked at every sequential map among others"),
            _ => Ok(Limits { mode: DeviceMapMode::Sequential, ..free }),
        },
        Rung::Int8 if limits.dtype == DtypeChoice::Int8 => skipped("the dtype is int8 already"),
        Rung::Int8 if !planner.weights(limits.dtype).can_be_int8 => {
            skipped("all weights are in smaller forms already")
        }
        Rung::Int8 if !fallback.int8 => {
            not_allowed("it would change the model (--fallback allow=int8)")
        }
        Rung::Int8 => Ok(Limits { dtype: DtypeChoice::Int8, ..free }),
        Rung::DiskTier if limits.allows_disk() && limits.mode == DeviceMapMode::Auto => {
            skipped("the disk was allowed from the start")
        }
        Rung::DiskTier => Ok(Limits { disk: true, mode: DeviceMapMode::Auto, ..free }),
    }
}
