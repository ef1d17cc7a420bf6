//! Events of a running experiment, for displays and journals.

use crate::config::GridCounts;
use crate::provider::ProviderInfo;
use results::RunRecord;

/// A closed list of what happens while an experiment runs.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The runs are known.
    Planned {
        counts: GridCounts,
        /// Runs committed before.
        done: usize,
        left: usize,
    },
    /// A model is about to be loaded.
    ModelOpening {
        /// As in the configuration.
        name: String,
        /// Number of its runs.
        runs: usize,
    },
    ModelOpened {
        /// As in the configuration.
        name: String,
        info: ProviderInfo,
    },
    /// A run starts or resumes.
    RunStarted {
        run_id: String,
        /// Counted from 1.
        attempt: u64,
        /// Steps of an earlier attempt that were replayed.
        replayed: u64,
        /// The horizon.
        steps_max: u64,
    },
    StepDone(StepFigures),
    /// A run was committed.
    RunFinished {
        record: Box<RunRecord>,
    },
    /// An attempt failed: infrastructure, never data.
    RunFailed {
        run_id: String,
        reason: String,
        /// Whether this command will retry it.
        again: bool,
    },
    /// Another process works on a run.
    RunClaimedElsewhere {
        run_id: String,
        owner: String,
    },
    /// Only runs of other processes are left; the command watches them.
    Waiting,
    /// A message for people.
    Note {
        text: String,
    },
}

/// Figures of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFigures {
    pub run_id: String,
    /// Counted from 1.
    pub step: u64,
    /// The run's horizon.
    pub steps_max: u64,
    pub prompt_tokens: u64,
    /// Tokens of the prompt from the prefix cache.
    pub cached_prompt_tokens: u64,
    pub reply_tokens: u64,
    pub reply_seconds: f64,
    /// Mean of the prediction errors that became known in the step.
    pub pe: Option<f64>,
    /// Kind of the parse failure, if the reply is not an action.
    pub parse_failure: Option<String>,
    /// Crash detectors that fired.
    pub crashes: Vec<String>,
}

/// Receives the events of an experiment.
pub trait EventSink: Sync {
    /// Called on the thread of the event; must return soon.
    fn event(&self, event: &RunEvent);
}

impl<F: Fn(&RunEvent) + Sync> EventSink for F {
    fn event(&self, event: &RunEvent) {
        self(event);
    }
}
