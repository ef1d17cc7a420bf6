use crate::config::GridCounts;
use crate::provider::ProviderInfo;
use results::RunRecord;

/// What happens while an experiment runs. A closed list.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// The runs are known.
    Planned {
        /// What the configuration asks for.
        counts: GridCounts,
        /// Runs that were done before.
        done: usize,
        /// Runs that are left.
        left: usize,
    },
    /// A model is about to be loaded.
    ModelOpening {
        /// The configuration's name for it.
        name: String,
        /// Runs that wait for it.
        runs: usize,
    },
    /// It is loaded.
    ModelOpened {
        /// The configuration's name for it.
        name: String,
        /// What it is.
        info: ProviderInfo,
    },
    /// A run begins, or goes on.
    RunStarted {
        /// Its id.
        run_id: String,
        /// Which attempt at it this is.
        attempt: u64,
        /// Steps that were done before and only replayed.
        replayed: u64,
        /// The most steps it can take.
        steps_max: u64,
    },
    /// A step is a row.
    StepDone(StepFigures),
    /// A run is committed.
    RunFinished {
        /// Its record.
        record: Box<RunRecord>,
    },
    /// An attempt failed: infrastructure, never data.
    RunFailed {
        /// The run.
        run_id: String,
        /// Why.
        reason: String,
        /// Whether it will be tried again within this command.
        again: bool,
    },
    /// Another process works on a run.
    RunClaimedElsewhere {
        /// The run.
        run_id: String,
        /// Who.
        owner: String,
    },
    /// Nothing is left but runs that other processes hold; these are watched.
    Waiting,
    /// A line for people.
    Note {
        /// The line.
        text: String,
    },
}

/// One step, in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFigures {
    /// The run.
    pub run_id: String,
    /// Counted from 1.
    pub step: u64,
    /// The most steps the run can take.
    pub steps_max: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, from the prefix cache.
    pub cached_prompt_tokens: u64,
    /// Tokens of the reply.
    pub reply_tokens: u64,
    /// Seconds that the reply took.
    pub reply_seconds: f64,
    /// Mean of the errors that became known in the step.
    pub pe: Option<f64>,
    /// The kind of the reply's failure to be an action.
    pub parse_failure: Option<String>,
    /// Detectors that fired.
    pub crashes: Vec<String>,
}

/// Who is told.
pub trait EventSink: Sync {
    /// Called on the thread on which it happens; must be quick.
    fn event(&self, event: &RunEvent);
}

impl<F: Fn(&RunEvent) + Sync> EventSink for F {
    fn event(&self, event: &RunEvent) {
        self(event);
    }
}
