//! Configuration -> cells -> runs, and the agent's side of each run.
//!
//! ```text
//! Config::load          strict, resolved once           config/
//! Config::runs          cells, replicates, run ids      grid, identity
//! run_experiment        threads, retries, resume        runner, run
//!   Episode             replies in, rows out; pure      episode, agent/
//!   Provider            turns a prompt into a reply     provider; `remote` asks a server, `cli` has the engine
//! replay, redetect, audit                               over what is stored
//! ```
//!
//! A reply that cannot be read is an outcome of its own. A provider's failure makes a run failed,
//! to be tried again, and is never data.

mod agent;
mod audit;
mod calibration;
mod config;
mod episode;
mod error;
mod estimate;
mod events;
mod grid;
mod held;
mod identity;
mod likeness;
mod limits;
mod provider;
mod record;
mod recorded;
mod redetect;
mod remote;
mod replay;
mod run;
mod runner;
pub mod slurm;
mod world_config;

pub use agent::prompt::{reply_schema, system_prompt, template_tools};
pub use agent::{Call, History, ReplyMode, read_reply};
pub use audit::{AuditReport, DeadFactor, audit};
pub use calibration::{Bin, Calibration};
pub use config::{Config, Place, describe_keys};
pub use error::{ConfigProblem, ExperimentError};
pub use estimate::{Estimate, ModelEstimate, Rates, estimate};
pub use events::{Event, EventSink, StepFigures};
pub use grid::{Cell, GridCounts, PlannedRun};
pub use provider::{
    Finish, ModelSettings, NoModels, Provider, ProviderError, ProviderFactory, ProviderInfo, Reply,
    ReplyRequest,
};
pub use recorded::Recorded;
pub use redetect::{Redetected, redetect};
pub use remote::{RemoteProvider, ServerSettings};
pub use replay::{Replayed, replay, replay_all};
pub use runner::{RunOptions, SCRIPTED, Summary, prepare_experiment, run_experiment};
