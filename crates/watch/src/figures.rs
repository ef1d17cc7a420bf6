use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An experiment in figures: all that a view of it needs. Counts only grow; who looks twice knows
/// the rates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The model that acts, or the operators that stand in for one.
    pub model: String,
    /// Runs of the experiment.
    pub runs_total: u64,
    /// Of these, committed, by whomever.
    pub runs_done: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Runs found in other hands.
    pub held: u64,
    /// Steps that the runs which were left may take.
    pub steps_max: u64,
    /// Steps taken.
    pub steps: u64,
    /// Steps of `steps_max` that ended runs will not take.
    pub steps_spared: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Of these, from the prefix cache.
    pub cached_prompt_tokens: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
    /// Replies that were no action.
    pub parse_failures: u64,
    /// Sum of the steps' mean prediction errors, and how many steps had one.
    pub pe_sum: f64,
    /// See `pe_sum`.
    pub pe_steps: u64,
    /// Detector -> how often it fired.
    pub crashes: BTreeMap<String, u64>,
    /// Memory by tier.
    pub tiers: Vec<TierFigures>,
    /// Runs in flight.
    pub runs: BTreeMap<String, RunFigures>,
}

/// A run in flight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Its last step.
    pub step: u64,
    /// The most it can take.
    pub steps_max: u64,
    /// The last prediction error that became known.
    pub pe: Option<f64>,
    /// Detectors that fired so far.
    pub crashes: u64,
}

/// Memory of a tier in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TierFigures {
    /// GPU n, CPU or disk.
    pub tier: String,
    /// Weights.
    pub weights_bytes: u64,
    /// Keys and values.
    pub kv_bytes: u64,
    /// Activations.
    pub activations_bytes: u64,
}

impl Figures {
    /// Steps that may still be taken.
    pub fn steps_left(&self) -> u64 {
        self.steps_max.saturating_sub(self.steps + self.steps_spared)
    }
}
