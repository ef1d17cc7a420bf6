use super::submit;
use crate::args::StatusArgs;
use crate::failure::Failure;
use crate::output;
use crate::slurm::{self, Job};
use results::{Status, Store, status};
use serde::Serialize;
use std::collections::BTreeMap;

/// `vendomini status`: how far an experiment is.
pub fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let store = Store::open(&args.dir)?;
    let status = status(&store)?;
    if args.json {
        output::json(&Document { status, slurm: submitted(&args.dir)? })?;
        return Ok(0);
    }
    output::line(&format!(
        "{}: {} of {} runs done, {} begun, {} failed, {} left",
        store.experiment().name,
        status.done,
        status.total,
        status.begun,
        status.failed,
        status.left
    ))?;
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

#[derive(Serialize)]
struct Document {
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
    jobs: Vec<Job>,
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
        let why = if matches!(reason, "None" | "") { String::new() } else { format!(" ({reason})") };
        output::line(&format!("  Slurm: {count} {}{why}", state.to_lowercase()))?;
    }
    Ok(())
}
