use super::submit;
use crate::args::StatusArgs;
use crate::failure::Failure;
use crate::output;
use crate::slurm::{self, SlurmJob};
use results::{Status, Store, status};
use serde::Serialize;
use std::collections::BTreeMap;

/// `vendomini status`: how far an experiment is.
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
        output::line(&format!("  {}", pace(&status)))?;
    }
    for (outcome, runs) in &status.outcomes {
        output::line(&format!("  {outcome}: {runs}"))?;
    }
    for (run, failure) in &status.failures {
        output::line(&format!("  failed {run}: {}", failure.reason))?;
    }
    if let Some(submitted) = submitted(&args.dir)? {
        tell(&submitted)?;
    }
    Ok(0)
}

/// How fast it goes and how long it will take, in words.
fn pace(status: &Status) -> String {
    let Some(steps) = status.throughput.steps_per_s else {
        return "nothing was done in the last minutes".to_owned();
    };
    let tokens = status.throughput.reply_tokens_per_s.filter(|rate| *rate > 0.0);
    let tokens = tokens.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
    let eta =
        status.eta_s.map_or(String::new(), |eta_s| format!(", about {} to go", duration(eta_s)));
    format!("{} processes, {steps:.2} steps/s{tokens}{eta}", status.throughput.processes)
}

/// Days, hours and minutes, the two that matter.
fn duration(seconds: f64) -> String {
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
    slurm: Option<Submitted>,
}

/// What Slurm says of the jobs that were submitted for an experiment.
#[derive(Serialize)]
struct Submitted {
    /// Array ids.
    arrays: Vec<u64>,
    /// Those that are queued or running.
    jobs: Vec<SlurmJob>,
    /// Why Slurm could not be asked.
    problem: Option<String>,
}

fn submitted(folder: &std::path::Path) -> Result<Option<Submitted>, Failure> {
    let mut arrays: Vec<u64> = submit::submissions(folder)?.into_iter().map(|s| s.job).collect();
    if arrays.is_empty() {
        return Ok(None);
    }
    arrays.sort_unstable();
    // How far the runs are is known without Slurm; that it does not answer is told beside it.
    Ok(Some(match slurm::queue() {
        Ok(mut jobs) => {
            jobs.retain(|job| arrays.binary_search(&job.array).is_ok());
            Submitted { arrays, jobs, problem: None }
        }
        Err(failure) => Submitted { arrays, jobs: Vec::new(), problem: Some(failure.text) },
    }))
}

fn tell(submitted: &Submitted) -> Result<(), Failure> {
    if let Some(problem) = &submitted.problem {
        return output::line(&format!("  Slurm: {problem}"));
    }
    let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for job in &submitted.jobs {
        *states.entry((&job.state, &job.reason)).or_default() += 1;
    }
    if states.is_empty() {
        output::line("  Slurm: none of its jobs is queued or running")?;
    }
    for ((state, reason), count) in states {
        let why =
            if matches!(reason, "None" | "") { String::new() } else { format!(" ({reason})") };
        output::line(&format!("  Slurm: {count} {}{why}", state.to_lowercase()))?;
    }
    Ok(())
}
