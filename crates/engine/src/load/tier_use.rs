//! Bytes of each tier, planned and used.

use std::collections::BTreeMap;

use device::cuda::GpuArena;
use device::memory::Arena;
use placement::{Plan, Tier};

use super::mmap::MappedShards;
use super::plan::LoadPlan;
use super::report::{GpuUse, TierUse};
use crate::devices::{DeviceId, GpuSlot};
use crate::kv::KvPool;
use crate::models::{ForwardScratch, Model};

/// The parts of a finished load whose bytes are counted.
pub(crate) struct LoadedParts<'a> {
    pub mapped: &'a MappedShards,
    pub host: &'a BTreeMap<Tier, Arena>,
    pub gpus: &'a [GpuArena],
    pub model: &'a Model,
    pub kv: &'a KvPool,
    pub scratch: &'a ForwardScratch,
}

/// The planned and used bytes of every tier of `plan`.
pub(crate) fn tier_use(plan: &Plan, load_plan: &LoadPlan, parts: &LoadedParts) -> Vec<TierUse> {
    let mut tiers: Vec<TierUse> = plan.tiers.iter().map(TierUse::planned).collect();
    for tier in &mut tiers {
        let device = load_plan.device(tier.tier);
        if let DeviceId::Gpu(gpu) = device {
            let slot = &parts.model.devices().gpus[gpu];
            tier.weights_bytes = parts.gpus[gpu].used_bytes() as u64;
            tier.activations_bytes = parts.scratch.gpu_bytes(gpu) + slot.rope.bytes() as u64;
            tier.gpu = gpu_use(slot, tier);
        } else {
            let mapped_bytes: u64 = load_plan
                .resident
                .iter()
                .filter(|tensor| tensor.tier == tier.tier && parts.mapped.contains(tensor))
                .map(|tensor| tensor.entry.bytes)
                .sum();
            let arena = parts.host.get(&tier.tier);
            let copied_bytes = arena.map_or(0, |arena| arena.used_bytes() as u64);
            let disk_bytes = if tier.tier == Tier::Disk { load_plan.bytes_on_disk() } else { 0 };
            tier.weights_bytes = mapped_bytes + copied_bytes + disk_bytes;
        }
        if tier.tier == Tier::Cpu {
            tier.activations_bytes = parts.scratch.bytes() + parts.model.tables_bytes();
        }
        if tier.tier == Tier::Cpu || device != DeviceId::Cpu {
            tier.kv_bytes = parts.kv.bytes_on(device);
        }
    }
    tiers
}

/// `None` if the driver does not answer: a missing figure does not make the load fail.
fn gpu_use(slot: &GpuSlot, tier: &TierUse) -> Option<GpuUse> {
    let memory = slot.gpu.memory().ok()?;
    Some(GpuUse {
        name: slot.gpu.info().name.clone(),
        uuid: slot.gpu.info().uuid.clone(),
        total_bytes: memory.total_bytes,
        free_bytes: memory.free_bytes,
        planned_bytes: tier.weights_planned_bytes
            + tier.kv_planned_bytes
            + tier.activations_planned_bytes,
        reserved_bytes: memory.reserved_bytes,
        peak_reserved_bytes: memory.peak_reserved_bytes,
        allocated_bytes: memory.allocated_bytes,
        quota_bytes: memory.quota_bytes,
    })
}
