//! `vendomini status`: shows an experiment's progress.

use super::submit;
use crate::args::StatusArgs;
use crate::failure::Failure;
use crate::output;
use crate::slurm::{self, SlurmJob};
use results::{Status, Store, status};
use serde::Serialize;
use std::collections::BTreeMap;

pub fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let store = Store::open(&args.dir)?;
    let status = status(&store)?;
    if args.json {
        output::json(&StatusDocument { status, slurm: submitted(&args.dir)? })?;
        return Ok(0);
    }
    output::line(&format!(
        "{}: {} of {} runs done, {} running, {} begun and waiting, {} failed, {} left",
        store.experiment().name,
        status.done,
        status.total,
        status.running,
        status.begun - status.running,
        status.failed,
        status.left
    ))?;
    if status.done < status.total {
        output::line(&format!("  {}", pace_text(&status)))?;
    }
    for (outcome, runs) in &status.outcomes {
        output::line(&format!("  {outcome}: {runs}"))?;
    }
    for (run, failure) in &status.failures {
        output::line(&format!("  failed {run}: {}", failure.reason))?;
    }
    if let Some(submitted) = submitted(&args.dir)? {
        print_jobs(&submitted)?;
    }
    Ok(0)
}

/// The rates of steps and tokens, and the estimated time left.
fn pace_text(status: &Status) -> String {
    let Some(steps) = status.throughput.steps_per_s else {
        return "no progress in the last minutes".to_owned();
    };
    let tokens = status.throughput.reply_tokens_per_s.filter(|rate| *rate > 0.0);
    let tokens = tokens.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
    let eta = status
        .eta_s
        .map_or(String::new(), |eta_s| format!(", about {} left", rough_duration(eta_s)));
    format!("{} processes, {steps:.2} steps/s{tokens}{eta}", status.throughput.processes)
}

/// A duration in its two largest units among days, hours and minutes.
fn rough_duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[derive(Serialize)]
struct StatusDocument {
    #[serde(flatten)]
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    slurm: Option<SubmittedJobs>,
}

/// An experiment's job arrays, and the state of their tasks in Slurm.
#[derive(Serialize)]
struct SubmittedJobs {
    /// Job ids of the arrays.
    arrays: Vec<u64>,
    /// Queued and running tasks of the arrays.
    jobs: Vec<SlurmJob>,
    /// Why Slurm could not be queried; `None` if it was.
    problem: Option<String>,
}

fn submitted(folder: &std::path::Path) -> Result<Option<SubmittedJobs>, Failure> {
    let mut arrays: Vec<u64> = submit::submissions(folder)?.into_iter().map(|s| s.job).collect();
    if arrays.is_empty() {
        return Ok(None);
    }
    arrays.sort_unstable();
    // The progress of the runs is known without Slurm, so a failure of Slurm is reported in the
    // document and not returned.
    Ok(Some(match slurm::queue() {
        Ok(mut jobs) => {
            jobs.retain(|job| arrays.binary_search(&job.array).is_ok());
            SubmittedJobs { arrays, jobs, problem: None }
        }
        Err(failure) => SubmittedJobs { arrays, jobs: Vec::new(), problem: Some(failure.text) },
    }))
}

fn print_jobs(submitted: &SubmittedJobs) -> Result<(), Failure> {
    if let Some(problem) = &submitted.problem {
        return output::line(&format!("  Slurm: {problem}"));
    }
    let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for job in &submitted.jobs {
        *states.entry((&job.state, &job.reason)).or_default() += 1;
    }
    if states.is_empty() {
        output::line("  Slurm: no job queued or running")?;
    }
    for ((state, reason), count) in states {
        let why =
            if matches!(reason, "None" | "") { String::new() } else { format!(" ({reason})") };
        output::line(&format!("  Slurm: {count} {}{why}", state.to_lowercase()))?;
    }
    Ok(())
}
