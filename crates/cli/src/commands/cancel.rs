//! `vendomini cancel`: cancels the Slurm jobs of an experiment.

use crate::args::CancelArgs;
use crate::failure::Failure;
use crate::output;
use crate::slurm::{self, SlurmJob};
use crate::submissions::submissions;
use results::Store;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Rounds of asking and canceling. A job that ends just then may submit a job that goes on with its
/// task, which the next round finds.
const ROUNDS_MAX: usize = 5;
/// Time between rounds, in which Slurm takes in what was canceled.
const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// A canceled task of a job array.
#[derive(Debug, Serialize)]
struct CanceledTask {
    #[serde(flatten)]
    job: SlurmJob,
    model: String,
}

#[derive(Serialize)]
struct CancelDocument {
    canceled: Vec<CanceledTask>,
}

pub fn run(args: &CancelArgs) -> Result<u8, Failure> {
    let store = Store::open(&args.dir)?;
    let canceled = cancel(store.root())?;
    if args.json {
        output::json(&CancelDocument { canceled })?;
        return Ok(0);
    }
    let mut counts: BTreeMap<(u64, &str, String), usize> = BTreeMap::new();
    for task in &canceled {
        let state = task.job.state.to_lowercase();
        *counts.entry((task.job.array, &task.model, state)).or_default() += 1;
    }
    if counts.is_empty() {
        return output::line("nothing is queued or runs: nothing to cancel").map(|()| 0);
    }
    for ((job, model, state), tasks) in counts {
        output::line(&format!("canceled job {job}: {tasks} {state} ({model})"))?;
    }
    output::line("every step of the runs is on disk; the same submit command continues them")?;
    Ok(0)
}

/// Cancels all tasks of an experiment's arrays that are queued or run, also those that jobs submit
/// meanwhile. Returns them in the state that they had.
fn cancel(folder: &Path) -> Result<Vec<CanceledTask>, Failure> {
    let mut canceled: Vec<CanceledTask> = Vec::new();
    for round in 0..ROUNDS_MAX {
        if round > 0 {
            std::thread::sleep(ROUND_PAUSE);
        }
        let models: BTreeMap<u64, String> =
            submissions(folder)?.into_iter().map(|s| (s.job, s.model)).collect();
        if models.is_empty() {
            break;
        }
        let mut active = slurm::queue()?;
        active.retain(|job| job.is_active() && models.contains_key(&job.array));
        if active.is_empty() {
            break;
        }
        let arrays: BTreeSet<u64> = active.iter().map(|job| job.array).collect();
        let arrays: Vec<String> = arrays.iter().map(u64::to_string).collect();
        if let Err(failure) = slurm::call("scancel", &arrays) {
            // A job that ended since it was listed is an error to scancel; the next round tells.
            if round + 1 == ROUNDS_MAX {
                return Err(failure);
            }
        }
        for job in active {
            let model = models.get(&job.array).cloned().unwrap_or_default();
            if !canceled.iter().any(|task| task.job.id == job.id) {
                canceled.push(CanceledTask { job, model });
            }
        }
    }
    Ok(canceled)
}
