//! The placement problem in numbers: bytes of modules and budgets of tiers.
use crate::footprint::{
    DRIVER_BYTES, Footprint, GPU_PINNED_BYTES, GPU_STAGING_BYTES, PINNED_RING_BYTES, PROGRAM_BYTES,
    READERS_MAX, STAGING_PER_READER_BYTES, Weights,
};
use crate::machine::DefaultRates;
use crate::{GpuSpec, Limits, Machine, Tier};
use checkpoint::ModuleKind;

/// Bytes of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModuleBytes {
    pub kind: ModuleKind,
    pub weights: u64,
    /// Bytes of the module's keys and values.
    pub kv: u64,
    /// Bytes that are read to decode one token.
    pub active: u64,
    /// Bytes of the least cache in host memory if the module is on disk and has routed experts: it
    /// holds those of one token. 0 for other modules, which are streamed as a whole.
    pub cache_min: u64,
    /// Bytes of a cache that holds all of these experts.
    pub cache_max: u64,
}

impl ModuleBytes {
    /// Whether the module is the routed experts of a layer.
    pub fn is_experts(&self) -> bool {
        matches!(self.kind, ModuleKind::Experts(_))
    }

    /// Bytes that are read from disk for one token if the weights stay there: all of them, but of
    /// routed experts only the chosen ones.
    pub fn read_from_disk(&self) -> u64 {
        if self.is_experts() { self.active } else { self.weights }
    }
}

/// The budgets of a GPU, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuBudget {
    pub name: String,
    /// Bytes allowed for weights.
    pub budget: u64,
    /// The name of the limit that determines the budget.
    pub budget_name: String,
    pub free: u64,
    pub fixed: FixedBytes,
    /// Memory bandwidth in bytes per second.
    pub rate: u64,
    pub is_virtual: bool,
    /// Whether routed experts may be on the GPU.
    pub holds_experts: bool,
}

/// Bytes that a tier uses in addition to weights, keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FixedBytes {
    pub activations: u64,
    pub staging: u64,
    pub reserve: u64,
}

impl FixedBytes {
    pub fn total(&self) -> u64 {
        self.activations.saturating_add(self.staging).saturating_add(self.reserve)
    }
}

impl GpuBudget {
    /// Bytes available for weights, keys and values together.
    pub fn space(&self) -> u64 {
        self.free.saturating_sub(self.fixed.total())
    }

    pub fn holds(&self, weights: u64, kv: u64) -> bool {
        weights <= self.budget && weights.saturating_add(kv) <= self.space()
    }

    /// Whether the two GPUs are interchangeable: same budget, space, bandwidth and modules.
    pub fn is_twin(&self, other: &GpuBudget) -> bool {
        let key = |gpu: &GpuBudget| (gpu.budget, gpu.space(), gpu.rate, gpu.holds_experts);
        key(self) == key(other)
    }
}

/// The budgets of host memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostBudget {
    /// The name of the strictest limit on host memory.
    pub limit: String,
    /// Bytes available under that limit.
    pub available: u64,
    /// Bytes that the program may use: 90% of `available`.
    pub usable: u64,
    /// Bytes allowed for weights.
    pub budget: u64,
    pub budget_name: String,
    /// Bytes in addition to weights, keys and values. If the CPU does not compute, `crossing`
    /// replaces `activations`.
    pub fixed: FixedBytes,
    /// Bytes of the host's buffers for a forward pass if only GPUs compute.
    pub crossing: u64,
    pub rate: u64,
}

impl HostBudget {
    pub fn activations(&self, computes: bool) -> u64 {
        if computes { self.fixed.activations } else { self.crossing }
    }
}

/// All values that an assignment depends on.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// Embedding, layers, norm and head, in this order. The routed experts of a layer follow it.
    pub items: Vec<ModuleBytes>,
    pub tied: bool,
    pub gpus: Vec<GpuBudget>,
    pub host: HostBudget,
    /// Bytes of logits: the part of `activations` that a GPU without the head does not need.
    pub logits: u64,
    /// Bytes of weights that may stay on disk; 0: the disk tier is not allowed.
    pub disk_budget: u64,
    pub disk_rate: u64,
}

impl Problem {
    pub fn new(
        weights: &Weights,
        footprint: &Footprint,
        machine: &Machine,
        limits: &Limits,
    ) -> Problem {
        let caches = |module: &crate::ModuleWeights| weights.expert_cache_bytes(module);
        let item = |module: &crate::ModuleWeights| ModuleBytes {
            kind: module.kind,
            weights: module.bytes,
            kv: if matches!(module.kind, ModuleKind::Layer(_)) {
                footprint.kv_per_layer_bytes
            } else {
                0
            },
            active: module.active_bytes,
            cache_min: caches(module)[0],
            cache_max: caches(module)[1],
        };
        let typed_disk = limits.max_memory.get(Tier::Disk);
        Problem {
            items: weights.modules.iter().map(item).collect(),
            tied: weights.tied,
            gpus: (0..machine.gpus.len())
                .map(|index| gpu(index, machine, footprint, limits))
                .collect(),
            host: host(machine, footprint, limits),
            logits: footprint.logits_bytes,
            disk_budget: if limits.allows_disk() { typed_disk.unwrap_or(u64::MAX) } else { 0 },
            disk_rate: ordering_rate(
                machine,
                machine.disk.read_bytes_per_s,
                DefaultRates::ORDINARY.disk_bytes_per_s,
            ),
        }
    }

    /// Whether a layer has routed experts.
    pub fn has_experts(&self) -> bool {
        self.items.iter().any(ModuleBytes::is_experts)
    }

    /// Whether any GPU may hold a module, if it is large enough.
    pub fn may_be_on_a_gpu(&self, index: usize) -> bool {
        (0..self.gpus.len()).any(|gpu| self.may_be_on(index, gpu))
    }

    /// Whether a GPU may hold a module, if it is large enough.
    pub fn may_be_on(&self, index: usize, gpu: usize) -> bool {
        self.gpus[gpu].holds_experts || !self.items[index].is_experts()
    }

    /// Index of the final norm.
    pub fn norm(&self) -> usize {
        self.items.len() - 2
    }

    /// Index of the head.
    pub fn head(&self) -> usize {
        self.items.len() - 1
    }

    /// Whether a module may be streamed from disk in each forward pass. The norm may not, since it
    /// has only a few kilobytes.
    pub fn may_stream(&self, index: usize) -> bool {
        self.disk_budget > 0 && index != self.norm()
    }

    /// Whether a forward pass computes with all weights of the module. Of an untied embedding it
    /// only looks up rows.
    pub fn is_computed(&self, index: usize) -> bool {
        index != 0 || self.tied
    }
}

fn ninety_percent(bytes: u64) -> u64 {
    bytes / 10 * 9
}

fn gpu(index: usize, machine: &Machine, footprint: &Footprint, limits: &Limits) -> GpuBudget {
    let gpu = &machine.gpus[index];
    let rate = machine.rate(Tier::Gpu(index)).map(|rate| rate.bytes_per_s);
    let real = |bytes| if gpu.is_virtual { 0 } else { bytes };
    let fixed = FixedBytes {
        activations: footprint.activations_bytes + real(footprint.gpu_pass_bytes),
        staging: real(GPU_STAGING_BYTES),
        reserve: real(DRIVER_BYTES),
    };
    let ordinary = if gpu.is_virtual {
        DefaultRates::ORDINARY.host_bytes_per_s
    } else {
        DefaultRates::ORDINARY.gpu_bytes_per_s
    };
    let (budget, budget_name) = match limits.max_memory.get(Tier::Gpu(index)) {
        Some(typed) => (typed, format!("max_memory of {index}")),
        None => (ninety_percent(gpu.total_bytes), format!("90% of {index} ({})", gpu.name)),
    };
    GpuBudget {
        name: gpu.name.clone(),
        budget: budget.min(gpu.free().saturating_sub(fixed.total())),
        budget_name: if budget > gpu.free().saturating_sub(fixed.total()) {
            free_name(index, gpu)
        } else {
            budget_name
        },
        free: gpu.free(),
        fixed,
        rate: rate.unwrap_or(ordinary).max(1),
        is_virtual: gpu.is_virtual,
        // No GPU kernel computes routed experts; the CPU computes what is on a virtual GPU.
        holds_experts: gpu.is_virtual,
    }
}

fn free_name(index: usize, gpu: &GpuSpec) -> String {
    format!("free memory of {index} ({}) beside activations, staging and driver", gpu.name)
}

fn host(machine: &Machine, footprint: &Footprint, limits: &Limits) -> HostBudget {
    let (available, limit) = machine.host.really_available();
    let usable = ninety_percent(available);
    let (budget, budget_name) = match limits.max_memory.get(Tier::Cpu) {
        Some(typed) if typed < usable => (typed, "max_memory of cpu".to_owned()),
        _ => (usable, format!("90% of {limit}")),
    };
    let readers = machine.host.cores.clamp(2, READERS_MAX) as u64;
    let gpus = machine.gpus.iter().filter(|gpu| !gpu.is_virtual).count() as u64;
    let pinned = if gpus > 0 { PINNED_RING_BYTES + gpus * GPU_PINNED_BYTES } else { 0 };
    HostBudget {
        limit,
        available,
        usable,
        budget,
        budget_name,
        fixed: FixedBytes {
            activations: footprint.activations_bytes,
            staging: readers * STAGING_PER_READER_BYTES + pinned,
            reserve: PROGRAM_BYTES,
        },
        crossing: footprint.crossing_bytes,
        rate: ordering_rate(
            machine,
            machine.host.read_bytes_per_s,
            DefaultRates::ORDINARY.host_bytes_per_s,
        ),
    }
}

/// The bandwidth for comparing placements: from a machine file, otherwise that of an ordinary node.
/// Measurements are not used, since a busy neighbor on the node must not change the placement.
fn ordering_rate(machine: &Machine, rate: Option<u64>, ordinary: u64) -> u64 {
    rate.filter(|_| machine.described).unwrap_or(ordinary).max(1)
}
