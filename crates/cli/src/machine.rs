//! This machine or a described one, as a value to plan for.

use crate::args::PlacementArgs;
use crate::failure::Failure;
use checkpoint::Checkpoint;
use device::probe::{DeviceSpec, Roots, measure_disk, measure_links, measure_memory, probe};
use error_kind::ErrorKind;
use placement::Machine;
use std::path::Path;
use std::time::Duration;
use watch::{Stage, Watch};

/// The machine that is planned for: this one, or that of a file.
///
/// # Errors
/// 2, 66 or 69.
pub fn find(
    args: &PlacementArgs,
    checkpoint: &Checkpoint,
    watch: &Watch,
) -> Result<Machine, Failure> {
    let _stage = watch.enter(Stage::Probe);
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
    Ok(machine)
}

/// The machine that a file describes.
///
/// # Errors
/// 2 or 66.
pub fn described(file: &Path) -> Result<Machine, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(ErrorKind::NotFound, format!("machine file {name}: {e}")))?;
    Ok(Machine::from_yaml(&name, &text)?)
}

/// This machine, for a checkpoint.
///
/// # Errors
/// 69.
pub fn probed(checkpoint: &Checkpoint) -> Result<Machine, Failure> {
    Ok(probe(&Roots::system(), largest_shard(checkpoint), &DeviceSpec::Found)?)
}

/// This machine, with the rates of its memory and of the checkpoint's disk.
///
/// # Errors
/// 69 or 74.
pub fn measured(checkpoint: &Checkpoint, watch: &Watch) -> Result<Machine, Failure> {
    let mut machine = {
        let _stage = watch.enter(Stage::Probe);
        probed(checkpoint)?
    };
    measure(&mut machine, checkpoint, watch)?;
    Ok(machine)
}

/// What the memory, the disk and the GPUs' links can do, measured in a tenth of a second and some
/// for each GPU: nothing is placed by it, predictions are made of it.
///
/// # Errors
/// 74.
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

/// The file that most bytes come from: where it really lies is the checkpoint's disk.
fn largest_shard(checkpoint: &Checkpoint) -> &Path {
    let largest = checkpoint.inventory.shards.iter().max_by_key(|shard| shard.bytes);
    largest.map_or(checkpoint.root.as_path(), |shard| shard.path.as_path())
}
