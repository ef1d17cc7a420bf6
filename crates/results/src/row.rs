//! Rows of the log `steps.<attempt>.jsonl`, one per step, and their parts.

use crate::accumulated::{DoseRow, ExposureRow};
use crate::raw_json::{EscapedText, RawJson};
use crate::run_record::CrashRecord;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One message of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// `system`, `user` or `assistant`.
    pub role: Cow<'static, str>,
    #[serde(serialize_with = "write_escaped")]
    pub content: String,
}

fn write_escaped<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    EscapedText(text).serialize(serializer)
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Whether the call succeeded.
    pub success: bool,
    #[serde(default)]
    pub failure: Option<String>,
    /// The tool's answer as JSON. Design v1 only: the next prompt has it.
    #[serde(default)]
    pub answer: Value,
}

/// Predicted and actual value of one scored field of a prediction card.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRow {
    /// The step in which the card was given.
    pub card_step: u64,
    pub field: Cow<'static, str>,
    /// `temporal`, `quantity`, `cost` or `causal`; `None` since design v2, where the field tells
    /// it.
    pub kind: Option<Cow<'static, str>>,
    pub predicted: f64,
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1), at most 2 since design v2; 0 or 1 for `success`.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1), the published definition; `None` since design
    /// v2.
    pub error_published: Option<f64>,
    /// `error` minus the error without shocks; `None` in design v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub induced: Option<f64>,
}

/// Similarity of the agent's summary to its first summaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityRow {
    /// Identity of the embedding model.
    pub embedder: String,
    /// In design v1 the cosine similarity of the summary's embedding and the mean embedding of the
    /// first eight summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Since design v2, 2s / (s + d), where d is the distance of the summary's embedding from the
    /// mean of the first eight, and s their root mean square distance from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centered: Option<f64>,
}

/// One step of a run. A row depends only on the run's configuration and seed and on the replies,
/// not on clock, host or cache.
///
/// Rows of design v1 hold every field. Since design v2, a field that is empty, 0 or as in the row
/// before is not written; `stored_row` has the forms of both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepRow {
    /// Version of the experiment's design; `None` in design v1.
    pub design: Option<Cow<'static, str>>,
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
    pub history_dropped: u64,
    /// Seed for sampling this step's reply.
    pub sampling_seed: u64,
    /// The complete reply, without the thinking before it.
    pub reply: String,
    /// The thinking before the reply, which no later prompt contains; `None` without one.
    pub reasoning: Option<String>,
    /// Finish reason of the reply: `stop` or `length`.
    pub finish: Cow<'static, str>,
    /// Why the reply holds no valid action; `None` if it holds one.
    pub parse_failure: Option<ParseFailure>,
    pub action: Option<ActionRow>,
    /// The prediction card as the agent gave it.
    pub card: Option<RawJson>,
    /// `absent` if a required card is missing, otherwise why the card is malformed or which of its
    /// fields are invalid; `None` if there is no problem.
    pub card_problem: Option<String>,
    pub result: ResultRow,
    /// Mean of the prediction errors that became known in this step, by kind; null for kinds
    /// without one. Design v1 only.
    pub pe: BTreeMap<Cow<'static, str>, Option<f64>>,
    /// Predicted and actual values of the card fields scored in this step.
    pub pe_pairs: Vec<PairRow>,
    /// EWMA and window means of the prediction errors after this step, by kind. Design v1 only.
    pub pe_scales: RawJson,
    /// Shocks that acted in this step, each with its effect.
    pub shocks: Vec<RawJson>,
    /// The type of the shock drawn in this step; `None` in design v1.
    pub drawn: Option<Cow<'static, str>>,
    /// Shocks so far, if they are others than in the row before; `None` in design v1.
    pub dose: Option<DoseRow>,
    /// Accumulated delivery errors after this step; `None` in design v1.
    pub exposure: Option<ExposureRow>,
    /// Crashes that were detected in this step, each with its onset; in design v1 only the first
    /// one of each detector.
    pub crashes: Vec<CrashRecord>,
    /// Input of the crash detectors, for running them again on this log. Since design v2 without
    /// what the row's action and day hold.
    pub detector: RawJson,
    /// `None` for the first summaries, which form the reference, and if there is no embedding.
    pub similarity: Option<SimilarityRow>,
    /// Figures of the world after the step (cash, stock, orders shipped, ...).
    pub state: RawJson,
    /// How the episode ended; set only in its last row.
    pub ending: Option<String>,
    pub prompt_tokens: u64,
    /// Tokens of the reply, thinking included.
    pub reply_tokens: u64,
    /// Tokens of the thinking.
    pub reasoning_tokens: u64,
    /// Kernel set that computed the reply, if it differs from the model's recorded one
    /// (`--accept-mixed`).
    pub mixed_kernels: Option<String>,
}
