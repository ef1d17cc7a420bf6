//! An experiment as Slurm jobs: what to ask for and the script that says it. Pure; who submits it
//! is elsewhere.

mod array;
mod script;
mod site;
mod task;

pub use array::{TaskArray, split_into_arrays};
pub use script::{ScriptPaths, script};
pub use site::Site;
pub use task::{ModelTasks, TaskResources, model_tasks};
