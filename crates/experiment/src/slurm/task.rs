use super::Site;
use crate::checks::ModelEstimate;
use serde::Serialize;

/// The least and the share more than estimated that a job asks for, in hours.
const HOURS_MIN: f64 = 0.5;
const HOURS_MARGIN: f64 = 1.5;
/// What the program takes beside a model.
const PROGRAM_BYTES: u64 = 2 << 30;
/// Slurm counts in MiB.
const MIB: u64 = 1 << 20;

/// What a plan says that one task needs; nothing for scripted operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TaskResources {
    /// Cards.
    pub gpus: u64,
    /// Bytes of host memory.
    pub host_bytes: u64,
}

/// The tasks of one model: each loads it once and takes runs until none is left.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelTasks {
    /// The model, or [`crate::SCRIPTED`].
    pub model: String,
    /// Its runs, done or not.
    pub runs: usize,
    /// How many tasks.
    pub tasks: usize,
    /// Runs in flight in each.
    pub jobs: usize,
    /// Cards of each.
    pub gpus: u64,
    /// Cores of each.
    pub cpus: u64,
    /// Memory of each.
    pub memory_mib: u64,
    /// The job's limit.
    pub minutes: u64,
    /// Hours that all runs are estimated to take on one task; none where the model's size is
    /// unknown.
    pub hours_estimated: Option<f64>,
}

/// Sizes the tasks of a model with so many `runs`. `tasks` overrides the count that the estimate
/// suggests.
pub fn model_tasks(
    (model, runs): (&str, usize),
    fit: TaskResources,
    estimate: Option<&ModelEstimate>,
    (tasks, jobs): (Option<usize>, usize),
    site: &Site,
) -> ModelTasks {
    let hours_estimated = estimate.and_then(|cost| cost.hours);
    let with_margin = hours_estimated.map(|hours| hours * HOURS_MARGIN);
    let suggested = with_margin.map_or(1, |hours| (hours / site.hours_max).ceil() as usize);
    // More tasks than runs would stand idle.
    let tasks = tasks.unwrap_or(suggested.min(site.tasks_max)).clamp(1, runs.max(1));
    let hours = with_margin
        .map_or(site.hours_max, |hours| (hours / tasks as f64).clamp(HOURS_MIN, f64::INFINITY));
    let needed = fit.host_bytes + PROGRAM_BYTES;
    let bytes = site.memory_per_node_gb.map_or(needed, |gb| needed.min((gb * 1e9) as u64));
    ModelTasks {
        model: model.to_string(),
        runs,
        tasks,
        jobs,
        gpus: fit.gpus,
        cpus: site.cpus_per_task,
        memory_mib: bytes.div_ceil(MIB),
        minutes: (hours.min(site.hours_max) * 60.0).ceil().max(1.0) as u64,
        hours_estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(hours: f64) -> ModelEstimate {
        ModelEstimate { hours: Some(hours), ..ModelEstimate::default() }
    }

    #[test]
    fn hours_are_spread_over_tasks_within_the_sites_limits() {
        let site = Site { hours_max: 10.0, tasks_max: 4, ..Site::default() };
        let sized = |hours: f64| {
            model_tasks(("m", 500), TaskResources::default(), Some(&cost(hours)), (None, 16), &site)
        };
        assert_eq!((sized(0.01).tasks, sized(0.01).minutes), (1, 30));
        assert_eq!((sized(12.0).tasks, sized(12.0).minutes), (2, 540));
        assert_eq!(
            (sized(900.0).tasks, sized(900.0).minutes),
            (4, 600),
            "requeued until all is done"
        );
    }

    #[test]
    fn no_task_without_a_run_and_no_more_memory_than_a_node_has() {
        let site = Site { memory_per_node_gb: Some(64.0), ..Site::default() };
        let fit = TaskResources { gpus: 2, host_bytes: 1 << 40 };
        let sized = model_tasks(("m", 3), fit, None, (Some(12), 4), &site);
        assert_eq!(
            (sized.tasks, sized.gpus, sized.memory_mib),
            (3, 2, 64_000_000_000u64.div_ceil(MIB))
        );
    }
}
