//! [`LoadMemory`]: all memory of a load, allocated before any weight is read, so that the load of a
//! model that does not fit fails at once.

use std::collections::BTreeMap;

use device::cuda::GpuArena;
use device::memory::Arena;
use placement::Tier;
use watch::{Stage, ThreadProgress};

use super::chunks::{gpu_capacity, host_capacity};
use super::mmap::MappedShards;
use super::plan::{LoadPlan, TensorPlan};
use super::upload::GpuUploader;
use super::{LoadError, LoadRequest};
use crate::devices::{DeviceId, DeviceSet, OnDevice};
use crate::kv::{KvLayout, KvPool};
use crate::models::{ForwardScratch, ModelCapacity};

/// Memory on all devices.
pub(crate) struct LoadMemory {
    /// One arena for each tier of host memory, sized for the tensors that are copied into it.
    pub host: BTreeMap<Tier, Arena>,
    /// Indexed as [`DeviceSet::gpus`].
    pub gpus: Vec<GpuArena>,
    pub kv: KvPool,
    pub scratch: ForwardScratch,
    /// `None` without GPUs.
    pub uploader: Option<GpuUploader>,
}

impl LoadMemory {
    /// Allocates everything; GPU memory first, since it is the scarcest.
    pub fn allocate(
        request: &LoadRequest,
        plan: &LoadPlan,
        mapped: &MappedShards,
        devices: &DeviceSet,
    ) -> Result<Self, LoadError> {
        let config = &request.checkpoint.config;
        let progress = request.watch.thread("memory");
        let gpus = gpu_arenas(plan, devices, &progress)?;
        let host = host_arenas(plan, mapped)?;
        progress.at(Stage::Allocate, "memory for keys and values", 0);
        let kv_layout = KvLayout::new(config, plan.dtypes.kv_dtype);
        let kv_blocks = request.plan.kv_blocks;
        let kv = KvPool::on_devices(kv_layout, kv_blocks, &plan.placement.layers, &devices.gpus)?;
        progress.item_done();
        progress.at(Stage::Allocate, "the buffers of a pass", 0);
        let capacity = ModelCapacity {
            positions: request.plan.context,
            kv_blocks,
            precision: plan.dtypes.precision,
        };
        let scratch = ForwardScratch::new(devices, &plan.placement, config, capacity)
            .map_err(|cause| LoadError::device("the buffers of a pass", cause))?;
        progress.item_done();
        progress.at(Stage::Allocate, "pinned memory", 0);
        let uploader = GpuUploader::new(&devices.gpus)?;
        progress.item_done();
        Ok(LoadMemory { host, gpus, kv, scratch, uploader })
    }

    /// The arena for the weights of a tier.
    pub fn arena(&self, tier: Tier, plan: &LoadPlan) -> Option<OnDevice<&Arena, &GpuArena>> {
        match plan.device(tier) {
            DeviceId::Cpu => self.host.get(&tier).map(OnDevice::Cpu),
            DeviceId::Gpu(gpu) => self.gpus.get(gpu).map(|arena| OnDevice::Gpu(gpu, arena)),
        }
    }
}

fn gpu_arenas(
    plan: &LoadPlan,
    devices: &DeviceSet,
    progress: &ThreadProgress,
) -> Result<Vec<GpuArena>, LoadError> {
    let mut sizes = vec![0; plan.gpus.len()];
    for tensor in &plan.resident {
        if let DeviceId::Gpu(gpu) = plan.device(tensor.tier) {
            sizes[gpu] += gpu_capacity(tensor.entry, tensor.dtype);
        }
    }
    let arena = |(slot, bytes): (&crate::devices::GpuSlot, usize)| {
        let what = format!("memory for weights on GPU {}", slot.gpu_index);
        progress.at(Stage::Allocate, &what, 0);
        let arena = GpuArena::new(&slot.gpu, bytes)
            .map_err(|cause| LoadError::device(what, cause.into()))?;
        progress.item_done();
        Ok(arena)
    };
    devices.gpus.iter().zip(sizes).map(arena).collect()
}

fn host_arenas(plan: &LoadPlan, mapped: &MappedShards) -> Result<BTreeMap<Tier, Arena>, LoadError> {
    let mut sizes: BTreeMap<Tier, usize> = BTreeMap::new();
    let copied_to_host = |tensor: &&TensorPlan| {
        plan.device(tensor.tier) == DeviceId::Cpu && !mapped.contains(tensor)
    };
    for tensor in plan.resident.iter().filter(copied_to_host) {
        *sizes.entry(tensor.tier).or_default() += host_capacity(tensor.entry, tensor.dtype);
    }
    let arena = |(tier, bytes)| match Arena::new(bytes) {
        Ok(arena) => Ok((tier, arena)),
        Err(cause) => Err(LoadError::device(format!("memory for weights on {tier}"), cause)),
    };
    sizes.into_iter().map(arena).collect()
}
