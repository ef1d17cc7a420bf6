//! Memory-mapped weights, read directly from the page cache. For local files that fit into memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use base::on_threads;
use checkpoint::Inventory;
use device::cpu::Cpu;
use device::memory::{AccessPattern, FileMap};
use placement::Tier;
use watch::{Stage, Watch};

use super::plan::{LoadPlan, TensorPlan};
use super::{LoadError, LoadRequest};
use crate::weights::{Tensor, Tensors, check_identity, file_name};

/// Bytes that are touched between two reports of progress.
const TOUCH_BYTES: usize = 16 << 20;

/// One flag for each shard: whether it is memory-mapped. A shard is mapped if all its tensors stay
/// in host memory in their stored dtype; all other shards are read.
pub(crate) struct MappedShards(Vec<bool>);

impl MappedShards {
    pub fn of(request: &LoadRequest, plan: &LoadPlan) -> Self {
        let mut mapped = vec![request.file_maps; request.checkpoint.inventory.shards.len()];
        for tensor in &plan.resident {
            if tensor.tier != Tier::Cpu || tensor.entry.dtype != tensor.dtype {
                mapped[tensor.entry.shard] = false;
            }
        }
        for shard in plan.shards_on_disk() {
            mapped[shard] = false;
        }
        MappedShards(mapped)
    }

    pub fn contains(&self, tensor: &TensorPlan) -> bool {
        self.0[tensor.entry.shard]
    }
}

/// Maps the shards of the tensors `mapped` and returns these tensors. Touches every page once, in
/// `threads` watched threads, so that no forward pass waits for the disk.
pub(crate) fn map_tensors(
    inventory: &Inventory,
    mapped: &[&TensorPlan],
    threads: usize,
    watch: &Watch,
) -> Result<Tensors<Cpu>, LoadError> {
    let mut maps: Vec<Option<FileMap>> = inventory.shards.iter().map(|_| None).collect();
    let mut tensors = Tensors::default();
    for TensorPlan { entry, dtype, .. } in mapped {
        let shard = &inventory.shards[entry.shard];
        let failed = |cause| {
            LoadError::device(format!("mapping {} for {}", shard.path.display(), entry.name), cause)
        };
        let map = match &mut maps[entry.shard] {
            Some(map) => map,
            unmapped => {
                check_identity(shard, &entry.name, entry.offset)?;
                watch.mapped(&shard.path.display().to_string(), shard.bytes);
                unmapped.insert(FileMap::open(&shard.path).map_err(failed)?)
            }
        };
        let data = map.bytes(entry.offset, entry.bytes).map_err(failed)?;
        let tensor = Tensor { dtype: *dtype, shape: entry.shape.clone(), data };
        tensors.insert(entry.name.clone(), tensor);
    }
    let progress = watch.thread("maps");
    for (map, shard) in maps.iter().zip(&inventory.shards) {
        if let Some(map) = map {
            touch(map, &file_name(&shard.path), threads, watch)?;
            // Detects a file that was truncated or replaced before all its pages were touched.
            check_identity(shard, "all tensors", 0)?;
            progress.at(Stage::Read, &file_name(&shard.path), shard.bytes);
            progress.item_done();
        }
    }
    Ok(tensors)
}

fn touch(map: &FileMap, name: &str, threads: usize, watch: &Watch) -> Result<(), LoadError> {
    map.advise(0, map.len(), AccessPattern::WillNeed);
    let next = AtomicUsize::new(0);
    let touch_chunks = |thread: usize| {
        let progress = watch.thread(&format!("map reader {thread}"));
        loop {
            let first = next.fetch_add(TOUCH_BYTES, Ordering::Relaxed);
            if first >= map.len() || watch.canceled() {
                break;
            }
            let bytes = TOUCH_BYTES.min(map.len() - first);
            progress.at(Stage::Read, name, first as u64);
            map.touch(first, bytes);
            progress.advance(bytes as u64);
        }
    };
    on_threads(threads, touch_chunks);
    if watch.canceled() { Err(LoadError::Canceled) } else { Ok(()) }
}
