//! From a model's name to a model that computes: locate, open, probe, plan, load; and down the
//! ladder where memory runs out all the same.

use crate::args::{BringUpArgs, PlacementArgs};
use crate::failed_rungs::FailedRungs;
use crate::failure::Failure;
use crate::machine;
use checkpoint::{Checkpoint, SearchPaths};
use engine::load::{LoadReport, LoadRequest, Loaded};
use error_kind::{ErrorKind, HasKind};
use placement::{
    DeviceMapMode, DtypeChoice, FailedRung, Fallback, GpuLeft, KvDtype, Ladder, Limits, Machine,
    MaxMemory, Planner, ladder_below,
};
use std::path::Path;
use text::{ChatTemplate, Tokenizer};
use watch::{Stage, Watch};

/// A checkpoint with a plan that fits.
pub struct PlannedModel {
    /// Headers, checked.
    pub checkpoint: Checkpoint,
    /// The rung that fits, and those above it.
    pub ladder: Ladder,
}

/// A model that is ready, with all that belongs to it.
pub struct Session {
    /// Headers, checked.
    pub checkpoint: Checkpoint,
    /// How the plan was found.
    pub ladder: Ladder,
    /// The model with its buffers.
    pub loaded: Loaded,
    /// The most memory that this process has had, file maps included; 0 where the system does not
    /// say.
    pub peak_resident_bytes: u64,
    /// What the plan said it would be.
    pub planned_resident_bytes: u64,
    /// Text to tokens, if the checkpoint can.
    pub tokenizer: Option<Tokenizer>,
    /// The chat template, if it has one.
    pub template: Option<ChatTemplate>,
}

/// Finds and opens a model, and plans where it goes.
///
/// # Errors
/// 2, 65, 66, 71 or 74: see the design's table.
pub fn plan(args: &PlacementArgs, watch: &Watch) -> Result<PlannedModel, Failure> {
    let checkpoint = open(&args.model, watch)?;
    let mut machine = machine::find(args, &checkpoint, watch)?;
    if args.machine.is_none() {
        machine::measure(&mut machine, &checkpoint, watch)?;
    }
    let ladder = find_rung(args, &checkpoint, &machine, &FailedRungs::default(), watch)?;
    Ok(PlannedModel { checkpoint, ladder })
}

/// Finds a model and reads its headers.
///
/// # Errors
/// 65, 66 or 74.
pub fn open(model: &str, watch: &Watch) -> Result<Checkpoint, Failure> {
    let path = {
        let _stage = watch.enter(Stage::Locate);
        checkpoint::locate(model, &SearchPaths::from_env())?
    };
    let stage = watch.enter(Stage::Headers);
    let progress = watch.thread("headers");
    progress.at(Stage::Headers, &path.display().to_string(), 0);
    let checkpoint = Checkpoint::open(&path)?;
    drop((progress, stage));
    watch.note(format!(
        "{}: {}, {} tensors in {} shards, {}",
        path.display(),
        checkpoint.config.class_name,
        checkpoint.inventory.tensors.len(),
        checkpoint.inventory.shards.len(),
        placement::bytes_text(checkpoint.inventory.weights_bytes())
    ));
    checkpoint.notes.iter().for_each(|note| watch.note(format!("note: {note}")));
    Ok(checkpoint)
}

/// Plans a model that is open already for this machine, as [`bring_up`] will, telling nobody.
///
/// # Errors
/// 2, 69 or 71.
pub fn plan_here(args: &PlacementArgs, checkpoint: &Checkpoint) -> Result<Ladder, Failure> {
    let watch = Watch::silent();
    let machine = machine::find(args, checkpoint, &watch)?;
    find_rung(args, checkpoint, &machine, &FailedRungs::from_env(), &watch)
}

/// Plans a model that is open already for a machine, telling nobody.
///
/// # Errors
/// 2 or 71.
pub fn plan_on(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    machine: &Machine,
) -> Result<Ladder, Failure> {
    find_rung(args, checkpoint, machine, &FailedRungs::default(), &Watch::silent())
}

fn find_rung(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    machine: &Machine,
    failed: &FailedRungs,
    watch: &Watch,
) -> Result<Ladder, Failure> {
    let _stage = watch.enter(Stage::Plan);
    let limits = limits(args, checkpoint)?;
    let fallback = Fallback::parse(&args.fallback)?;
    let planner = Planner::new(&checkpoint.config, &checkpoint.inventory);
    let ladder = ladder_below(&planner, machine, &limits, fallback, &failed.of(&args.model))?;
    for rung in ladder.tried.iter().filter(|_| ladder.tried.len() > 1) {
        watch.note(format!("rung {rung}"));
    }
    ladder.plan.describe().lines().for_each(|line| watch.note(line.to_owned()));
    Ok(ladder)
}

fn limits(args: &PlacementArgs, checkpoint: &Checkpoint) -> Result<Limits, Failure> {
    let longest = checkpoint.config.max_positions;
    let context = args.context.unwrap_or(longest.min(placement::CONTEXT_DEFAULT_MAX));
    if context == 0 || context > longest {
        return Err(Failure::usage(format!(
            "--context: expected 1 to {longest} (the model's), found {context}"
        )));
    }
    if args.concurrency == 0 {
        return Err(Failure::usage("--concurrency: expected 1 or more, found 0"));
    }
    Ok(Limits {
        max_memory: MaxMemory::parse(args.max_memory.as_deref().unwrap_or(""))?,
        mode: mode(&args.device_map)?,
        context,
        concurrency: args.concurrency,
        dtype: DtypeChoice::parse(&args.dtype)?,
        kv_dtype: KvDtype::parse(&args.kv_dtype)?,
        disk: false,
    })
}

fn mode(word: &str) -> Result<DeviceMapMode, Failure> {
    let is_file =
        Path::new(word).extension().is_some_and(|e| e == "json") || Path::new(word).exists();
    let known = DeviceMapMode::parse(word);
    if known.is_ok() || !is_file {
        return Ok(known?);
    }
    let text = std::fs::read_to_string(word)
        .map_err(|e| Failure::usage(format!("--device-map: cannot read {word}: {e}")))?;
    let map: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).map_err(|e| {
            Failure::usage(format!(
                "--device-map {word}: expected an object of module -> tier, found: {e}"
            ))
        })?;
    let words: Vec<(String, String)> = map
        .into_iter()
        .map(|(module, tier)| {
            (module, tier.as_str().map_or_else(|| tier.to_string(), str::to_owned))
        })
        .collect();
    Ok(DeviceMapMode::explicit(
        words.iter().map(|(module, tier)| (module.as_str(), tier.as_str())),
    )?)
}

/// Brings a model up to its first tokens. Where memory runs out although the plan fitted, the next
/// rung is planned from what is free then.
///
/// # Errors
/// What stopped it, with the exit code of the design's table.
pub fn bring_up(args: &BringUpArgs, watch: &Watch) -> Result<Session, Failure> {
    let checkpoint = open(&args.placement.model, watch)?;
    let (ladder, loaded, planned_resident_bytes) = climb_down(args, &checkpoint, watch)?;
    watch.note("load returned".to_string());
    describe(&loaded.report).into_iter().for_each(|line| watch.note(line));
    let peak_resident_bytes = peak_resident_bytes();
    watch
        .note(format!("peak memory {peak_resident_bytes} bytes, {planned_resident_bytes} planned"));
    let _stage = watch.enter(Stage::Tokenizer);
    let tokenizer = Tokenizer::from_checkpoint(&checkpoint)?;
    let template = ChatTemplate::from_checkpoint(&checkpoint)?;
    Ok(Session {
        checkpoint,
        ladder,
        loaded,
        peak_resident_bytes,
        planned_resident_bytes,
        tokenizer,
        template,
    })
}

/// `VmHWM` of `proc(5)`.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) << 10
}

/// The rung that was taken, the model, and the memory that it was planned to take.
fn climb_down(
    args: &BringUpArgs,
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> Result<(Ladder, Loaded, u64), Failure> {
    let model = &args.placement.model;
    let mut failed = FailedRungs::from_env();
    loop {
        let machine = machine::find(&args.placement, checkpoint, watch)?;
        let ladder = find_rung(&args.placement, checkpoint, &machine, &failed, watch)?;
        let next_host_bytes = ladder.plan.host_bytes_if_too_much();
        watch.rung(model, ladder.rung.name(), next_host_bytes);
        let mut request = LoadRequest::new(checkpoint, &ladder.plan, watch);
        request.threads = args.threads;
        request.virtual_devices = machine.gpus.iter().any(|gpu| gpu.is_virtual);
        request.file_maps = use_maps(&machine, &ladder);
        let ordinals: Vec<usize> = machine
            .gpus
            .iter()
            .enumerate()
            .map(|(index, gpu)| gpu.ordinal.unwrap_or(index))
            .collect();
        request.gpu_ordinals.clone_from(&ordinals);
        let error = match engine::load(request) {
            Ok(loaded) => {
                let resident_bytes = ladder.plan.resident_bytes(&machine);
                return Ok((ladder, loaded, resident_bytes));
            }
            Err(error) => error,
        };
        let (rung, why) = (ladder.rung, error.to_string());
        let left = |gpu| GpuLeft { gpu, next_bytes: ladder.plan.gpu_bytes_if_too_much(gpu) };
        let ran_out = error
            .gpu_out_of_memory()
            .and_then(|ordinal| ordinals.iter().position(|of| *of == ordinal));
        let gpu = ran_out.map(left);
        if error.kind() != ErrorKind::OutOfMemory
            || !failed.add(model, FailedRung { rung, why: why.clone(), next_host_bytes, gpu })
        {
            return Err(error.into());
        }
        watch.note(format!("memory ran out in mid-load on the rung {}: {why}", rung.name()));
    }
}

/// Maps are for local disks, and for memory that holds the whole file twice over.
fn use_maps(machine: &Machine, ladder: &Ladder) -> bool {
    let (available, _) = machine.host.really_available();
    let limited = machine.host.limits.iter().any(|limit| limit.bytes < machine.host.total_bytes);
    !machine.disk.network && !limited && ladder.plan.weights_bytes < available / 2
}

fn describe(report: &LoadReport) -> Vec<String> {
    let mut lines = vec![format!(
        "model class {}, {}, {} kernels on {} threads",
        report.model_class, report.precision, report.kernel_set, report.threads
    )];
    for tier in
        report.tiers.iter().filter(|t| t.weights_bytes + t.kv_bytes + t.activations_bytes > 0)
    {
        lines.push(format!(
            "  {}: weights {} of {} planned, KV {} of {}, activations {} of {}",
            tier.tier,
            tier.weights_bytes,
            tier.weights_planned_bytes,
            tier.kv_bytes,
            tier.kv_planned_bytes,
            tier.activations_bytes,
            tier.activations_planned_bytes
        ));
    }
    for (tier, gpu) in report.tiers.iter().filter_map(|tier| Some((tier.tier, tier.gpu.as_ref()?)))
    {
        lines.push(format!(
            "  {tier} ({}): {} bytes allocated, {:.1}% of {} planned; {} reserved, {} at most so far; {} of {} free",
            gpu.name,
            gpu.allocated_bytes,
            100.0 * gpu.allocated_bytes as f64 / gpu.planned_bytes.max(1) as f64,
            gpu.planned_bytes,
            gpu.reserved_bytes,
            gpu.peak_reserved_bytes,
            gpu.free_bytes,
            gpu.total_bytes
        ));
    }
    let smoke = &report.smoke_test;
    lines.push(format!(
        "smoke test: {} tokens in {:.3} s, {:.1} tok/s, ok",
        smoke.tokens, smoke.seconds, smoke.tok_s
    ));
    lines
}

impl Session {
    /// The tokenizer, or the error of a checkpoint without one.
    ///
    /// # Errors
    /// 66.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().ok_or_else(|| {
            missing(
                &self.checkpoint.root,
                "tokenizer (tokenizer.json, or vocab.json with merges.txt)",
            )
        })
    }

    /// The chat template, or the error of a checkpoint without one.
    ///
    /// # Errors
    /// 66.
    pub fn template(&self) -> Result<&ChatTemplate, Failure> {
        self.template.as_ref().ok_or_else(|| {
            missing(
                &self.checkpoint.root,
                "chat template (chat_template.jinja, or in tokenizer_config.json)",
            )
        })
    }
}

fn missing(root: &Path, what: &str) -> Failure {
    Failure::new(
        ErrorKind::NotFound,
        format!("{}: expected a {what}, found none. Fetch the whole model", root.display()),
    )
}
