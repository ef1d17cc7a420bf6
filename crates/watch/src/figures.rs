//! Counters of a running experiment, as the dashboard shows them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of an experiment for the dashboard. Counters never decrease, so a rate can be calculated
/// from two observations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Name of the model, or of the scripted operators that replace it.
    pub model: String,
    pub runs_total: u64,
    /// Runs that this process or another one has committed.
    pub runs_done: u64,
    /// Failed attempts of runs.
    pub failures: u64,
    /// Runs claimed by other processes.
    pub held: u64,
    /// Upper bound on the steps of the runs that were pending at the start, plus the steps of
    /// failed attempts.
    pub steps_max: u64,
    /// Steps taken.
    pub steps: u64,
    /// Steps of `steps_max` that need not be taken: replayed steps, and steps left when a run
    /// ended.
    pub steps_spared: u64,
    pub prompt_tokens: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached_prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Replies that did not parse as an action.
    pub parse_failures: u64,
    /// Sum of the mean prediction error of each step, over the steps that have a prediction error.
    pub pe_sum: f64,
    /// Number of steps in `pe_sum`.
    pub pe_steps: u64,
    /// Number of crashes by detector.
    pub crashes: BTreeMap<String, u64>,
    /// Memory in use on each tier.
    pub tiers: Vec<TierFigures>,
    /// State of the active runs, by run id.
    pub runs: BTreeMap<String, RunFigures>,
}

/// State of an active run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Number of the last step.
    pub step: u64,
    /// The horizon.
    pub steps_max: u64,
    /// Latest known prediction error.
    pub pe: Option<f64>,
    /// Number of crashes so far.
    pub crashes: u64,
}

/// Memory in use on a tier, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TierFigures {
    /// GPU n, CPU or disk.
    pub tier: String,
    pub weights_bytes: u64,
    /// Memory of the KV cache.
    pub kv_bytes: u64,
    pub activations_bytes: u64,
}

impl Figures {
    /// Upper bound on the steps still to be taken.
    pub fn steps_left(&self) -> u64 {
        self.steps_max.saturating_sub(self.steps + self.steps_spared)
    }
}
