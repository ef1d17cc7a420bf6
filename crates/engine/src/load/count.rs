//! What was used of each tier, beside what was planned.

use std::collections::BTreeMap;

use device::cuda::GpuArena;
use device::memory::Arena;
use placement::{Plan, Tier};

use super::Maps;
use super::layout::{Layout, Resident};
use super::report::{self, GpuUse, TierUse};
use crate::compute::{GpuSlot, Site};
use crate::kv::KvPool;
use crate::models::{Model, Scratch};

/// Each tier of a plan with its bytes.
pub(crate) fn tiers(
    plan: &Plan,
    layout: &Layout,
    maps: &Maps,
    (host, gpus): (&BTreeMap<Tier, Arena>, &[GpuArena]),
    (model, kv, scratch): (&Model, &KvPool, &Scratch),
) -> Vec<TierUse> {
    let mut tiers = report::planned(plan);
    for tier in &mut tiers {
        let site = layout.site(tier.tier);
        if let Site::Gpu(gpu) = site {
            let of = &model.sites().gpus[gpu];
            tier.weights_bytes = gpus[gpu].used_bytes() as u64;
            tier.activations_bytes = scratch.gpu_bytes(gpu) + of.rope.bytes() as u64;
            tier.gpu = memory(of, tier);
        } else {
            let mapped = |resident: &&Resident| resident.tier == tier.tier && maps.has(resident);
            let mapped_bytes: u64 =
                layout.resident.iter().filter(mapped).map(|resident| resident.entry.bytes).sum();
            let arena_bytes = host.get(&tier.tier).map_or(0, |arena| arena.used_bytes() as u64);
            let left_bytes = if tier.tier == Tier::Disk { layout.bytes_on_disk() } else { 0 };
            tier.weights_bytes = mapped_bytes + arena_bytes + left_bytes;
        }
        if tier.tier == Tier::Cpu {
            tier.activations_bytes = scratch.bytes() + model.tables_bytes();
        }
        if tier.tier == Tier::Cpu || site != Site::Host {
            tier.kv_bytes = kv.bytes_on(site);
        }
    }
    tiers
}

/// A report without these figures is no reason to give up a model that computed its first tokens.
fn memory(of: &GpuSlot, tier: &TierUse) -> Option<GpuUse> {
    let memory = of.gpu.memory().ok()?;
    Some(GpuUse {
        name: of.gpu.info().name.clone(),
        uuid: of.gpu.info().uuid.clone(),
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
