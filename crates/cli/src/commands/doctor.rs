//! `vendomini doctor`: reports devices, limits and caches, and what would prevent a load.

use super::run::JOBS_DEFAULT;
use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::gpus::{GpusSeen, gpus_seen};
use crate::machine;
use crate::needs::{self, Need, ShapeSource};
use crate::output;
use crate::stage::{self, StagingAdvice};
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::KernelSet;
use experiment::Config;
use placement::{GpuSpec, Machine, bytes_text};
use serde::Serialize;
use std::path::{Path, PathBuf};
use watch::{Stage, Watch};

/// A warning that is shown on machines with GPUs.
const UNTESTED_ON_GPUS: &str = "GPU kernels have been tested with a fake CUDA driver only: run `vendomini selftest --device cuda:0` \
     first, and trust no result if it exits with 76";

#[derive(Serialize)]
struct DoctorDocument {
    machine: Machine,
    host_available_bytes: u64,
    host_limited_by: String,
    kernel_set: String,
    gpus: GpusSeen,
    search: Vec<String>,
    model: Option<String>,
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staging: Option<StagingAdvice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<Vec<Need>>,
}

pub fn run(args: &DoctorArgs, watch: &Watch) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let needs = needed(args)?;
    let found = args.model.as_deref().map(|model| {
        let _stage = watch.enter(Stage::Headers);
        Checkpoint::open(&checkpoint::locate(model, &search)?)
    });
    let mut staging = None;
    let (mut machine, problem) = match found {
        Some(Ok(checkpoint)) => {
            let machine = machine::measured(&checkpoint, watch)?;
            staging = stage::advice(&checkpoint, &machine);
            (machine, None)
        }
        found => {
            let _stage = watch.enter(Stage::Probe);
            (machine::here()?, found.and_then(Result::err).map(Failure::from))
        }
    };
    let (host_available_bytes, host_limited_by) = machine.host.really_available();
    let usable = machine.gpus.iter().filter(|gpu| !gpu.is_virtual).count();
    if usable > 0 {
        machine.notes.push(UNTESTED_ON_GPUS.to_owned());
    }
    let document = DoctorDocument {
        machine,
        host_available_bytes,
        host_limited_by,
        kernel_set: KernelSet::best()?.name().to_owned(),
        gpus: gpus_seen(Path::new("/proc"), &|name| std::env::var(name).ok(), usable),
        search: search
            .hub_caches
            .iter()
            .chain(&search.model_folders)
            .map(|p| p.display().to_string())
            .collect(),
        model: args.model.clone(),
        problem: problem.as_ref().map(|p| p.text.clone()),
        staging,
        needs,
    };
    if args.json {
        output::json(&document)?;
    } else {
        print(&document)?;
    }
    let missing = document.needs.iter().flatten().find(|need| need.problem.is_some());
    Ok(problem
        .map(|p| p.kind)
        .or(missing.map(|need| need.kind))
        .map_or(0, crate::failure::exit_code))
}

/// The models that the experiment of `--for` needs; `None` without `--for`.
fn needed(args: &DoctorArgs) -> Result<Option<Vec<Need>>, Failure> {
    let Some(file) = &args.config else { return Ok(None) };
    let config = Config::load(file, &args.set)?;
    let site = needs::read_site(args.site.as_deref())?;
    let of_site = site.machine.iter().map(PathBuf::from);
    let places: Vec<PathBuf> = of_site.chain(args.machine.iter().cloned()).collect();
    let machines = machine::all_described(&places)?;
    let jobs = args.jobs.unwrap_or(JOBS_DEFAULT).max(1);
    needs::needs_with_machines(&config, jobs, &site, &machines).map(Some)
}

fn print(d: &DoctorDocument) -> Result<(), Failure> {
    let host = &d.machine.host;
    output::line(&format!(
        "host memory   {} total, {} available, limited by {}",
        bytes_text(host.total_bytes),
        bytes_text(d.host_available_bytes),
        d.host_limited_by
    ))?;
    for limit in &host.limits {
        output::line(&format!(
            "  limit       {}: {}, {} used",
            limit.what,
            bytes_text(limit.bytes),
            bytes_text(limit.used_bytes)
        ))?;
    }
    let rate = |rate: Option<u64>| {
        rate.map_or(String::new(), |rate| format!(", reads {:.2} GB/s", rate as f64 / 1e9))
    };
    output::line(&format!(
        "cores         {} of {}, {} kernels{}",
        host.cores,
        host.cpu_model,
        d.kernel_set,
        rate(host.read_bytes_per_s)
    ))?;
    for node in host.numa_nodes.iter().filter(|_| host.numa_nodes.len() > 1) {
        output::line(&format!(
            "  NUMA node   {}: {} cores, {}",
            node.node,
            node.cores,
            bytes_text(node.total_bytes)
        ))?;
    }
    let huge = &host.huge_pages;
    let reserved = match huge.reserved_free {
        0 => String::new(),
        free => format!(", {free} of {} reserved and free", bytes_text(huge.page_bytes)),
    };
    output::line(&format!(
        "huge pages    transparent: {}{reserved}",
        or_unknown(&huge.transparent)
    ))?;
    let disk = &d.machine.disk;
    output::line(&format!(
        "disk          {} on {}{}{}{}",
        or_unknown(&disk.file_system),
        or_unknown(&disk.mount),
        if disk.network { " (network: never mapped)" } else { "" },
        disk.free_bytes.map_or(String::new(), |free| format!(", {} free", bytes_text(free))),
        rate(disk.read_bytes_per_s)
    ))?;
    for gpu in &d.machine.gpus {
        output::line(&format!("GPU           {}", gpu_line(gpu)))?;
    }
    print_gpus(&d.gpus)?;
    for note in &d.machine.notes {
        output::line(&format!("note          {note}"))?;
    }
    for place in &d.search {
        output::line(&format!("models        {place}"))?;
    }
    if let Some(staging) = &d.staging {
        output::line(&format!("staging       {staging}"))?;
    }
    print_needs(d.needs.as_deref())?;
    match (&d.model, &d.problem) {
        (Some(model), Some(problem)) => output::line(&format!("problem       {model}: {problem}")),
        (Some(model), None) => {
            output::line(&format!("model         {model}: its headers are valid"))
        }
        (None, _) => Ok(()),
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// Describes a GPU in one line; unknown values are left out.
fn gpu_line(gpu: &GpuSpec) -> String {
    let mut line = format!("{}: {}", gpu.name, bytes_text(gpu.total_bytes));
    if let Some(free) = gpu.free_bytes {
        line += &format!(", {} free", bytes_text(free));
    }
    if !gpu.compute.is_empty() {
        line += &format!(", compute {}", gpu.compute);
    }
    if let Some(pcie) = gpu.pcie {
        line += &format!(", PCIe {} x{}", pcie.generation, pcie.lanes);
    }
    if !gpu.peers.is_empty() {
        let peers: Vec<String> = gpu.peers.iter().map(usize::to_string).collect();
        line += &format!(", reaches {}", peers.join(" "));
    }
    line
}

/// Prints the GPUs that the environment and the driver report, which may differ from those that can
/// be used.
fn print_gpus(gpus: &GpusSeen) -> Result<(), Failure> {
    if let Some((variable, allotted)) = &gpus.allotted {
        output::line(&format!("  allotted    {allotted} ({variable})"))?;
    }
    if let Some(visible) = &gpus.cuda_visible_devices {
        output::line(&format!("  visible     CUDA_VISIBLE_DEVICES={visible}"))?;
    }
    for gpu in &gpus.driver {
        output::line(&format!("  in the node {} {} {}", gpu.bus, gpu.name, gpu.uuid))?;
    }
    gpus.problems.iter().try_for_each(|problem| output::line(&format!("problem       {problem}")))
}

fn print_needs(needs: Option<&[Need]>) -> Result<(), Failure> {
    if needs.is_some_and(<[Need]>::is_empty) {
        return output::line("needs         no model: all operators are scripted");
    }
    for need in needs.into_iter().flatten() {
        let label = if need.problem.is_some() { "problem" } else { "needs" };
        output::line(&format!("{label:13} {need}"))?;
        let found = if need.place.is_some() { "damaged" } else { "absent" };
        match need.shape {
            Some(ShapeSource::Published) => {
                output::line(&format!("  {found:11} planned below from its published shape"))?;
            }
            Some(ShapeSource::Unknown) => output::line(&format!(
                "  {found:11} not planned: vendomini does not know the shape of this model"
            ))?,
            None => {}
        }
        for fit in &need.machines {
            output::line(&format!("  {fit}"))?;
            fit.notes.iter().try_for_each(|note| output::line(&format!("    {note}")))?;
        }
    }
    Ok(())
}
