//! From a model's name to a loaded model: locate, open, probe, plan and load. If memory runs out
//! although the plan fits, the lower rungs of the fallback ladder are tried.

use crate::args::{BringUpArgs, PlacementArgs};
use crate::failed_rungs::FailedRungs;
use crate::failure::Failure;
use crate::plan_limits::limits;
use crate::stage::{self, StageChoice, StagingAdvice};
use crate::{load_text, machine};
use checkpoint::{Checkpoint, Dtype, Inventory, SearchPaths};
use engine::load::{LoadRequest, Loaded};
use error_kind::{ErrorKind, HasKind};
use placement::{
    FailedRung, Fallback, GpuLeft, Ladder, Machine, Planner, bytes_text, ladder_below, short_text,
};
use staging::StagedCheckpoint;
use std::path::{Path, PathBuf};
use std::time::Instant;
use text::{ChatTemplate, Tokenizer};
use watch::{NoteLevel, Stage, Watch};

/// A checkpoint with a plan that fits.
pub struct PlannedModel {
    pub checkpoint: Checkpoint,
    /// What staging would gain; `None` if the model is not on a network file system.
    pub staging: Option<StagingAdvice>,
    /// The plan on the highest rung of the fallback ladder that fits, and the rungs that were
    /// tried.
    pub ladder: Ladder,
}

/// A loaded model with its tokenizer and chat template.
pub struct Session {
    /// The checkpoint that was loaded: the staged copy, if there is one.
    pub checkpoint: Checkpoint,
    /// The folder or file of the model as it was found.
    pub source: PathBuf,
    /// The staged copy, which is not removed while this exists.
    pub staged: Option<StagedCheckpoint>,
    /// The plan of the rung that was loaded, and the rungs that were tried.
    pub ladder: Ladder,
    pub loaded: Loaded,
    /// Peak resident memory of this process in bytes, including memory-mapped files; 0 if the
    /// system does not report it.
    pub peak_resident_bytes: u64,
    /// The resident memory of this process that was planned, in bytes.
    pub planned_resident_bytes: u64,
    /// The tokenizer, or why there is none that can be used. Only commands that need text fail.
    pub tokenizer: Result<Tokenizer, Failure>,
    /// The chat template, or why there is none that can be used.
    pub template: Result<ChatTemplate, Failure>,
}

/// Finds and opens a model, and plans its placement on this machine or on a described one.
///
/// # Errors
/// `Usage`, `BadInput`, `NotFound`, `Unavailable`, `OutOfMemory` or `Io`.
pub fn plan(args: &PlacementArgs, watch: &Watch) -> Result<PlannedModel, Failure> {
    let checkpoint = open(&args.model, watch)?;
    let mut machine = machine::find(args, &checkpoint, watch)?;
    if args.machine.is_none() {
        machine::measure(&mut machine, &checkpoint, watch)?;
    }
    let ladder = find_rung(args, &checkpoint, &machine, &FailedRungs::default(), watch)?;
    let staging = stage::advice(&checkpoint, &machine);
    Ok(PlannedModel { checkpoint, staging, ladder })
}

/// Finds a model and reads its headers.
///
/// # Errors
/// `NotFound` if there is no such model, `BadInput` or `Io` if its headers cannot be read.
pub fn open(model: &str, watch: &Watch) -> Result<Checkpoint, Failure> {
    let path = {
        let mut stage = watch.enter(Stage::Locate);
        let path = checkpoint::locate(model, &SearchPaths::from_env())?;
        stage.summary(path.display().to_string());
        path
    };
    let mut stage = watch.enter(Stage::Headers);
    let progress = watch.thread("headers");
    progress.at(Stage::Headers, &path.display().to_string(), 0);
    let checkpoint = Checkpoint::open(&path)?;
    drop(progress);
    let (class, inventory) = (&checkpoint.config.class_name, &checkpoint.inventory);
    let (tensors, shards) = (inventory.tensors.len(), inventory.shards.len());
    let plural = if shards == 1 { "" } else { "s" };
    let contents = format!("{class}, {tensors} tensors in {shards} shard{plural}");
    let bytes = inventory.weights_bytes();
    stage.summary(format!("{contents}, {}", short_text(bytes)));
    drop(stage);
    watch.verbose(format!("{}: {contents}, {}", path.display(), bytes_text(bytes)));
    checkpoint.notes.iter().for_each(|note| watch.verbose(format!("note: {note}")));
    Ok(checkpoint)
}

/// Plans an opened model for the machine of the arguments in the same way as [`bring_up`], without
/// output.
///
/// # Errors
/// `Usage`, `NotFound`, `Unavailable` or `OutOfMemory`.
pub fn plan_here(args: &PlacementArgs, checkpoint: &Checkpoint) -> Result<Ladder, Failure> {
    let watch = Watch::silent();
    let machine = machine::find(args, checkpoint, &watch)?;
    find_rung(args, checkpoint, &machine, &FailedRungs::from_env(), &watch)
}

/// Plans an opened model for the given machine, without output.
///
/// # Errors
/// `Usage`, or `OutOfMemory` if no rung fits.
pub fn plan_on(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    machine: &Machine,
) -> Result<Ladder, Failure> {
    find_rung(args, checkpoint, machine, &FailedRungs::default(), &Watch::silent())
}

/// Plans the highest rung of the fallback ladder that fits and has not failed.
fn find_rung(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    machine: &Machine,
    failed: &FailedRungs,
    watch: &Watch,
) -> Result<Ladder, Failure> {
    let mut stage = watch.enter(Stage::Plan);
    let limits = limits(args, checkpoint)?;
    let fallback = Fallback::parse(&args.fallback)?;
    let planner = Planner::new(&checkpoint.config, &checkpoint.inventory);
    let ladder = ladder_below(&planner, machine, &limits, fallback, &failed.of(&args.model))?;
    stage.summary(ladder.plan.summary().join("\n"));
    for rung in ladder.tried.iter().filter(|_| ladder.tried.len() > 1) {
        watch.note(format!("rung {rung}"));
    }
    Ok(ladder)
}

/// What a command needs to process text, which is checked before weights are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextNeed {
    /// Token ids are enough.
    Nothing,
    Tokenizer,
    /// The tokenizer, and the checkpoint's own chat template.
    ChatTemplate,
}

/// Loads a model and runs its smoke test. If memory runs out although the plan fitted, the next
/// rung is planned from the memory that is free at that time.
///
/// # Errors
/// The error of the step that failed: finding, planning or loading the model; `NotFound`,
/// `BadInput` or `Io` if it lacks what `need` says.
pub fn bring_up(args: &BringUpArgs, need: TextNeed, watch: &Watch) -> Result<Session, Failure> {
    let started = Instant::now();
    let choice = StageChoice::of(args.stage.stage.as_deref())?;
    let checkpoint = open(&args.placement.model, watch)?;
    let source = checkpoint.root.clone();
    let (checkpoint, staged) =
        stage::staged_or_source(&choice, args.time.stall_timeout, checkpoint, watch)?;
    let processing = (need > TextNeed::Nothing).then(|| text_processing(&checkpoint, watch));
    if let Some((tokenizer, template)) = &processing {
        tokenizer.as_ref().map_err(Clone::clone)?;
        if need == TextNeed::ChatTemplate {
            template.as_ref().map_err(Clone::clone)?;
        }
    }
    let (ladder, loaded, planned_resident_bytes) = load_with_fallbacks(args, &checkpoint, watch)?;
    watch.note(format!("load returned after {:.2} s", started.elapsed().as_secs_f64()));
    let note = |level| move |line: String| watch.note_at(level, line);
    load_text::brief(&loaded.report).into_iter().for_each(note(NoteLevel::Brief));
    load_text::exact(&loaded.report).into_iter().for_each(note(NoteLevel::Verbose));
    let peak_resident_bytes = peak_resident_bytes();
    watch.verbose(format!(
        "peak memory {peak_resident_bytes} bytes, {planned_resident_bytes} planned"
    ));
    let (tokenizer, template) = processing.unwrap_or_else(|| text_processing(&checkpoint, watch));
    Ok(Session {
        checkpoint,
        source,
        staged,
        ladder,
        loaded,
        peak_resident_bytes,
        planned_resident_bytes,
        tokenizer,
        template,
    })
}

fn text_processing(
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> (Result<Tokenizer, Failure>, Result<ChatTemplate, Failure>) {
    let mut stage = watch.enter(Stage::Tokenizer);
    let (tokenizer, template) = (tokenizer(checkpoint), template(checkpoint, None));
    let problem = |failure: &Failure| failure.kind != ErrorKind::NotFound;
    let problems = [tokenizer.as_ref().err(), template.as_ref().err()];
    for failure in problems.into_iter().flatten().filter(|failure| problem(failure)) {
        watch.note(format!("warning: {}", failure.text));
    }
    stage.summary(match (&tokenizer, &template) {
        (Err(failure), _) if problem(failure) => "one that cannot be used: token ids only",
        (Err(_), _) => "none in the checkpoint: token ids only",
        (Ok(_), Err(failure)) if problem(failure) => "with a chat template that cannot be used",
        (Ok(_), Err(_)) => "without a chat template",
        (Ok(_), Ok(_)) => "with a chat template",
    });
    (tokenizer, template)
}

/// Reads the tokenizer of a checkpoint.
///
/// # Errors
/// `NotFound` if the checkpoint has none; `BadInput` or `Io` if it cannot be used.
pub fn tokenizer(checkpoint: &Checkpoint) -> Result<Tokenizer, Failure> {
    Tokenizer::from_checkpoint(checkpoint)?.ok_or_else(|| {
        let what = "tokenizer (tokenizer.json, or vocab.json with merges.txt)";
        missing(&checkpoint.root, what)
    })
}

/// Reads the chat template of a checkpoint, or the one in `file`.
///
/// # Errors
/// `NotFound` if there is none; `BadInput` or `Io` if it cannot be used.
pub fn template(checkpoint: &Checkpoint, file: Option<&Path>) -> Result<ChatTemplate, Failure> {
    if let Some(file) = file {
        return Ok(ChatTemplate::from_file(file, checkpoint)?);
    }
    ChatTemplate::from_checkpoint(checkpoint)?.ok_or_else(|| {
        let what = "chat template (chat_template.jinja, or in tokenizer_config.json); \
                    --chat-template supplies one";
        missing(&checkpoint.root, what)
    })
}

/// Peak resident memory of this process in bytes, from `VmHWM` in `/proc/self/status` (proc(5)).
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) << 10
}

/// Loads the model on the highest rung possible. Returns the ladder with that rung, the loaded
/// model, and the resident memory planned for it in bytes.
fn load_with_fallbacks(
    args: &BringUpArgs,
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> Result<(Ladder, Loaded, u64), Failure> {
    let model = &args.placement.model;
    let mut failed = FailedRungs::from_env();
    loop {
        let machine = machine::find(&args.placement, checkpoint, watch)?;
        let ladder = find_rung(&args.placement, checkpoint, &machine, &failed, watch)?;
        ladder.plan.describe().lines().for_each(|line| watch.verbose(line));
        let next_host_bytes = ladder.plan.host_bytes_if_too_much();
        watch.rung(model, ladder.rung.name(), next_host_bytes);
        let mut request = LoadRequest::new(checkpoint, &ladder.plan, watch);
        request.threads = args.threads;
        request.virtual_devices = machine.gpus.iter().any(|gpu| gpu.is_virtual);
        request.file_maps = may_map_files(&machine, &ladder, &checkpoint.inventory);
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
        let gpu = error
            .gpu_out_of_memory()
            .and_then(|ordinal| ordinals.iter().position(|of| *of == ordinal))
            .map(left);
        if error.kind() != ErrorKind::OutOfMemory
            || !failed.add(model, FailedRung { rung, why: why.clone(), next_host_bytes, gpu })
        {
            return Err(error.into());
        }
        watch.note(format!("memory ran out in mid-load on the rung {}: {why}", rung.name()));
    }
}

/// Shards are memory-mapped only from local disks, only without a memory limit below the machine's
/// total, and only if the available memory is more than twice the weights. With several NUMA nodes
/// they are read, since the page cache is not interleaved; quantized weights are read where the
/// kernel gives huge pages, in which they decode faster than in the small pages of a map.
fn may_map_files(machine: &Machine, ladder: &Ladder, inventory: &Inventory) -> bool {
    let host = &machine.host;
    let (available, _) = host.really_available();
    let limited = host.limits.iter().any(|limit| limit.bytes < host.total_bytes);
    let huge_pages = matches!(host.huge_pages.transparent.as_str(), "always" | "madvise");
    // The 4-bit floats of gpt-oss are stored as bytes.
    let is_quantized = |dtype: Dtype| !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
    let quantized = inventory.tensors.iter().any(|tensor| is_quantized(tensor.dtype));
    !machine.disk.network
        && !limited
        && host.numa_nodes.len() < 2
        && ladder.plan.weights_bytes < available / 2
        && !(quantized && huge_pages)
}

impl Session {
    /// The tokenizer.
    ///
    /// # Errors
    /// As [`tokenizer`].
    pub fn tokenizer(&self) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().map_err(Clone::clone)
    }

    /// The chat template.
    ///
    /// # Errors
    /// As [`template`].
    pub fn template(&self) -> Result<&ChatTemplate, Failure> {
        self.template.as_ref().map_err(Clone::clone)
    }

    /// Replaces the chat template by the one in `file`, if any.
    ///
    /// # Errors
    /// As [`template`].
    pub fn replace_template(&mut self, file: Option<&Path>) -> Result<(), Failure> {
        if file.is_some() {
            self.template = Ok(template(&self.checkpoint, file)?);
        }
        Ok(())
    }
}

fn missing(root: &Path, what: &str) -> Failure {
    let text = format!("{}: expected a {what}, found none. Fetch the whole model", root.display());
    Failure::new(ErrorKind::NotFound, text)
}
