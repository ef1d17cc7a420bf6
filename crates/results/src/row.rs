use crate::{CrashRecord, RawJson};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One message of the exchange, as the provider was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// system, user or assistant.
    pub role: Cow<'static, str>,
    /// The text.
    pub content: String,
}

/// A reply that is no action. An outcome of its own: it is counted, shown to the agent, and
/// replaced by nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseFailure {
    /// cut_off, invalid_json, schema_mismatch, refusal, no_call, several_calls.
    pub kind: String,
    /// What was wrong, in words that the agent is shown.
    pub detail: String,
}

/// A tool call, as the world was given it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// What the world answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Whether the call succeeded.
    pub success: bool,
    /// Why it failed.
    pub failure: Option<String>,
    /// The tool's answer, as data.
    pub answer: Value,
}

/// One scored field of a card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The step whose card it was.
    pub card_step: u64,
    /// The field.
    pub field: Cow<'static, str>,
    /// temporal, quantity, cost or causal.
    pub kind: Cow<'static, str>,
    /// As the card said.
    pub predicted: f64,
    /// As it was.
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1); for causal 0 or 1.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1): the published form.
    pub error_published: f64,
}

/// A similarity of embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityRow {
    /// The identity of the model whose embeddings these are.
    pub embedder: String,
    /// Cosine of the summary's embedding and the mean of the first eight summaries'.
    pub cosine: f64,
}

/// One step of a run. Everything in it follows from the run's seed and the replies: no clock, no
/// host, no cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// The run.
    pub run_id: String,
    /// Counted from 1.
    pub step: u64,
    /// The world's day on which the step was taken.
    pub day: u64,
    /// What was added to the conversation since the last reply. Prompts are the sum of these, the
    /// replies and the history policy: nothing else was ever sent. Where exchanges are left
    /// out, the prices at the head of the first observation and a line that says so stand
    /// before the first message that is left.
    pub prompt: Vec<PromptMessage>,
    /// How many of the oldest exchanges were left out of this request.
    #[serde(default)]
    pub history_dropped: u64,
    /// The seed of this step's sampling.
    pub sampling_seed: u64,
    /// The reply, whole.
    pub reply: String,
    /// How it ended: stop, length, deadline.
    pub finish: Cow<'static, str>,
    /// Set where the reply is no action.
    pub parse_failure: Option<ParseFailure>,
    /// The call.
    pub action: Option<ActionRow>,
    /// The prediction card, as given.
    pub card: Option<Value>,
    /// Why there is no card where one was required, or what is wrong with the one given.
    #[serde(default)]
    pub card_problem: Option<String>,
    /// What the world answered.
    pub result: ResultRow,
    /// Prediction errors that became known in this step: type -> mean, or null where none did.
    pub pe: BTreeMap<Cow<'static, str>, Option<f64>>,
    /// Each scored field with predicted and actual value, the step of its card, and the error in
    /// both forms.
    #[serde(default)]
    pub pe_pairs: Vec<PairRow>,
    /// EWMA and windows after this step.
    #[serde(default)]
    pub pe_scales: RawJson,
    /// Shocks of this step, each with its effect.
    pub shocks: Vec<RawJson>,
    /// Crash detectors that fired in this step, each with its onset.
    pub crashes: Vec<CrashRecord>,
    /// What the detectors need to run again on this log.
    #[serde(default)]
    pub detector: RawJson,
    /// How like its first summaries the agent's summary of the state is, where embeddings are to
    /// be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<SimilarityRow>,
    /// The world after the step: a few figures (cash, stock, orders shipped, ...).
    #[serde(default)]
    pub state: RawJson,
    /// The run's ending, in its last row.
    #[serde(default)]
    pub ending: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub reply_tokens: u64,
    /// Set where the row was computed with another kernel set than the folder was begun with
    /// (--accept-mixed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_kernels: Option<String>,
}
