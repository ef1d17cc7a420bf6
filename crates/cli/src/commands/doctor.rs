use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::output;
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::KernelSet;
use placement::{Machine, bytes_text};
use serde::Serialize;
use std::path::Path;

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
pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let found = args.model.as_deref().map(|model| checkpoint::locate(model, &search));
    let path = match &found {
        Some(Ok(path)) => path.clone(),
        _ => std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned()),
    };
    let machine = device::probe::probe(&path);
    let (host_available_bytes, host_limited_by) = machine.host.really_available();
    let problem = match found {
        None => None,
        Some(Err(error)) => Some(Failure::from(error)),
        Some(Ok(path)) => Checkpoint::open(&path).err().map(Failure::from),
    };
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
    output::line(&format!("cores         {}, {} kernels", host.cores, d.kernel_set))?;
    output::line(&format!(
        "disk          {}{}",
        d.machine.disk.file_system,
        if d.machine.disk.network { " (network)" } else { "" }
    ))?;
    output::line(&format!("GPUs          {}", if d.machine.gpus.is_empty() { "none" } else { "some" }))?;
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
