//! Resources of the tasks that carry out a model's runs.

use super::Site;
use crate::checks::ModelEstimate;
use serde::Serialize;

/// Minimum time limit of a job in hours, unless the site's maximum is lower.
const HOURS_MIN: f64 = 0.5;
/// Time limit of a job as a multiple of the estimated time.
const HOURS_MARGIN: f64 = 1.5;
/// Host memory that the program needs in addition to the model.
const PROGRAM_BYTES: u64 = 2 << 30;
/// Bytes of Slurm's unit of memory.
const MIB: u64 = 1 << 20;

/// Resources that one task needs according to the placement plan of its model; zeros for scripted
/// operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TaskResources {
    pub gpus: u64,
    /// Host memory in bytes.
    pub host_bytes: u64,
}

/// The tasks of one model. Each task loads the model once and takes runs until none is left.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelTasks {
    /// The model's name, or [`crate::SCRIPTED`].
    pub model: String,
    /// Number of the model's runs, committed or not.
    pub runs: usize,
    pub tasks: usize,
    /// Number of concurrent runs in each task.
    pub jobs: usize,
    /// Number of GPUs of each task.
    pub gpus: u64,
    /// Number of CPU cores of each task.
    pub cpus: u64,
    /// Host memory of each task in MiB.
    pub memory_mib: u64,
    /// Time limit of each job in minutes.
    pub minutes: u64,
    /// Estimated hours for all runs in a single task; `None` if the model's size is unknown.
    pub hours_estimated: Option<f64>,
}

/// The runs of one model, for which tasks are to be sized.
#[derive(Debug, Clone, Copy)]
pub struct TaskRequest<'a> {
    /// The model's name, or [`crate::SCRIPTED`].
    pub model: &'a str,
    pub runs: usize,
    pub resources: TaskResources,
    pub estimate: Option<&'a ModelEstimate>,
    /// Number of tasks; `None` derives it from the estimate.
    pub tasks: Option<usize>,
    /// Number of concurrent runs in each task.
    pub jobs: usize,
}

/// Sizes the tasks of a model within the limits of the site.
pub fn model_tasks(request: TaskRequest<'_>, site: &Site) -> ModelTasks {
    let TaskRequest { model, runs, resources, estimate, tasks, jobs } = request;
    let hours_estimated = estimate.and_then(|cost| cost.hours);
    let with_margin = hours_estimated.map(|hours| hours * HOURS_MARGIN);
    let suggested = with_margin.map_or(1, |hours| (hours / site.hours_max).ceil() as usize);
    // More tasks than runs would leave some of them idle.
    let tasks = tasks.unwrap_or(suggested.min(site.tasks_max)).clamp(1, runs.max(1));
    let hours = with_margin
        .map_or(site.hours_max, |hours| (hours / tasks as f64).clamp(HOURS_MIN, f64::INFINITY));
    let needed = resources.host_bytes + PROGRAM_BYTES;
    let bytes = site.memory_per_node_gb.map_or(needed, |gb| needed.min((gb * 1e9) as u64));
    ModelTasks {
        model: model.to_string(),
        runs,
        tasks,
        jobs,
        gpus: resources.gpus,
        cpus: site.cpus_per_task,
        memory_mib: bytes.div_ceil(MIB),
        minutes: (hours.min(site.hours_max) * 60.0).ceil().max(1.0) as u64,
        hours_estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(runs: usize) -> TaskRequest<'static> {
        let resources = TaskResources::default();
        TaskRequest { model: "m", runs, resources, estimate: None, tasks: None, jobs: 16 }
    }

    #[test]
    fn hours_are_spread_over_tasks_within_the_sites_limits() {
        let site = Site { hours_max: 10.0, tasks_max: 4, ..Site::default() };
        let sized = |hours: f64| {
            let cost = ModelEstimate { hours: Some(hours), ..ModelEstimate::default() };
            let tasks = model_tasks(TaskRequest { estimate: Some(&cost), ..request(500) }, &site);
            (tasks.tasks, tasks.minutes)
        };
        assert_eq!(sized(0.01), (1, 30));
        assert_eq!(sized(12.0), (2, 540));
        assert_eq!(sized(900.0), (4, 600), "requeued until all is done");
    }

    #[test]
    fn tasks_do_not_exceed_runs_and_memory_does_not_exceed_the_node() {
        let site = Site { memory_per_node_gb: Some(64.0), ..Site::default() };
        let resources = TaskResources { gpus: 2, host_bytes: 1 << 40 };
        let sized = model_tasks(TaskRequest { resources, tasks: Some(12), ..request(3) }, &site);
        assert_eq!(
            (sized.tasks, sized.gpus, sized.memory_mib),
            (3, 2, 64_000_000_000u64.div_ceil(MIB))
        );
    }
}
