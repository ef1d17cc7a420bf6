//! Configuration -> cells -> runs, and the agent's side of each run.
//!
//! ```text
//! provider/         turns a prompt into a reply: a server (`remote`), a log (`replay`);
//!                   the engine's provider is in `cli`
//! error, identity   errors; run ids and seeds, derived from content
//! parallel          work on all cores
//! agent/            prompts, the conversation, parsing of replies
//! config/           strict keys, typed at load: `Config::load` -> `Cell`s -> `PlannedRun`s
//! measures/         measures of an agent's replies: calibration, similarity of summaries
//! run/              `run_experiment`: the queue of runs, attempts, and the pure `Episode`
//! checks/           audit, cost and power of a configuration; replay and crash detection of runs
//! tables/           tables of results with fixed columns, and their documentation
//! inspect/          an experiment as logs of Inspect
//! slurm/            an experiment as Slurm jobs
//! ```
//!
//! Each module imports only modules of the lines above its own. A reply that cannot be parsed is an
//! outcome of the study. A provider's failure is never recorded as data: it makes the run failed,
//! to be retried.

mod agent;
mod checks;
mod config;
mod error;
mod identity;
mod inspect;
mod measures;
mod provider;
mod run;
pub mod slurm;
mod tables;

pub use agent::prompt::{reply_schema, system_prompt, template_tools};
pub use agent::{AgentAction, HistoryPolicy, ReplyMode, read_reply};
pub use checks::{
    AnalysisPower, AssumedValue, AssumptionSource, AuditReport, CellPlay, CostRates, DeadFactor,
    DesignCost, DetectionReport, DoseExposure, Estimate, ModelEstimate, PairedReplies,
    PowerOptions, PowerReport, QUALIFYING_STEPS, QUALIFYING_WORLDS, Qualification, QualifyingRun,
    ReplayReport, SearchedDesign, WORLDS_MIN, audit, estimate, paired_replies, play_cells, power,
    qualification, qualification_name, qualifying_config, replay, replay_all, rerun_detectors,
};
pub use config::{Cell, CellChoice, Config, GridCounts, PlannedRun, config_schema, describe_keys};
pub use error::{ConfigProblem, ExperimentError, SourceLocation};
pub use inspect::{InspectSummary, export_inspect};
pub use measures::{Calibration, CalibrationBin};
pub use provider::remote::RemoteProvider;
pub use provider::replay::ReplayProvider;
pub use provider::{
    Finish, ModelSettings, ModelThinking, NoModels, Provider, ProviderError, ProviderFactory,
    ProviderInfo, Reply, ReplyRequest, ServerSettings,
};
pub use run::{
    AgentInterface, EventSink, ExperimentOutcome, ExperimentSummary, ExternalRun,
    ExternalRunChoice, RunEvent, RunOptions, SCRIPTED, StepFigures, prepare_experiment,
    run_experiment,
};
pub use tables::{
    ColumnDoc, ExportOptions, ExportSummary, ExportTable, TableDoc, export, observed_study,
    simulate, simulated_study,
};
