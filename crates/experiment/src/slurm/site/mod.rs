//! Settings of a Slurm cluster.

mod keys;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use super::sbatch_option::SbatchOption;
use pattern::matches;
use serde_json::Value;

/// Settings that differ between clusters, read from a YAML file. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Value of sbatch's `--account`.
    pub account: Option<String>,
    /// Value of sbatch's `--partition`.
    pub partition: Option<String>,
    /// Value of sbatch's `--qos`.
    pub qos: Option<String>,
    /// Value of sbatch's `--constraint`.
    pub constraint: Option<String>,
    /// Value of sbatch's `--reservation`.
    pub reservation: Option<String>,
    /// Value of sbatch's `--exclude`.
    pub exclude: Option<String>,
    /// Value of sbatch's `--nodelist`.
    pub nodelist: Option<String>,
    /// Mails that Slurm sends about the jobs.
    pub mail: Option<Mail>,
    /// Further options of sbatch. None of them contradicts an option that the program sets.
    pub sbatch: Vec<SbatchOption>,
    /// Environment modules that the script loads with `module load`.
    pub modules: Vec<String>,
    /// Lines of bash that the script executes before the program.
    pub setup: Vec<String>,
    /// Lines of bash that the script executes after the program, however it ended.
    pub teardown: Vec<String>,
    /// Value of the variable `HF_HOME` on the nodes.
    pub hf_home: Option<String>,
    /// Slurm's name of the GPU type, such as `a100` in `--gres=gpu:a100:2`.
    pub gpu_type: Option<String>,
    /// The option of sbatch that asks for GPUs.
    pub gpu_option: GpuOption,
    /// Path of a machine file that describes a node, for which the placement of models is planned.
    /// `None` plans for the machine that submits the jobs.
    pub machine: Option<String>,
    /// Number of CPU cores of a task.
    pub cpus_per_task: u64,
    /// Memory of a task in GB; `None`: what the plan of its model needs.
    pub memory_gb: Option<f64>,
    /// Maximum memory of a task on a node, in GB.
    pub memory_per_node_gb: Option<f64>,
    /// Time limit of a job in hours; `None`: from the estimate.
    pub hours: Option<f64>,
    /// Maximum time limit of a job, in hours.
    pub hours_max: f64,
    /// Maximum number of tasks of one model.
    pub tasks_max: usize,
    /// Maximum number of tasks of one array that run at a time.
    pub array_throttle: Option<u64>,
    /// Maximum number of submitted jobs of a user. Needed on clusters where Slurm's accounting does
    /// not report MaxSubmitJobs, or to submit fewer jobs.
    pub submit_jobs_max: Option<usize>,
    /// Maximum size of a job array, if it is to be smaller than Slurm's MaxArraySize.
    pub array_size_max: Option<usize>,
    /// Whether a job may requeue itself. Otherwise it submits a successor job.
    pub requeue: bool,
    /// Seconds before the end of a job at which Slurm signals it to save its state.
    pub signal_lead_s: u64,
    /// Settings of some models, in the order of the file.
    pub(super) models: Vec<ModelOverride>,
}

/// The option of sbatch that asks for GPUs. Clusters differ in which one they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GpuOption {
    /// `--gres=gpu:a100:2`
    #[default]
    Gres,
    /// `--gpus-per-node=a100:2`
    GpusPerNode,
    /// `--gpus=a100:2`
    Gpus,
}

/// Mails that Slurm sends about the jobs of an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// Value of `--mail-user`; `None`: Slurm's default, the user who submits.
    pub user: Option<String>,
    /// Values of `--mail-type`.
    pub types: Vec<String>,
}

/// Settings that replace the site's for models whose name matches a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelOverride {
    /// A name, in which `*` stands for any characters and `?` for one.
    pattern: String,
    /// Keys of the site file and their values, which were checked.
    settings: Vec<(String, Value)>,
}

impl Default for Site {
    fn default() -> Self {
        Site {
            account: None,
            partition: None,
            qos: None,
            constraint: None,
            reservation: None,
            exclude: None,
            nodelist: None,
            mail: None,
            sbatch: Vec::new(),
            modules: Vec::new(),
            setup: Vec::new(),
            teardown: Vec::new(),
            hf_home: None,
            gpu_type: None,
            gpu_option: GpuOption::default(),
            machine: None,
            cpus_per_task: 8,
            memory_gb: None,
            memory_per_node_gb: None,
            hours: None,
            hours_max: 24.0,
            tasks_max: 16,
            array_throttle: None,
            submit_jobs_max: None,
            array_size_max: None,
            requeue: true,
            signal_lead_s: 120,
            models: Vec::new(),
        }
    }
}

impl Site {
    /// The settings of one model's tasks: those of the site, replaced by those of each entry of
    /// `models` that matches the model's name, in the order of the file. `sbatch` and `setup` of an
    /// entry are added to the site's.
    ///
    /// # Errors
    /// Two entries of `models` contradict each other; the text names the keys.
    pub fn for_model(&self, model: &str) -> Result<Site, String> {
        let mut site = Site { models: Vec::new(), ..self.clone() };
        let found = self.models.iter().filter(|entry| matches(&entry.pattern, model));
        for entry in found.clone() {
            for (key, value) in &entry.settings {
                site.set(key, value).map_err(|why| format!("{key}: {why}"))?;
            }
        }
        site.check().map_err(|wrong| {
            let patterns: Vec<&str> = found.map(|entry| entry.pattern.as_str()).collect();
            format!("models entries {} for {model}: {}", patterns.join(", "), wrong.why)
        })?;
        Ok(site)
    }
}
