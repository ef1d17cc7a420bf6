use super::run::JOBS_DEFAULT;
use crate::args::DoctorArgs;
use crate::cards::{CardsSeen, cards_seen};
use crate::failure::Failure;
use crate::needs::{self, Need};
use crate::output;
use checkpoint::{Checkpoint, SearchPaths};
use device::cpu::KernelSet;
use experiment::Config;
use placement::{Machine, bytes_text};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Document {
    machine: Machine,
    host_available_bytes: u64,
    host_limited_by: String,
    kernel_set: String,
    cards: CardsSeen,
    search: Vec<String>,
    model: Option<String>,
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<Vec<Need>>,
}

/// `vendomini doctor`: devices, limits, caches, and what would stop a load.
pub fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let search = SearchPaths::from_env();
    let needs = needed(args)?;
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
        cards: cards_seen(Path::new("/proc"), &|name| std::env::var(name).ok()),
        search: search.hub_caches.iter().chain(&search.model_folders).map(|p| p.display().to_string()).collect(),
        model: args.model.clone(),
        problem: problem.as_ref().map(|p| p.text.clone()),
        needs,
    };
    if args.json {
        output::json(&document)?;
    } else {
        print(&document)?;
    }
    let missing = document.needs.iter().flatten().find(|need| need.problem.is_some());
    Ok(problem.map(|p| p.exit).or(missing.map(|need| need.exit)).unwrap_or(0))
}

/// What the experiment of `--for` needs.
fn needed(args: &DoctorArgs) -> Result<Option<Vec<Need>>, Failure> {
    let Some(file) = &args.config else { return Ok(None) };
    let config = Config::load(file, &args.set)?;
    config.check().map_err(experiment::ExperimentError::from)?;
    let site = needs::read_site(args.site.as_deref())?;
    Ok(Some(needs::needs(&config, args.jobs.unwrap_or(JOBS_DEFAULT).max(1), &site)))
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
    print_cards(&d.cards)?;
    for note in &d.machine.notes {
        output::line(&format!("note          {note}"))?;
    }
    for place in &d.search {
        output::line(&format!("models        {place}"))?;
    }
    print_needs(d.needs.as_deref())?;
    match (&d.model, &d.problem) {
        (Some(model), Some(problem)) => output::line(&format!("problem       {model}: {problem}")),
        (Some(model), None) => output::line(&format!("model         {model}: its headers are good")),
        (None, _) => Ok(()),
    }
}

/// What a job was given: said apart from the cards that can be opened.
fn print_cards(cards: &CardsSeen) -> Result<(), Failure> {
    if let Some((by, given)) = &cards.allotted {
        output::line(&format!("  allotted    {given} ({by})"))?;
    }
    if let Some(visible) = &cards.cuda_visible_devices {
        output::line(&format!("  visible     CUDA_VISIBLE_DEVICES={visible}"))?;
    }
    for card in &cards.driver {
        output::line(&format!("  in the node {} {} {}", card.bus, card.name, card.uuid))?;
    }
    cards.problems.iter().try_for_each(|problem| output::line(&format!("problem       {problem}")))
}

fn print_needs(needs: Option<&[Need]>) -> Result<(), Failure> {
    if needs.is_some_and(<[Need]>::is_empty) {
        return output::line("needs         no model: its operators are scripted");
    }
    for need in needs.into_iter().flatten() {
        let word = if need.problem.is_some() { "problem" } else { "needs" };
        output::line(&format!("{word:13} {need}"))?;
    }
    Ok(())
}
