//! A checkpoint and a plan become a model, or an error that names file, tensor, device and remedy.
//!
//! The way of a load: decide what goes where (`layout`), take memory, read in parallel (`read`) or
//! map (`map`), convert on the way (`convert`), compose the blocks, take the KV pool, compute a few
//! tokens (`smoke`). Every stage is entered and left on the [`Watch`], and every thread that can be
//! stuck reports its progress there. There is no half-loaded state: weights are made of
//! [`device::memory::Bytes`], which exist only once they were filled.

pub(crate) mod convert;
mod count;
mod error;
mod feed;
mod gpus;
mod layout;
mod map;
mod memory;
mod pieces;
mod place;
pub(crate) mod read;
mod report;
mod smoke;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod tensors;

use std::collections::BTreeSet;
use std::sync::Arc;

use checkpoint::Checkpoint;
use device::cpu::{Cpu, KernelSet};
use device::memory::ReadMode;
use device::pool::{Pool, PoolOptions, usable_cores};
use placement::{Plan, READERS_MAX, Tier};
use watch::{Stage, StageGuard, Watch};

use crate::kv::KvPool;
use crate::models::{Model, Scratch};
use layout::{Layout, Resident};
use memory::Memory;
use pieces::Wanted;
use read::{Filled, Gpus, Readers};
use source::Source;

pub use error::LoadError;
pub use report::{GpuUse, LoadReport, SmokeTest, StageSeconds, TierUse};

/// What to load, and how.
pub struct LoadRequest<'a> {
    /// Opened and checked.
    pub checkpoint: &'a Checkpoint,
    /// Where each byte goes.
    pub plan: &'a Plan,
    /// Who is told.
    pub watch: &'a Watch,
    /// Threads that compute; `None`: the cores that this process may use.
    pub threads: Option<usize>,
    /// Kernels that compute; `None`: the best that this CPU has, or what `VENDOMINI_KERNELS`
    /// names.
    pub kernel_set: Option<KernelSet>,
    /// Whether weights that need no conversion may be used straight from a map of their file. For
    /// local file systems and ample memory only.
    pub file_maps: bool,
    /// Whether reads go past the page cache; `None`: where the checkpoint is larger than half of
    /// the host's memory.
    pub direct: Option<bool>,
    /// Whether GPUs of the plan are virtual devices: host arenas with hard limits.
    pub virtual_devices: bool,
    /// The driver's number of each GPU of the plan; those that are not named have the plan's.
    pub gpu_ordinals: Vec<usize>,
    /// The longest time for the smoke test, in seconds.
    pub smoke_limit_s: f64,
}

impl<'a> LoadRequest<'a> {
    /// A request with everything else as it is by default: copied into memory, all cores, no
    /// virtual devices.
    pub fn new(checkpoint: &'a Checkpoint, plan: &'a Plan, watch: &'a Watch) -> Self {
        LoadRequest {
            checkpoint,
            plan,
            watch,
            threads: None,
            kernel_set: None,
            file_maps: false,
            direct: None,
            virtual_devices: false,
            gpu_ordinals: Vec::new(),
            smoke_limit_s: 120.0,
        }
    }
}

/// A model that computed its first tokens.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Its planned KV cache.
    pub kv: KvPool,
    /// Its planned buffers.
    pub scratch: Scratch,
    /// How it went.
    pub report: LoadReport,
}

/// Loads. Returns a model whose smoke test succeeded, or says what is wrong.
///
/// # Errors
/// See [`LoadError`]; everything taken is given back.
pub fn load(request: LoadRequest) -> Result<Loaded, LoadError> {
    let LoadRequest { checkpoint, plan, watch, .. } = request;
    let mut stages = Stages { watch, done: Vec::new() };
    let layout = Layout::of(checkpoint, plan, request.virtual_devices)?;
    let maps = Maps::of(&request, &layout);
    let cpu = cpu(&request)?;

    // Everything is taken before anything is read: what does not fit is known at once.
    let stage = stages.enter(Stage::Allocate)?;
    let gpus = gpus::open(&request, &layout)?;
    let sites = gpus::join(cpu, gpus, &layout, watch)?;
    let memory = Memory::take(&request, &layout, &maps, &sites)?;
    let source = Arc::new(open_source(&request, &layout, &maps)?);
    stages.leave(Stage::Allocate, stage);

    let stage = stages.enter(Stage::Read)?;
    let bytes_read = layout.resident.iter().map(|r| r.entry.bytes).sum();
    let filled = fill(&request, &sites.cpu, &layout, &maps, &memory, &source)?;
    let read_s = stages.leave(Stage::Read, stage);

    let stage = stages.enter(Stage::Place)?;
    let model = Model::new(place::parts(&request, &layout, &filled, &source, sites)?);
    let Memory { host, gpus, mut kv, mut scratch, feed } = memory;
    // Its buffers are of no more use, on the host and on the GPUs.
    drop((filled, feed));
    stages.leave(Stage::Place, stage);

    let stage = stages.enter(Stage::SmokeTest)?;
    let smoke_test =
        smoke::smoke_test(&model, &mut kv, &mut scratch, watch, request.smoke_limit_s)?;
    source.recheck()?;
    stages.leave(Stage::SmokeTest, stage);

    let report = LoadReport {
        model_class: checkpoint.config.class_name.clone(),
        dtype: plan.dtype.to_owned(),
        precision: model.precision(),
        kernel_set: model.kernel_set().to_owned(),
        threads: model.threads(),
        residency: residency(&layout, &maps),
        shards: checkpoint.inventory.shards.len(),
        bytes_read,
        read_bytes_per_s: bytes_read as f64 / read_s.max(1e-9),
        stages: stages.done,
        tiers: count::tiers(plan, &layout, &maps, (&host, &gpus), (&model, &kv, &scratch)),
        device_map: plan.device_map.clone(),
        smoke_test,
    };
    Ok(Loaded { model, kv, scratch, report })
}

/// Stages that are entered and left, with their seconds.
struct Stages<'a> {
    watch: &'a Watch,
    done: Vec<StageSeconds>,
}

impl Stages<'_> {
    fn enter(&self, stage: Stage) -> Result<StageGuard, LoadError> {
        if self.watch.canceled() { Err(LoadError::Canceled) } else { Ok(self.watch.enter(stage)) }
    }

    fn leave(&mut self, stage: Stage, guard: StageGuard) -> f64 {
        let seconds = guard.seconds();
        self.done.push(StageSeconds { stage, seconds });
        seconds
    }
}

fn cpu(request: &LoadRequest) -> Result<Cpu, LoadError> {
    let failed = |cause| LoadError::Device { what: "the compute threads".to_owned(), cause };
    let options = PoolOptions { threads: request.threads, cores: Vec::new() };
    match request.kernel_set {
        None => Cpu::new(&options).map_err(failed),
        Some(set) => {
            Cpu::with(set, Arc::new(Pool::with(&options).map_err(failed)?)).map_err(failed)
        }
    }
}

/// The shards that are used from a map, one flag each: those all of whose tensors stay on the host
/// as they are stored. A shard that is read anyway is not mapped besides.
struct Maps(Vec<bool>);

impl Maps {
    fn of(request: &LoadRequest, layout: &Layout) -> Self {
        let mut whole = vec![request.file_maps; request.checkpoint.inventory.shards.len()];
        for resident in
            layout.resident.iter().filter(|r| r.tier != Tier::Cpu || r.entry.dtype != r.dtype)
        {
            whole[resident.entry.shard] = false;
        }
        for shard in layout.shards_on_disk() {
            whole[shard] = false;
        }
        Maps(whole)
    }

    fn has(&self, resident: &Resident) -> bool {
        self.0[resident.entry.shard]
    }
}

fn open_source(request: &LoadRequest, layout: &Layout, maps: &Maps) -> Result<Source, LoadError> {
    let inventory = &request.checkpoint.inventory;
    let mut used = vec![false; inventory.shards.len()];
    for resident in layout.resident.iter().filter(|resident| !maps.has(resident)) {
        used[resident.entry.shard] = true;
    }
    for shard in layout.shards_on_disk() {
        used[shard] = true;
    }
    let host = request.plan.tiers.iter().find(|tier| tier.tier == Tier::Cpu);
    let too_large = host.is_some_and(|host| inventory.weights_bytes() > host.available_bytes / 2);
    let mode =
        if request.direct.unwrap_or(too_large) { ReadMode::Direct } else { ReadMode::Buffered };
    Source::open(inventory, &used, mode)
}

/// Brings all resident tensors in.
fn fill(
    request: &LoadRequest,
    cpu: &Cpu,
    layout: &Layout,
    maps: &Maps,
    memory: &Memory,
    source: &Source,
) -> Result<Filled, LoadError> {
    let (mapped, copied): (Vec<&Resident>, Vec<&Resident>) =
        layout.resident.iter().partition(|resident| maps.has(resident));
    let threads = readers(request);
    announce(request, layout, &mapped, &copied);
    let wanted: Vec<Wanted> = copied
        .iter()
        .filter_map(|resident| {
            let arena = memory.arena(resident.tier, layout)?;
            Some(Wanted { entry: resident.entry, dtype: resident.dtype, arena })
        })
        .collect();
    let gpus = memory.feed.as_ref().map(|feed| Gpus { feed, gpu_indices: &layout.gpus });
    let readers = Readers { cpu, source, watch: request.watch, threads, name: "reader", gpus };
    let mut filled = read::read(&readers, &wanted)?;
    filled.host.extend(map::map(&request.checkpoint.inventory, &mapped, threads, request.watch)?);
    Ok(filled)
}

fn readers(request: &LoadRequest) -> usize {
    request.threads.unwrap_or_else(usable_cores).clamp(2, READERS_MAX)
}

/// Tells the watch how much there is to read. Shards all of whose tensors stay on disk are open and
/// checked by now: they are done.
fn announce(request: &LoadRequest, layout: &Layout, mapped: &[&Resident], copied: &[&Resident]) {
    let shards = &request.checkpoint.inventory.shards;
    let distinct = |list: &[&Resident]| -> BTreeSet<usize> {
        list.iter().map(|resident| resident.entry.shard).collect()
    };
    let (of_maps, of_reads) = (distinct(mapped), distinct(copied));
    // A map is touched as a whole; of a file that is read, only the tensors count.
    let mapped_bytes: u64 = of_maps.iter().map(|&shard| shards[shard].bytes).sum();
    let copied_bytes: u64 = copied.iter().map(|resident| resident.entry.bytes).sum();
    let left: Vec<usize> = layout
        .shards_on_disk()
        .into_iter()
        .filter(|shard| !of_maps.contains(shard) && !of_reads.contains(shard))
        .collect();
    let items = of_maps.len() + of_reads.len() + left.len();
    request.watch.total(Stage::Read, mapped_bytes + copied_bytes, items as u64);
    if left.is_empty() {
        return;
    }
    request.watch.note(format!(
        "{} of {items} shards stay on disk as a whole and are read when they are used",
        left.len()
    ));
    let progress = request.watch.thread("disk tier");
    for shard in left {
        progress.at(Stage::Read, &source::file_name(&shards[shard].path), 0);
        progress.item_done();
    }
}

fn residency(layout: &Layout, maps: &Maps) -> &'static str {
    let mapped = layout.resident.iter().filter(|resident| maps.has(resident)).count();
    match mapped {
        0 => "copied",
        all if all == layout.resident.len() => "mapped",
        _ => "mixed",
    }
}
