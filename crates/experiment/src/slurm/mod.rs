//! An experiment as Slurm jobs: resources of each model's tasks, job arrays, and sbatch scripts.
//! This module computes only; `cli` submits the jobs.

mod array;
mod sbatch_option;
mod script;
mod site;
mod task;

pub use array::{TaskArray, split_into_arrays};
pub use sbatch_option::SbatchOption;
pub use script::{ScriptPaths, script};
pub use site::{GpuOption, Mail, Site};
pub use task::{ModelTasks, TaskRequest, TaskResources, model_tasks};
