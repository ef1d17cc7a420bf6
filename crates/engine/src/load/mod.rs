//! Loads a model: a checkpoint and a placement plan become a [`Model`], or an error that names
//! file, tensor, device and remedy.
//!
//! [`load()`] lists the stages in their order. The [`Watch`] receives the start and end of every
//! stage and the progress of every thread that can hang. A model is never partly loaded: weights
//! consist of [`device::memory::Bytes`], which are created only from completely filled memory.

mod allocate;
mod assemble;
mod chunks;
mod disk_stream;
mod error;
mod expert_cache;
mod finite;
mod gpus;
mod mmap;
mod plan;
mod read;
mod report;
mod request;
mod smoke_test;
mod tier_use;
mod upload;

use std::collections::BTreeSet;
use std::sync::Arc;

use device::cpu::Cpu;
use device::memory::ReadMode;
use device::pool::{Pool, PoolOptions};
use placement::Tier;
use watch::{Stage, StageGuard, Watch};

use crate::kv::KvPool;
use crate::models::{ForwardScratch, Model};
use crate::weights::{OpenShards, file_name};
use allocate::LoadMemory;
use chunks::TensorRequest;
use mmap::MappedShards;
use plan::{LoadPlan, TensorPlan};
use read::{GpuTargets, LoadedTensors, Readers};
use tier_use::LoadedParts;

pub use error::LoadError;
pub use finite::BadWeight;
pub use report::{GpuUse, LoadReport, SmokeTest, StageSeconds, TierUse};
pub use request::LoadRequest;

/// A model that passed its smoke test.
#[derive(Debug)]
pub struct Loaded {
    pub model: Model,
    /// The model's KV cache, of the planned size.
    pub kv: KvPool,
    /// The buffers of forward passes, of the planned size.
    pub scratch: ForwardScratch,
    pub report: LoadReport,
}

/// Loads a model and runs its smoke test.
///
/// # Errors
/// See [`LoadError`]; on an error all memory is freed.
pub fn load(request: LoadRequest) -> Result<Loaded, LoadError> {
    let LoadRequest { checkpoint, plan, watch, .. } = request;
    let mut stages = StageLog { watch, done: Vec::new() };
    let load_plan = LoadPlan::new(checkpoint, plan, request.virtual_devices)?;
    let mapped = MappedShards::of(&request, &load_plan);
    let cpu = open_cpu(&request)?;

    let stage = stages.enter(Stage::Allocate)?;
    finite::check_routers(&checkpoint.config, &checkpoint.inventory, watch)?;
    let gpus = gpus::open_gpus(&request, &load_plan)?;
    let devices = gpus::join_devices(cpu, gpus, &load_plan, watch)?;
    let memory = LoadMemory::allocate(&request, &load_plan, &mapped, &devices)?;
    let shards = Arc::new(open_shards(&request, &load_plan, &mapped)?);
    stages.leave(Stage::Allocate, stage);

    let stage = stages.enter(Stage::Read)?;
    let mut tensors = read_tensors(&request, &devices.cpu, &load_plan, &mapped, &memory, &shards)?;
    let read_s = stages.leave(Stage::Read, stage);

    let stage = stages.enter(Stage::Place)?;
    let parts = assemble::assemble(&request, &load_plan, &mut tensors, &shards, devices)?;
    let model = Model::new(parts);
    let LoadMemory { host, gpus, mut kv, mut scratch, uploader } = memory;
    // Frees the staging buffers on the host and on the GPUs.
    drop((tensors, uploader));
    stages.leave(Stage::Place, stage);

    let stage = stages.enter(Stage::SmokeTest)?;
    let limit_s = request.smoke_limit_s;
    let smoke_test = smoke_test::smoke_test(&model, &mut kv, &mut scratch, watch, limit_s)
        .map_err(|error| with_bad_weight(error, &request))?;
    shards.recheck()?;
    stages.leave(Stage::SmokeTest, stage);

    let bytes_read = load_plan.resident.iter().map(|tensor| tensor.entry.bytes).sum();
    let parts = LoadedParts {
        mapped: &mapped,
        host: &host,
        gpus: &gpus,
        model: &model,
        kv: &kv,
        scratch: &scratch,
    };
    let report = LoadReport {
        model_class: checkpoint.config.class_name.clone(),
        dtype: plan.dtype.to_owned(),
        precision: model.precision(),
        kernel_set: model.kernel_set().to_owned(),
        threads: model.threads(),
        residency: report::residency(&load_plan, &mapped),
        shards: checkpoint.inventory.shards.len(),
        bytes_read,
        read_bytes_per_s: bytes_read as f64 / read_s.max(1e-9),
        stages: stages.done,
        tiers: tier_use::tier_use(plan, &load_plan, &parts),
        device_map: plan.device_map.clone(),
        smoke_test,
        expert_cache: model.expert_cache().and_then(|cache| cache.report()),
    };
    Ok(Loaded { model, kv, scratch, report })
}

/// Adds to [`LoadError::NotFinite`] the weight that causes it, if the search finds one.
fn with_bad_weight(error: LoadError, request: &LoadRequest) -> LoadError {
    let LoadError::NotFinite { position, found, .. } = error else { return error };
    let inventory = &request.checkpoint.inventory;
    let tensors = inventory.tensors.iter();
    match finite::first_bad_weight(inventory, tensors, Stage::SmokeTest, request.watch) {
        Ok(weight) => LoadError::NotFinite { position, found, weight },
        // A file that can no longer be read, or an interruption.
        Err(error) => error,
    }
}

/// Enters and leaves stages, and records their durations.
struct StageLog<'a> {
    watch: &'a Watch,
    done: Vec<StageSeconds>,
}

impl StageLog<'_> {
    fn enter(&self, stage: Stage) -> Result<StageGuard, LoadError> {
        if self.watch.canceled() { Err(LoadError::Canceled) } else { Ok(self.watch.enter(stage)) }
    }

    fn leave(&mut self, stage: Stage, guard: StageGuard) -> f64 {
        let seconds = guard.seconds();
        self.done.push(StageSeconds { stage, seconds });
        seconds
    }
}

fn open_cpu(request: &LoadRequest) -> Result<Cpu, LoadError> {
    let options = PoolOptions { threads: request.threads };
    let cpu = match request.kernel_set {
        None => Cpu::new(&options),
        Some(set) => Pool::with(&options).and_then(|pool| Cpu::with(set, Arc::new(pool))),
    };
    cpu.map_err(|cause| LoadError::device("the compute threads", cause))
}

fn open_shards(
    request: &LoadRequest,
    plan: &LoadPlan,
    mapped: &MappedShards,
) -> Result<OpenShards, LoadError> {
    let inventory = &request.checkpoint.inventory;
    let mut used = vec![false; inventory.shards.len()];
    for tensor in plan.resident.iter().filter(|tensor| !mapped.contains(tensor)) {
        used[tensor.entry.shard] = true;
    }
    for shard in plan.shards_on_disk() {
        used[shard] = true;
    }
    let host = request.plan.tiers.iter().find(|tier| tier.tier == Tier::Cpu);
    let too_large = host.is_some_and(|host| inventory.weights_bytes() > host.available_bytes / 2);
    let mode =
        if request.direct.unwrap_or(too_large) { ReadMode::Direct } else { ReadMode::Buffered };
    Ok(OpenShards::open(inventory, &used, mode)?)
}

/// Reads or maps all resident tensors.
fn read_tensors(
    request: &LoadRequest,
    cpu: &Cpu,
    plan: &LoadPlan,
    mapped: &MappedShards,
    memory: &LoadMemory,
    shards: &OpenShards,
) -> Result<LoadedTensors, LoadError> {
    let (mapped, copied): (Vec<&TensorPlan>, Vec<&TensorPlan>) =
        plan.resident.iter().partition(|tensor| mapped.contains(tensor));
    let threads = request.reader_threads();
    announce_totals(request, plan, &mapped, &copied);
    let requests: Vec<TensorRequest> = copied
        .iter()
        .filter_map(|tensor| {
            let arena = memory.arena(tensor.tier, plan)?;
            Some(TensorRequest { entry: tensor.entry, dtype: tensor.dtype, arena })
        })
        .collect();
    let gpus =
        memory.uploader.as_ref().map(|uploader| GpuTargets { uploader, gpu_indices: &plan.gpus });
    let readers = Readers { cpu, shards, watch: request.watch, threads, name: "reader", gpus };
    let mut tensors = read::read(&readers, &requests)?;
    let inventory = &request.checkpoint.inventory;
    tensors.host.extend(mmap::map_tensors(inventory, &mapped, threads, request.watch)?);
    Ok(tensors)
}

/// Reports the totals of the read stage to the watch. Shards whose tensors are all on the disk tier
/// are open and checked by now, so they count as done.
fn announce_totals(
    request: &LoadRequest,
    plan: &LoadPlan,
    mapped: &[&TensorPlan],
    copied: &[&TensorPlan],
) {
    let shards = &request.checkpoint.inventory.shards;
    let distinct = |tensors: &[&TensorPlan]| -> BTreeSet<usize> {
        tensors.iter().map(|tensor| tensor.entry.shard).collect()
    };
    let (mapped_shards, read_shards) = (distinct(mapped), distinct(copied));
    // A mapped file counts with all its bytes, since it is touched as a whole; a file that is read
    // counts with the bytes of its tensors.
    let mapped_bytes: u64 = mapped_shards.iter().map(|&shard| shards[shard].bytes).sum();
    let copied_bytes: u64 = copied.iter().map(|tensor| tensor.entry.bytes).sum();
    let on_disk: Vec<usize> = plan
        .shards_on_disk()
        .into_iter()
        .filter(|shard| !mapped_shards.contains(shard) && !read_shards.contains(shard))
        .collect();
    let items = mapped_shards.len() + read_shards.len() + on_disk.len();
    request.watch.total(Stage::Read, mapped_bytes + copied_bytes, items as u64);
    if on_disk.is_empty() {
        return;
    }
    request.watch.verbose(format!(
        "{} of {items} shards are on the disk tier as a whole and are read in every pass",
        on_disk.len()
    ));
    let progress = request.watch.thread("disk tier");
    for shard in on_disk {
        progress.at(Stage::Read, &file_name(&shards[shard].path), 0);
        progress.item_done();
    }
}
