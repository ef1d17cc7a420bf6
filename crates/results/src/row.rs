//! Rows of the log `steps.<attempt>.jsonl`, one per step, and their parts.

use crate::raw_json::RawJson;
use crate::run_record::CrashRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One message of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// `system`, `user` or `assistant`.
    pub role: Cow<'static, str>,
    pub content: String,
}

/// A reply without a valid action. It counts as an outcome: it is recorded and shown to the agent,
/// and no action replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseFailure {
    /// `cut_off`, `invalid_json`, `schema_mismatch`, `refusal`, `no_call` or `several_calls`.
    pub kind: String,
    /// Description of the problem, as shown to the agent.
    pub detail: String,
}

/// A tool call, as passed to the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    pub tool: String,
    pub arguments: Map<String, Value>,
}

/// Result of a tool call in the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Whether the call succeeded.
    pub success: bool,
    pub failure: Option<String>,
    /// The tool's answer as JSON.
    pub answer: Value,
}

/// Predicted and actual value of one scored field of a prediction card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The step in which the card was given.
    pub card_step: u64,
    pub field: Cow<'static, str>,
    /// `temporal`, `quantity`, `cost` or `causal`.
    pub kind: Cow<'static, str>,
    pub predicted: f64,
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1); 0 or 1 if `kind` is `causal`.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1), the published definition; 0 or 1 if `kind` is
    /// `causal`.
    pub error_published: f64,
}

/// Similarity of the agent's summary to its first summaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityRow {
    /// Identity of the embedding model.
    pub embedder: String,
    /// Cosine similarity of the summary's embedding and the mean embedding of the first eight
    /// summaries.
    pub cosine: f64,
}

/// One step of a run. A row depends only on the run's configuration and seed and on the replies,
/// not on clock, host or cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    pub run_id: String,
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Day of the world on which the step was taken, counted from 1.
    pub day: u64,
    /// Messages added to the conversation since the last reply. These messages, the replies and the
    /// history policy determine each prompt completely. If exchanges are dropped, the price list of
    /// the first observation and a line about the gap precede the first kept message.
    pub prompt: Vec<PromptMessage>,
    /// Number of oldest exchanges (observation and reply) that this request leaves out.
    #[serde(default)]
    pub history_dropped: u64,
    /// Seed for sampling this step's reply.
    pub sampling_seed: u64,
    /// The complete reply.
    pub reply: String,
    /// Finish reason of the reply: `stop` or `length`.
    pub finish: Cow<'static, str>,
    /// Why the reply holds no valid action; `None` if it holds one.
    pub parse_failure: Option<ParseFailure>,
    pub action: Option<ActionRow>,
    /// The prediction card as the agent gave it.
    pub card: Option<Value>,
    /// `absent` if a required card is missing, otherwise why the card is malformed or which of its
    /// fields are invalid; `None` if there is no problem.
    #[serde(default)]
    pub card_problem: Option<String>,
    pub result: ResultRow,
    /// Mean of the prediction errors that became known in this step, by kind; null for kinds
    /// without one.
    pub pe: BTreeMap<Cow<'static, str>, Option<f64>>,
    /// Predicted and actual values of the card fields scored in this step.
    #[serde(default)]
    pub pe_pairs: Vec<PairRow>,
    /// EWMA and window means of the prediction errors after this step, by kind.
    #[serde(default)]
    pub pe_scales: RawJson,
    /// Shocks of this step, each with its effect.
    pub shocks: Vec<RawJson>,
    /// Crashes whose detectors fired for the first time in this step, each with its onset.
    pub crashes: Vec<CrashRecord>,
    /// Input of the crash detectors, for running them again on this log.
    #[serde(default)]
    pub detector: RawJson,
    /// `None` for the first summaries, which form the reference, and if the provider has no
    /// embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<SimilarityRow>,
    /// Figures of the world after the step (cash, stock, orders shipped, ...).
    #[serde(default)]
    pub state: RawJson,
    /// How the episode ended; set only in its last row.
    #[serde(default)]
    pub ending: Option<String>,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Kernel set that computed the reply, if it differs from the model's recorded one
    /// (`--accept-mixed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_kernels: Option<String>,
}
