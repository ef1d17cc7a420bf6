//! File maps: weights used straight from the page cache. Only for local files that fit into memory
//! with ease.

use checkpoint::Inventory;
use device::cpu::Cpu;
use device::memory::{AccessPattern, FileMap};
use watch::{Stage, Watch};

use super::LoadError;
use super::layout::Resident;
use super::source::{check_identity, file_name};
use super::tensors::{Stored, Tensors};

/// Bytes that are touched between two words of progress.
const STEP_BYTES: usize = 16 << 20;

/// Maps the shards of `mapped` and gives its tensors. Every page is touched once, in parallel and
/// watched, so that no pass waits for the disk later.
pub(crate) fn map(
    inventory: &Inventory,
    mapped: &[&Resident],
    threads: usize,
    watch: &Watch,
) -> Result<Tensors<Cpu>, LoadError> {
    let mut maps: Vec<Option<FileMap>> = inventory.shards.iter().map(|_| None).collect();
    let mut tensors = Tensors::default();
    for resident in mapped {
        let entry = resident.entry;
        let shard = &inventory.shards[entry.shard];
        let failed = |cause| LoadError::Device {
            what: format!("mapping {} for {}", shard.path.display(), entry.name),
            cause,
        };
        let map = match &mut maps[entry.shard] {
            Some(map) => map,
            empty => {
                check_identity(shard, &entry.name, entry.offset)?;
                watch.mapped(&shard.path.display().to_string(), shard.bytes);
                empty.insert(FileMap::open(&shard.path).map_err(failed)?)
            }
        };
        let data = map.bytes(entry.offset, entry.bytes).map_err(failed)?;
        tensors.insert(
            entry.name.clone(),
            Stored { dtype: resident.dtype, shape: entry.shape.clone(), data },
        );
    }
    for (map, shard) in maps.iter().zip(&inventory.shards) {
        if let Some(map) = map {
            touch(map, &file_name(&shard.path), threads, watch)?;
            // A file that was cut or replaced before this point is not what the headers said.
            check_identity(shard, "all tensors", 0)?;
        }
    }
    Ok(tensors)
}

fn touch(map: &FileMap, name: &str, threads: usize, watch: &Watch) -> Result<(), LoadError> {
    map.advise(0, map.len(), AccessPattern::WillNeed);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = |thread: usize| {
        let progress = watch.thread(&format!("map reader {thread}"));
        loop {
            let first = next.fetch_add(STEP_BYTES, std::sync::atomic::Ordering::Relaxed);
            if first >= map.len() || watch.canceled() {
                break;
            }
            let bytes = STEP_BYTES.min(map.len() - first);
            progress.at(Stage::Read, name, first as u64);
            map.touch(first, bytes);
            progress.advance(bytes as u64);
        }
        if thread == 0 {
            progress.item_done();
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for thread in 1..threads {
            scope.spawn(move || work(thread));
        }
        work(0);
    });
    if watch.canceled() { Err(LoadError::Canceled) } else { Ok(()) }
}
