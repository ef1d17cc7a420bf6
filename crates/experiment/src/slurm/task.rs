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
/// Memory of a task that comes back after it ran out of memory, as a multiple of the first.
const MORE_MEMORY: u64 = 2;
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
    /// Number of GPUs of each task; `None` if the model's shape is not known.
    pub gpus: Option<u64>,
    /// Number of CPU cores of each task.
    pub cpus: u64,
    /// Host memory of each task in MiB; `None` if the model's shape is not known.
    pub memory_mib: Option<u64>,
    /// Host memory in MiB of a task that comes back after it ran out of memory; `None` if the node
    /// has no more.
    pub more_memory_mib: Option<u64>,
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
    /// `None` if the model's shape is not known.
    pub resources: Option<TaskResources>,
    pub estimate: Option<&'a ModelEstimate>,
    /// Number of tasks; `None` derives it from the estimate.
    pub tasks: Option<usize>,
    /// Number of concurrent runs in each task.
    pub jobs: usize,
}

/// Sizes the tasks of a model within the limits of the site. `site` has the settings of this model
/// ([`Site::for_model`]).
pub fn model_tasks(request: TaskRequest<'_>, site: &Site) -> ModelTasks {
    let TaskRequest { model, runs, resources, estimate, tasks, jobs } = request;
    let hours_estimated = estimate.and_then(|cost| cost.hours);
    let with_margin = hours_estimated.map(|hours| hours * HOURS_MARGIN);
    let job_hours = site.hours.unwrap_or(site.hours_max);
    let suggested = with_margin.map_or(1, |hours| (hours / job_hours).ceil() as usize);
    // More tasks than runs would leave some of them idle.
    let tasks = tasks.unwrap_or(suggested.min(site.tasks_max)).clamp(1, runs.max(1));
    let of_estimate = with_margin
        .map_or(site.hours_max, |hours| (hours / tasks as f64).clamp(HOURS_MIN, f64::INFINITY));
    let hours = site.hours.unwrap_or(of_estimate).min(site.hours_max);
    let memory = memory_bytes(resources, site);
    let node = site.memory_per_node_gb.map_or(u64::MAX, |gb| (gb * 1e9) as u64);
    let more = memory.map(|bytes| bytes.saturating_mul(MORE_MEMORY).min(node).div_ceil(MIB));
    let memory_mib = memory.map(|bytes| bytes.div_ceil(MIB));
    ModelTasks {
        model: model.to_string(),
        runs,
        tasks,
        jobs,
        gpus: resources.map(|resources| resources.gpus),
        cpus: site.cpus_per_task,
        memory_mib,
        more_memory_mib: more.filter(|more| Some(*more) > memory_mib),
        minutes: (hours * 60.0).ceil().max(1.0) as u64,
        hours_estimated,
    }
}

/// Host memory of a task in bytes: as the site says, else as the plan needs, at most a node's.
fn memory_bytes(resources: Option<TaskResources>, site: &Site) -> Option<u64> {
    if let Some(gb) = site.memory_gb {
        return Some((gb * 1e9) as u64);
    }
    let needed = resources?.host_bytes + PROGRAM_BYTES;
    Some(site.memory_per_node_gb.map_or(needed, |gb| needed.min((gb * 1e9) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(runs: usize) -> TaskRequest<'static> {
        let resources = Some(TaskResources::default());
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
        let resources = Some(TaskResources { gpus: 2, host_bytes: 1 << 40 });
        let sized = model_tasks(TaskRequest { resources, tasks: Some(12), ..request(3) }, &site);
        assert_eq!(
            (sized.tasks, sized.gpus, sized.memory_mib),
            (3, Some(2), Some(64_000_000_000u64.div_ceil(MIB)))
        );
        assert_eq!(sized.more_memory_mib, None, "the node has no more");
    }

    #[test]
    fn the_sites_request_goes_before_the_estimate_and_memory_doubles_up_to_the_nodes() {
        let site = Site {
            memory_gb: Some(3.0),
            memory_per_node_gb: Some(5.0),
            hours: Some(2.0),
            ..Site::default()
        };
        let cost = ModelEstimate { hours: Some(4.0), ..ModelEstimate::default() };
        let sized = model_tasks(TaskRequest { estimate: Some(&cost), ..request(50) }, &site);
        assert_eq!((sized.tasks, sized.minutes), (3, 120));
        let mib = |bytes: u64| Some(bytes.div_ceil(MIB));
        assert_eq!(sized.memory_mib, mib(3_000_000_000));
        assert_eq!(sized.more_memory_mib, mib(5_000_000_000));
        let unknown = model_tasks(TaskRequest { resources: None, ..request(5) }, &Site::default());
        assert_eq!((unknown.gpus, unknown.memory_mib, unknown.more_memory_mib), (None, None, None));
    }
}
