//! The machine to plan for: this one, probed, or one that a YAML file describes.

use crate::args::PlacementArgs;
use crate::failure::Failure;
use crate::gpus::gpus_seen;
use checkpoint::Checkpoint;
use device::cuda::{CudaError, Driver};
use device::probe::{DeviceSpec, Roots, measure_disk, measure_links, measure_memory, probe};
use error_kind::ErrorKind;
use placement::{Machine, short_text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use watch::{Stage, Watch};

/// The machine that the arguments select.
///
/// # Errors
/// `Usage` for an invalid `--devices` or machine file, `NotFound` if the machine file cannot be
/// read, `Unavailable` if this machine cannot be probed.
pub fn find(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> Result<Machine, Failure> {
    let mut stage = watch.enter(Stage::Probe);
    let progress = watch.thread("probe");
    progress.at(Stage::Probe, "memory, limits, and GPUs (for which the CUDA driver is started)", 0);
    let devices = args.devices.as_deref().map_or(Ok(DeviceSpec::Found), DeviceSpec::parse)?;
    let mut machine = match &args.machine {
        Some(file) => described(file)?,
        None => probe(&Roots::system(), largest_shard(checkpoint), &devices)?,
    };
    if let Some(typed) = devices.given() {
        machine.gpus = typed;
    }
    stage.summary(summary(&machine));
    if args.machine.is_none() && args.devices.is_none() {
        gpu_warnings(&machine).iter().for_each(|text| watch.note(format!("warning: {text}")));
    }
    Ok(machine)
}

/// A summary in one line: `2 cores, 19.8 GiB of memory available; 2 x H200 (139.80 GiB)`.
fn summary(machine: &Machine) -> String {
    let (available, _) = machine.host.really_available();
    let mut gpus: BTreeMap<String, usize> = BTreeMap::new();
    for gpu in &machine.gpus {
        *gpus.entry(format!("{} ({})", gpu.name, short_text(gpu.total_bytes))).or_default() += 1;
    }
    let gpus = gpus.iter().map(|(gpu, count)| match count {
        1 => gpu.clone(),
        count => format!("{count} x {gpu}"),
    });
    let gpus = gpus.collect::<Vec<_>>().join(", ");
    format!(
        "{} cores, {} of memory available; {}",
        machine.host.cores,
        short_text(available),
        if gpus.is_empty() { "no GPU" } else { &gpus }
    )
}

/// Messages on why GPUs are not used, if there is any evidence that this machine has some.
fn gpu_warnings(machine: &Machine) -> Vec<String> {
    let usable = machine.gpus.len();
    let variable = |name: &str| std::env::var(name).ok();
    let seen = gpus_seen(Path::new("/proc"), &variable, usable);
    let expects_none = seen.expected().unwrap_or(0) == 0;
    if expects_none && usable == 0 && matches!(Driver::open(), Err(CudaError::NoDriver { .. })) {
        return Vec::new();
    }
    machine.notes.iter().cloned().chain(seen.problems).collect()
}

/// Reads the description of a machine from a YAML file.
///
/// # Errors
/// `NotFound` if the file cannot be read, `Usage` if its contents are invalid.
pub fn described(file: &Path) -> Result<Machine, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(ErrorKind::NotFound, format!("machine file {name}: {e}")))?;
    Ok(Machine::from_yaml(&name, &text)?)
}

/// The machines that files describe, by the names of the files. A folder stands for its `.yaml`
/// files, in the order of their names.
///
/// # Errors
/// As [`described`]; `NotFound` for a folder without such files.
pub fn all_described(places: &[PathBuf]) -> Result<Vec<(String, Machine)>, Failure> {
    let mut machines = Vec::new();
    for place in places {
        let files = if place.is_dir() { yaml_files(place)? } else { vec![place.clone()] };
        for file in files {
            machines.push((file.display().to_string(), described(&file)?));
        }
    }
    Ok(machines)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |error| Failure::io(&folder.display().to_string(), &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let text = format!("{}: expected machine files (*.yaml), found none", folder.display());
        return Err(Failure::new(ErrorKind::NotFound, text));
    }
    Ok(files)
}

/// Probes this machine and the disk that holds a checkpoint, or the current folder's if the
/// checkpoint has no files.
///
/// # Errors
/// `Unavailable` if the machine cannot be probed.
pub fn probed(checkpoint: &Checkpoint) -> Result<Machine, Failure> {
    let shard = largest_shard(checkpoint);
    if shard.exists() { Ok(probe(&Roots::system(), shard, &DeviceSpec::Found)?) } else { here() }
}

/// Probes this machine and the disk that holds the current folder.
///
/// # Errors
/// `Unavailable` if the machine cannot be probed.
pub fn here() -> Result<Machine, Failure> {
    let folder = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    Ok(probe(&Roots::system(), &folder, &DeviceSpec::Found)?)
}

/// Probes this machine, and measures the rates of its memory, the checkpoint's disk and the GPUs'
/// links.
///
/// # Errors
/// `Unavailable` if the machine cannot be probed, `Io` if the checkpoint cannot be read.
pub fn measured(checkpoint: &Checkpoint, watch: &Watch) -> Result<Machine, Failure> {
    let mut machine = {
        let _stage = watch.enter(Stage::Probe);
        probed(checkpoint)?
    };
    measure(&mut machine, checkpoint, watch)?;
    Ok(machine)
}

/// Measures the rates of memory, of the checkpoint's disk and of the GPUs' links, which takes about
/// 0.1 s plus some time for each GPU. The rates are only used for predictions; placement does not
/// depend on them.
///
/// # Errors
/// `Io` if the checkpoint cannot be read.
pub fn measure(
    machine: &mut Machine,
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> Result<(), Failure> {
    const MEMORY_BYTES: u64 = 128 << 20;
    const MEMORY_LIMIT: Duration = Duration::from_millis(20);
    const DISK_BYTES: u64 = 256 << 20;
    const DISK_LIMIT: Duration = Duration::from_millis(40);
    const LINKS_LIMIT: Duration = Duration::from_secs(10);
    let _stage = watch.enter(Stage::Probe);
    let (available, _) = machine.host.really_available();
    if available > 2 * MEMORY_BYTES {
        let rate = measure_memory(machine.host.cores, MEMORY_BYTES, MEMORY_LIMIT);
        machine.host.read_bytes_per_s = Some(rate.bytes_per_s());
    }
    let shard = largest_shard(checkpoint);
    let progress = watch.thread("disk rate");
    progress.at(Stage::Probe, &shard.display().to_string(), 0);
    let rate = measure_disk(shard, DISK_BYTES, DISK_LIMIT, &|bytes| progress.advance(bytes))?;
    machine.disk.read_bytes_per_s = Some(rate.bytes_per_s()).filter(|rate| *rate > 0);
    measure_links(machine, LINKS_LIMIT);
    Ok(())
}

/// The largest shard; the disk that holds it counts as the checkpoint's disk.
fn largest_shard(checkpoint: &Checkpoint) -> &Path {
    let largest = checkpoint.inventory.shards.iter().max_by_key(|shard| shard.bytes);
    largest.map_or(checkpoint.root.as_path(), |shard| shard.path.as_path())
}
