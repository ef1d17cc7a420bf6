//! Where a model of an experiment fits: this machine and the ones that machine files describe.

use crate::args::PlacementArgs;
use crate::failure::Failure;
use crate::session;
use checkpoint::Checkpoint;
use experiment::Config;
use experiment::slurm::TaskResources;
use placement::{Machine, Plan, Tier, short_text};
use serde::Serialize;

/// How a model fits a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// All weights are on GPUs.
    Gpus,
    /// Some weights are on GPUs, the others in host memory or on disk.
    Spills,
    /// All weights are in host memory.
    Host,
    /// Some weights stay on disk.
    Disk,
    /// No plan fits.
    No,
}

/// A model on one machine.
#[derive(Debug, Serialize)]
pub struct MachineFit {
    /// The machine file, or `this machine`.
    pub machine: String,
    pub fit: Fit,
    /// The resources of one task: the fewest GPUs that hold the whole model, or all.
    #[serde(flatten)]
    pub resources: TaskResources,
    /// Bytes of weights off the GPUs where GPUs are used, and bytes on disk.
    pub off_gpus_bytes: u64,
    pub on_disk_bytes: u64,
    /// What the planner notes, such as the part of a model that no GPU kernel computes.
    pub notes: Vec<String>,
    /// Why no plan fits.
    pub problem: Option<String>,
}

impl MachineFit {
    /// Plans a model of the experiment for a machine.
    pub fn of(
        config: &Config,
        name: &str,
        checkpoint: &Checkpoint,
        jobs: usize,
        label: &str,
        machine: &Machine,
    ) -> MachineFit {
        let mut fit = MachineFit {
            machine: label.to_owned(),
            fit: Fit::No,
            resources: TaskResources::default(),
            off_gpus_bytes: 0,
            on_disk_bytes: 0,
            notes: Vec::new(),
            problem: None,
        };
        match smallest(config, name, checkpoint, jobs, machine) {
            Ok((resources, plan)) => fit.take(resources, &plan),
            Err(failure) => fit.problem = Some(failure.text),
        }
        fit
    }

    fn take(&mut self, resources: TaskResources, plan: &Plan) {
        self.resources = resources;
        let weights = |on: fn(Tier) -> bool| -> u64 {
            let tiers = plan.tiers.iter().filter(|tier| on(tier.tier));
            tiers.map(|tier| tier.weights_bytes).sum()
        };
        let in_host = weights(|tier| tier == Tier::Cpu);
        self.on_disk_bytes = weights(|tier| tier == Tier::Disk);
        self.notes.clone_from(&plan.warnings);
        let on_gpus = weights(|tier| tier.is_gpu()) > 0;
        self.off_gpus_bytes = if on_gpus { in_host + self.on_disk_bytes } else { 0 };
        self.fit = match (on_gpus, in_host > 0, self.on_disk_bytes > 0) {
            (true, false, false) => Fit::Gpus,
            (true, _, _) => Fit::Spills,
            (false, _, true) => Fit::Disk,
            (false, _, false) => Fit::Host,
        };
    }
}

/// The fewest GPUs of a machine that hold the whole model (all of them if it does not fit on them)
/// and the bytes of host memory that the plan uses besides, with the plan.
///
/// # Errors
/// `Usage`, or `OutOfMemory` if no plan fits.
pub fn smallest(
    config: &Config,
    name: &str,
    checkpoint: &Checkpoint,
    jobs: usize,
    machine: &Machine,
) -> Result<(TaskResources, Plan), Failure> {
    let settings = config.model_settings(name, jobs);
    let args = PlacementArgs {
        model: name.to_string(),
        machine: None,
        max_memory: settings.max_memory,
        device_map: settings.device_map.unwrap_or_else(|| "auto".into()),
        dtype: settings.dtype,
        kv_dtype: settings.kv_dtype,
        context: Some(checkpoint.config.max_positions.min(settings.context_length as usize)),
        concurrency: jobs,
        devices: None,
        fallback: "keep".into(),
    };
    let mut machine = machine.clone();
    let all = std::mem::take(&mut machine.gpus);
    let mut last = None;
    for gpus in usize::from(!all.is_empty())..=all.len() {
        machine.gpus = all[..gpus].to_vec();
        let planned = session::plan_on(&args, checkpoint, &machine);
        let fits = planned.as_ref().is_ok_and(|ladder| ladder.plan.spill.is_none());
        last = Some((gpus, planned));
        if fits {
            break;
        }
    }
    let (gpus, ladder) = last.ok_or_else(|| Failure::software("no plan was tried"))?;
    let plan =
        ladder.map_err(|f| Failure::new(f.kind, format!("on {gpus} GPUs: {}", f.text)))?.plan;
    let host = plan.tiers.iter().filter(|tier| tier.tier == Tier::Cpu);
    let host_bytes = host.map(|tier| tier.total_bytes()).sum();
    Ok((TaskResources { gpus: gpus as u64, host_bytes }, plan))
}

impl std::fmt::Display for MachineFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TaskResources { gpus, host_bytes } = self.resources;
        let gpus = format!("{gpus} GPU{}", if gpus == 1 { "" } else { "s" });
        let host = short_text(host_bytes);
        write!(f, "{}: ", self.machine)?;
        match self.fit {
            Fit::Gpus => write!(f, "fits on {gpus}, with {host} of host memory")?,
            Fit::Spills => {
                let off = short_text(self.off_gpus_bytes);
                write!(
                    f,
                    "runs on {gpus} and the CPU, {off} of weights off the GPUs, with {host} of host memory"
                )?;
            }
            Fit::Host => write!(f, "fits in host memory: {host}")?,
            Fit::Disk => write!(f, "runs with {host} of host memory and disk reads")?,
            Fit::No => write!(f, "does not fit")?,
        }
        if self.on_disk_bytes > 0 {
            write!(f, ", {} of weights on disk", short_text(self.on_disk_bytes))?;
        }
        match &self.problem {
            Some(problem) => write!(f, ": {}", problem.lines().next().unwrap_or_default()),
            None => Ok(()),
        }
    }
}
