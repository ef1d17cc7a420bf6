use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::machine;
use crate::output;
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::KernelSet;
use device::probe::{DeviceSpec, Roots, probe};
use placement::{Machine, bytes_text};
use serde::Serialize;
use std::path::Path;
use watch::{Stage, Watch};

#[derive(Serialize)]
struct Document {
    machine: Machine,
    host_available_bytes: u64,
    host_limited_by: String,
    kernel_set: String,
    search: Vec<String>,
    model: Option<String>,
    problem: Option<String>,
}

/// `vendomini doctor`: devices, limits, caches, and what would stop a load.
pub fn run(args: &DoctorArgs, watch: &Watch) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let found = args.model.as_deref().map(|model| {
        let _stage = watch.enter(Stage::Headers);
        Checkpoint::open(&checkpoint::locate(model, &search)?)
    });
    let here = || std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let (machine, problem) = match found {
        Some(Ok(checkpoint)) => (machine::measured(&checkpoint, watch)?, None),
        found => {
            let _stage = watch.enter(Stage::Probe);
            let machine = probe(&Roots::system(), &here(), &DeviceSpec::Found)?;
            (machine, found.and_then(Result::err).map(Failure::from))
        }
    };
    let (host_available_bytes, host_limited_by) = machine.host.really_available();
    let document = Document {
        machine,
        host_available_bytes,
        host_limited_by,
        kernel_set: KernelSet::best()?.name().to_owned(),
        search: search.hub_caches.iter().chain(&search.model_folders).map(|p| p.display().to_string()).collect(),
        model: args.model.clone(),
        problem: problem.as_ref().map(|p| p.text.clone()),
    };
    if args.json {
        output::json(&document)?;
    } else {
        print(&document)?;
    }
    Ok(problem.map_or(0, |p| p.exit))
}

fn print(d: &Document) -> Result<(), Failure> {
    let host = &d.machine.host;
    output::line(&format!(
        "host memory   {} in all, {} available, limited by {}",
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
    let rate = |rate: Option<u64>| rate.map_or(String::new(), |rate| format!(", reads {:.2} GB/s", rate as f64 / 1e9));
    output::line(&format!(
        "cores         {} of {}, {} kernels{}",
        host.cores,
        host.cpu_model,
        d.kernel_set,
        rate(host.read_bytes_per_s)
    ))?;
    for node in host.numa_nodes.iter().filter(|_| host.numa_nodes.len() > 1) {
        output::line(&format!("  NUMA node   {}: {} cores, {}", node.node, node.cores, bytes_text(node.total_bytes)))?;
    }
    let huge = &host.huge_pages;
    let reserved = match huge.reserved_free {
        0 => String::new(),
        free => format!(", {free} of {} reserved and free", bytes_text(huge.page_bytes)),
    };
    output::line(&format!("huge pages    transparent: {}{reserved}", or_unknown(&huge.transparent)))?;
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
        output::line(&format!("GPU           {}: {}", gpu.name, bytes_text(gpu.total_bytes)))?;
    }
    for note in &d.machine.notes {
        output::line(&format!("note          {note}"))?;
    }
    for place in &d.search {
        output::line(&format!("models        {place}"))?;
    }
    match (&d.model, &d.problem) {
        (Some(model), Some(problem)) => output::line(&format!("problem       {model}: {problem}")),
        (Some(model), None) => output::line(&format!("model         {model}: its headers are good")),
        (None, _) => Ok(()),
    }
}

fn or_unknown(word: &str) -> &str {
    if word.is_empty() { "unknown" } else { word }
}
