//! Events of a running experiment, for progress displays and journals.

use crate::config::GridCounts;
use crate::provider::ProviderInfo;
use results::RunRecord;

/// All kinds of events that occur while an experiment runs.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The runs of the experiment are determined; none has started.
    Planned {
        counts: GridCounts,
        /// Number of runs that were committed before.
        done: usize,
        left: usize,
    },
    /// A model is about to be loaded.
    ModelOpening {
        /// The model's name in the configuration.
        name: String,
        /// Number of the model's runs to carry out.
        runs: usize,
    },
    ModelOpened {
        /// The model's name in the configuration.
        name: String,
        info: ProviderInfo,
    },
    /// A run starts, or resumes from an earlier attempt.
    RunStarted {
        run_id: String,
        /// Number of the attempt, counted from 1.
        attempt: u64,
        /// Number of steps replayed from an earlier attempt.
        replayed: u64,
        /// The horizon in steps.
        steps_max: u64,
    },
    StepDone(StepFigures),
    /// A run was committed.
    RunFinished {
        record: Box<RunRecord>,
    },
    /// An attempt failed because of the infrastructure. The failure is never recorded as data.
    RunFailed {
        run_id: String,
        reason: String,
        /// Whether this command will retry the run.
        again: bool,
    },
    /// Another process has claimed a run.
    RunClaimedElsewhere {
        run_id: String,
        owner: String,
    },
    /// All remaining runs are claimed by other processes; the command watches their claims.
    Waiting,
    /// A message for the user.
    Note {
        text: String,
    },
}

/// Measurements of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFigures {
    pub run_id: String,
    /// Number of the step, counted from 1.
    pub step: u64,
    /// The run's horizon in steps.
    pub steps_max: u64,
    pub prompt_tokens: u64,
    /// Number of prompt tokens that were in the prefix cache.
    pub cached_prompt_tokens: u64,
    pub reply_tokens: u64,
    pub reply_seconds: f64,
    /// Mean of the prediction errors whose outcome became known in this step; `None` if there are
    /// none.
    pub pe: Option<f64>,
    /// Kind of the parse failure; `None` if the reply was parsed.
    pub parse_failure: Option<String>,
    /// Names of the crash detectors that fired in this step.
    pub crashes: Vec<String>,
}

/// Receives the events of an experiment.
pub trait EventSink: Sync {
    /// Handles an event. It is called on the thread in which the event occurs, and must return
    /// quickly.
    fn event(&self, event: &RunEvent);
}

impl<F: Fn(&RunEvent) + Sync> EventSink for F {
    fn event(&self, event: &RunEvent) {
        self(event);
    }
}
