//! Carrying out runs, from the queue to the commit.
//!
//! ```text
//! experiment     run_experiment: plan, skip finished runs, one model group after the other
//! model_group    opens the model of a group and starts its threads
//! queue          RunQueue: threads take runs from it and report outcomes
//! claimed_elsewhere   runs that other processes have claimed
//! attempt        one run: claim, replay of earlier rows, steps, commit
//! episode        the pure state machine of a run: replies in, rows out
//! external       a run whose replies come step by step from another program
//! retrace        recomputes a recorded step and compares it with its row
//! record         RunAccumulator: rows -> the run's record
//! limits, events, options, summary
//! ```

mod attempt;
mod claimed_elsewhere;
pub(crate) mod episode;
mod events;
mod experiment;
mod external;
mod limits;
mod model_group;
mod options;
mod queue;
pub(crate) mod record;
pub(crate) mod retrace;
mod summary;

pub use events::{EventSink, RunEvent, StepFigures};
pub(crate) use experiment::experiment_record;
pub use experiment::{prepare_experiment, run_experiment};
pub use external::{AgentInterface, ExternalRun, ExternalRunChoice};
pub use options::{RunOptions, SCRIPTED};
pub use summary::{ExperimentOutcome, ExperimentSummary};
