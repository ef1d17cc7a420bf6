//! An experiment as Slurm jobs: what to ask for and the script that says it. Pure; who submits it
//! is elsewhere.

mod chunk;
mod script;
mod site;
mod task;

pub use chunk::{Chunk, chunks};
pub use script::{Places, script};
pub use site::Site;
pub use task::{Fit, ModelTasks, model_tasks};
