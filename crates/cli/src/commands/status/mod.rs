//! `vendomini status`: shows an experiment's progress.

mod watch;

use crate::args::StatusArgs;
use crate::efficiency::{Efficiency, efficiency};
use crate::failure::Failure;
use crate::output;
use crate::slurm::{self, SlurmJob};
use crate::submissions::submissions;
use results::{Status, Store, status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub fn run(args: &StatusArgs, plain: bool) -> Result<u8, Failure> {
    let store = Store::open(&args.dir)?;
    if let Some(interval_s) = args.watch {
        return watch::run(&store, interval_s, plain);
    }
    let progress = Progress::of(&store)?;
    let efficiency = match args.efficiency {
        true => Some(efficiency(store.root())?),
        false => None,
    };
    if args.json {
        let Progress { status, slurm } = progress;
        output::json(&StatusDocument { status, slurm, efficiency })?;
        return Ok(0);
    }
    output::part(&progress.text(&store.experiment().name))?;
    if let Some(efficiency) = efficiency {
        output::part(&efficiency.to_string())?;
    }
    Ok(0)
}

/// An experiment's progress, from its folder and from Slurm.
struct Progress {
    status: Status,
    slurm: Option<SubmittedJobs>,
}

impl Progress {
    fn of(store: &Store) -> Result<Progress, Failure> {
        Ok(Progress { status: status(store)?, slurm: submitted(store.root())? })
    }

    /// Whether a run is worked on, or a job is queued or runs.
    fn is_active(&self) -> bool {
        let jobs = self.slurm.as_ref().is_some_and(|slurm| !slurm.jobs.is_empty());
        self.status.running > 0 || jobs
    }

    /// The first line: how many runs are done.
    fn summary(&self, name: &str) -> String {
        let status = &self.status;
        format!(
            "{name}: {} of {} runs done, {} running, {} begun and waiting, {} failed, {} left",
            status.done,
            status.total,
            status.running,
            status.begun - status.running,
            status.failed,
            status.left
        )
    }

    /// All lines, each with its line break.
    fn text(&self, name: &str) -> String {
        let status = &self.status;
        let mut text = self.summary(name) + "\n";
        let mut line = |line: String| {
            let _infallible = writeln!(text, "  {line}");
        };
        if status.done < status.total {
            line(pace_text(status));
        }
        status.outcomes.iter().for_each(|(outcome, runs)| line(format!("{outcome}: {runs}")));
        for (run, failure) in &status.failures {
            line(format!("failed {run}: {}", failure.reason));
        }
        self.slurm.iter().flat_map(jobs_text).for_each(line);
        text
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    efficiency: Option<Efficiency>,
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
    let mut arrays: Vec<u64> = submissions(folder)?.into_iter().map(|s| s.job).collect();
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

/// Lines about the jobs in Slurm.
fn jobs_text(submitted: &SubmittedJobs) -> Vec<String> {
    if let Some(problem) = &submitted.problem {
        return vec![format!("Slurm: {problem}")];
    }
    let mut states: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for job in &submitted.jobs {
        *states.entry((&job.state, &job.reason)).or_default() += 1;
    }
    if states.is_empty() {
        return vec!["Slurm: no job queued or running".to_owned()];
    }
    let one = |((state, reason), count): ((&str, &str), usize)| {
        let why =
            if matches!(reason, "None" | "") { String::new() } else { format!(" ({reason})") };
        format!("Slurm: {count} {}{why}", state.to_lowercase())
    };
    states.into_iter().map(one).collect()
}
