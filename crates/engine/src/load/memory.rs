//! Everything that a load takes of the devices' memory, before a byte is read.

use std::collections::BTreeMap;

use device::cuda::GpuArena;
use device::memory::Arena;
use placement::Tier;
use watch::Stage;

use super::feed::Feed;
use super::layout::{Layout, Resident};
use super::pieces::{gpu_room, room};
use super::{LoadError, LoadRequest, Maps};
use crate::compute::{Placed, Site, Sites};
use crate::kv::{KvLayout, KvPool};
use crate::models::{Capacity, Scratch};

/// What was taken.
pub(crate) struct Memory {
    /// One arena for each tier of host memory, exactly as large as what goes there.
    pub host: BTreeMap<Tier, Arena>,
    /// One a GPU.
    pub gpus: Vec<GpuArena>,
    pub kv: KvPool,
    pub scratch: Scratch,
    /// The way to the GPUs, if there are any.
    pub feed: Option<Feed>,
}

impl Memory {
    /// Takes all of it; GPUs first, which are what is short.
    pub fn take(
        request: &LoadRequest,
        layout: &Layout,
        maps: &Maps,
        sites: &Sites,
    ) -> Result<Self, LoadError> {
        let (config, plan) = (&request.checkpoint.config, request.plan);
        let progress = request.watch.thread("memory");
        let mut gpus = Vec::new();
        for (site, bytes) in sites.gpus.iter().zip(gpu_bytes(layout)) {
            let what = format!("memory for weights on GPU {}", site.gpu_index);
            progress.at(Stage::Allocate, &what, 0);
            let arena = GpuArena::new(&site.gpu, bytes);
            gpus.push(arena.map_err(|cause| LoadError::Device { what, cause: cause.into() })?);
            progress.item_done();
        }
        let host =
            host_bytes(layout, maps).into_iter().map(|(tier, bytes)| match Arena::new(bytes) {
                Ok(arena) => Ok((tier, arena)),
                Err(cause) => {
                    Err(LoadError::Device { what: format!("memory for weights on {tier}"), cause })
                }
            });
        let host = host.collect::<Result<_, _>>()?;
        progress.at(Stage::Allocate, "memory for keys and values", 0);
        let kv_layout = KvLayout::new(config, layout.numbers.kv_dtype);
        let kv = KvPool::placed(kv_layout, plan.kv_blocks, &layout.route.blocks, &sites.gpus)?;
        progress.item_done();
        progress.at(Stage::Allocate, "the buffers of a pass", 0);
        let buffers = |cause| LoadError::Device { what: "the buffers of a pass".to_owned(), cause };
        let (positions, kv_blocks, precision) =
            (plan.context, plan.kv_blocks, layout.numbers.precision);
        let capacity = Capacity { positions, kv_blocks, precision };
        let scratch = Scratch::new(sites, &layout.route, config, capacity).map_err(buffers)?;
        progress.item_done();
        progress.at(Stage::Allocate, "pinned memory", 0);
        let feed = Feed::new(&sites.gpus)?;
        progress.item_done();
        Ok(Memory { host, gpus, kv, scratch, feed })
    }

    /// Where weights of a tier go.
    pub fn arena(&self, tier: Tier, layout: &Layout) -> Option<Placed<&Arena, &GpuArena>> {
        match layout.site(tier) {
            Site::Host => self.host.get(&tier).map(Placed::Host),
            Site::Gpu(gpu) => self.gpus.get(gpu).map(|arena| Placed::Gpu(gpu, arena)),
        }
    }
}

fn host_bytes(layout: &Layout, maps: &Maps) -> BTreeMap<Tier, usize> {
    let mut sizes: BTreeMap<Tier, usize> = BTreeMap::new();
    let on_host =
        |resident: &&Resident| layout.site(resident.tier) == Site::Host && !maps.has(resident);
    for resident in layout.resident.iter().filter(on_host) {
        *sizes.entry(resident.tier).or_default() += room(resident.entry, resident.dtype);
    }
    sizes
}

/// One sum a GPU.
fn gpu_bytes(layout: &Layout) -> Vec<usize> {
    let mut sizes = vec![0; layout.gpus.len()];
    for resident in &layout.resident {
        if let Site::Gpu(gpu) = layout.site(resident.tier) {
            sizes[gpu] += gpu_room(resident.entry, resident.dtype);
        }
    }
    sizes
}
