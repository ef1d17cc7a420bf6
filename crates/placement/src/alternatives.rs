//! Suggests the smallest single changes of limits or hardware that reach a goal. Each change is
//! planned before it is suggested.
use crate::footprint::KV_BLOCK_TOKENS;
use crate::solver::Solver;
use crate::{
    Change, ChangeKind, DtypeChoice, Host, KvDtype, Limits, Machine, MaxMemory, Tier, both_units,
    short_text,
};

/// The goal of a suggested change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The model fits: every module has a tier.
    Fits,
    /// No module is on disk.
    NothingOnDisk,
    /// Every module is on a GPU.
    NoSpill,
}

/// Maximum host memory that a suggestion adds, in GiB.
const HOST_GIB_MAX: u64 = 4096;
/// Maximum number of GPUs of a suggested machine; larger nodes are not assumed.
const GPUS_MAX: usize = 8;

/// All single changes that reach the goal: first larger or no typed budgets, then a shorter
/// context, fewer sequences and int8 keys and values, then int8 weights, then more host memory, the
/// disk tier and more GPUs.
pub(crate) fn that_reach(
    solver: &Solver,
    machine: &Machine,
    limits: &Limits,
    goal: Goal,
) -> Vec<Change> {
    let search = ChangeSearch { solver, machine, limits, goal };
    let mut found = Vec::new();
    found.extend(search.binary_units());
    found.extend(search.larger_gpu_budgets());
    found.extend(search.without_max_memory());
    found.extend(search.less_context());
    found.extend(search.fewer_sequences());
    found.extend(search.kv_int8());
    found.extend(search.int8());
    if goal != Goal::NoSpill {
        found.extend(search.more_host_memory());
    }
    if goal == Goal::Fits {
        found.extend(search.disk());
    }
    found.extend(search.more_gpus());
    found
}

struct ChangeSearch<'a> {
    solver: &'a Solver<'a>,
    machine: &'a Machine,
    limits: &'a Limits,
    goal: Goal,
}

impl ChangeSearch<'_> {
    fn reaches(&self, machine: &Machine, limits: &Limits) -> bool {
        self.solver.solve(machine, limits).is_ok_and(|solution| match self.goal {
            Goal::Fits => true,
            Goal::NothingOnDisk => !solution.assigned.tiers.contains(&Tier::Disk),
            Goal::NoSpill => solution.spilled_bytes() == 0,
        })
    }

    /// The smallest number of GiB that reaches the goal when it is added to the typed budget of
    /// each GPU. Once a GPU's memory is full, a larger budget has no effect.
    fn larger_gpu_budgets(&self) -> Option<Change> {
        let typed: Vec<Tier> = self
            .limits
            .max_memory
            .iter()
            .map(|(tier, _)| tier)
            .filter(|tier| tier.is_gpu())
            .collect();
        let largest = self
            .machine
            .gpus
            .iter()
            .map(|gpu| gpu.total_bytes)
            .max()
            .filter(|_| !typed.is_empty())?;
        let with = |gib: usize| {
            let grow = |budgets: MaxMemory, tier: &Tier| {
                let bytes = budgets.get(*tier).unwrap_or(0).saturating_add((gib as u64) << 30);
                budgets.with(*tier, crate::ByteSize::plain(bytes))
            };
            let max_memory = typed.iter().fold(self.limits.max_memory.clone(), grow);
            Limits { max_memory, ..self.limits.clone() }
        };
        let max = usize::try_from((largest >> 30) + 1).ok()?;
        let gib = smallest(max, |gib| self.reaches(self.machine, &with(gib)))?;
        let each = if typed.len() > 1 { " each" } else { "" };
        let gpus: Vec<String> = typed.iter().map(Tier::to_string).collect();
        let text = format!("{gib} GiB more in --max-memory for {}{each}", gpus.join(" and "));
        Some(Change { kind: ChangeKind::GpuBudgets { more_bytes: (gib as u64) << 30 }, text })
    }

    fn binary_units(&self) -> Option<Change> {
        let twin = self.limits.max_memory.binary_twin()?;
        let text = format!("--max-memory {twin} (the same numbers in GiB)");
        let limits = Limits { max_memory: twin, ..self.limits.clone() };
        self.reaches(self.machine, &limits)
            .then_some(Change { kind: ChangeKind::BinaryUnits, text })
    }

    fn without_max_memory(&self) -> Option<Change> {
        if self.limits.max_memory.is_empty() {
            return None;
        }
        let limits = Limits { max_memory: MaxMemory::default(), ..self.limits.clone() };
        let text = "no --max-memory (from what is really free)".to_owned();
        self.reaches(self.machine, &limits)
            .then_some(Change { kind: ChangeKind::WithoutMaxMemory, text })
    }

    fn less_context(&self) -> Option<Change> {
        let with =
            |layers: usize| Limits { context: layers * KV_BLOCK_TOKENS, ..self.limits.clone() };
        let asked = (self.limits.context.saturating_sub(1)) / KV_BLOCK_TOKENS;
        let layers = largest(asked, |layers| self.reaches(self.machine, &with(layers)))?;
        let tokens = layers * KV_BLOCK_TOKENS;
        let less = self.kv_bytes(self.limits).saturating_sub(self.kv_bytes(&with(layers)));
        let text = format!(
            "--context {tokens} instead of {} ({} less KV cache)",
            self.limits.context,
            short_text(less)
        );
        Some(Change { kind: ChangeKind::Context { tokens }, text })
    }

    fn kv_bytes(&self, limits: &Limits) -> u64 {
        let footprint = crate::Footprint::of(self.solver.config, limits);
        footprint.kv_per_layer_bytes.saturating_mul(self.solver.config.layers as u64)
    }

    fn fewer_sequences(&self) -> Option<Change> {
        let with = |concurrency: usize| Limits { concurrency, ..self.limits.clone() };
        let sequences =
            largest(self.limits.concurrency - 1, |n| self.reaches(self.machine, &with(n)))?;
        let text = format!("--concurrency {sequences} instead of {}", self.limits.concurrency);
        Some(Change { kind: ChangeKind::Concurrency { sequences }, text })
    }

    fn int8(&self) -> Option<Change> {
        if self.limits.dtype == DtypeChoice::Int8
            || !self.solver.weights(self.limits.dtype).can_be_int8
        {
            return None;
        }
        let limits = Limits { dtype: DtypeChoice::Int8, ..self.limits.clone() };
        let bytes = || self.solver.weights(DtypeChoice::Int8).bytes();
        let text = || format!("--dtype int8, which makes the weights {}", both_units(bytes()));
        self.reaches(self.machine, &limits).then(|| Change { kind: ChangeKind::Int8, text: text() })
    }

    fn kv_int8(&self) -> Option<Change> {
        let limits = Limits { kv_dtype: Some(KvDtype::Int8), ..self.limits.clone() };
        let less = self
            .kv_bytes(self.limits)
            .checked_sub(self.kv_bytes(&limits))
            .filter(|less| *less > 0)?;
        let text = format!("--kv-dtype int8 ({} less KV cache)", short_text(less));
        self.reaches(self.machine, &limits).then_some(Change { kind: ChangeKind::KvInt8, text })
    }

    fn more_host_memory(&self) -> Option<Change> {
        let with = |gib: u64| Machine {
            host: grown(&self.machine.host, gib << 30),
            ..self.machine.clone()
        };
        // A typed budget of host memory has to grow by the same amount.
        let limits = |gib: u64| match self.limits.max_memory.get(Tier::Cpu) {
            Some(typed) => {
                let size = crate::ByteSize::plain(typed.saturating_add(gib << 30));
                Limits {
                    max_memory: self.limits.max_memory.clone().with(Tier::Cpu, size),
                    ..self.limits.clone()
                }
            }
            None => self.limits.clone(),
        };
        let high = smallest(HOST_GIB_MAX as usize, |gib| {
            self.reaches(&with(gib as u64), &limits(gib as u64))
        })? as u64;
        Some(Change {
            kind: ChangeKind::HostMemory { more_bytes: high << 30 },
            text: format!("{high} GiB more host memory"),
        })
    }

    fn disk(&self) -> Option<Change> {
        if self.limits.allows_disk() {
            return None;
        }
        let limits = Limits { disk: true, ..self.limits.clone() };
        let text = "the disk tier (--max-memory disk=..., or --fallback auto): weights are then read for every token"
            .to_owned();
        self.reaches(self.machine, &limits).then_some(Change { kind: ChangeKind::Disk, text })
    }

    fn more_gpus(&self) -> Option<Change> {
        let gpu = self.machine.gpus.iter().max_by_key(|gpu| gpu.total_bytes)?;
        if gpu.is_virtual {
            return None;
        }
        let with = |count: usize| {
            let mut machine = self.machine.clone();
            machine
                .gpus
                .extend((0..count).map(|_| crate::GpuSpec { free_bytes: None, ..gpu.clone() }));
            machine
        };
        let max = GPUS_MAX.saturating_sub(self.machine.gpus.len());
        let count = smallest(max, |count| self.reaches(&with(count), self.limits))?;
        let (name, bytes) = (gpu.name.clone(), gpu.total_bytes);
        let text = match count {
            1 => format!("one more {name} of {}", both_units(bytes)),
            _ => format!("{count} more {name} of {} each", both_units(bytes)),
        };
        Some(Change { kind: ChangeKind::Gpu { count, name, bytes }, text })
    }
}

/// The host with `more` additional bytes of total memory, of available memory, and of every limit.
fn grown(host: &Host, more: u64) -> Host {
    let mut host = host.clone();
    host.total_bytes = host.total_bytes.saturating_add(more);
    for bytes in [&mut host.available_bytes, &mut host.limit_bytes].into_iter().flatten() {
        *bytes = bytes.saturating_add(more);
    }
    for limit in &mut host.limits {
        limit.bytes = limit.bytes.saturating_add(more);
    }
    host
}

/// The largest `n` from 1 to `max` for which `good(n)` holds, if `good` holds for small numbers and
/// fails for large ones; binary search.
fn largest(max: usize, good: impl Fn(usize) -> bool) -> Option<usize> {
    if max == 0 || !good(1) {
        return None;
    }
    let (mut low, mut high) = (1, max + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if good(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// The smallest `n` from 1 to `max` for which `good(n)` holds, if `good` fails for small numbers
/// and holds for large ones; binary search.
fn smallest(max: usize, good: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (0, 1);
    if max == 0 {
        return None;
    }
    while !good(high) {
        if high >= max {
            return None;
        }
        (low, high) = (high, (high * 2).min(max));
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if good(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
