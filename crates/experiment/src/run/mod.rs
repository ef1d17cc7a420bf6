//! Runs, from the queue to the commit.

mod attempt;
mod claimed_elsewhere;
pub(crate) mod episode;
mod events;
mod experiment;
mod limits;
pub(crate) mod record;
pub(crate) mod retrace;

pub use events::{EventSink, RunEvent, StepFigures};
pub use experiment::{ExperimentSummary, RunOptions, SCRIPTED, prepare_experiment, run_experiment};
