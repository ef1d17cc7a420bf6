//! Providers turn a conversation into a reply. `remote` asks a server, `replay` plays a log back;
//! the program implements the trait for its engine. No models in here.

pub(crate) mod remote;
pub(crate) mod replay;

use error_kind::{ErrorKind, HasKind};
use results::{PromptMessage, StepRow};
use serde_json::Value;
use std::sync::Arc;

/// Identity of a provider: part of run ids and provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Content identity of the model: the hub's blob ids where there are any, else headers and
    /// sizes.
    pub identity: String,
    /// Dtype of the arithmetic.
    pub dtype: String,
    /// The rung of the fallback ladder with which it was loaded; empty where it is not loaded.
    pub rung: String,
    /// Version of the kernels; "none" where replies do not depend on any.
    pub kernel_set: String,
    /// Most tokens of prompt and reply together; `None` without a limit.
    pub context_length: Option<u64>,
}

/// Settings with which a model is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// A hub name, folder, .gguf file or alias.
    pub name: String,
    /// auto, bf16, f16, f32 or int8.
    pub dtype: String,
    /// auto, bf16, f32 or int8.
    pub kv_dtype: String,
    /// Speculative decoding with n-grams of the conversation: the same replies, sooner.
    pub prompt_lookup: bool,
    /// As on the command line.
    pub device_map: Option<String>,
    /// As on the command line.
    pub max_memory: Option<String>,
    /// The longest context of any of its runs, in tokens.
    pub context_length: u64,
    /// Most runs in flight.
    pub concurrency: usize,
    /// `None`: the model is loaded in this process.
    pub server: Option<ServerSettings>,
}

/// Address of a server and limits on its use. Changes no reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// With the API version: `http://localhost:8000/v1`.
    pub base_url: String,
    /// Environment variable with the API key; if it is not set, no key is sent.
    pub api_key_env: String,
    /// Further attempts at one reply.
    pub retries: u64,
    /// Requests started in any minute, over all runs in flight.
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts and replies in any minute, over all runs in flight.
    pub tokens_per_minute: Option<u64>,
    pub connect_timeout_s: f64,
    /// For one attempt; the reply's own deadline covers all attempts.
    pub attempt_timeout_s: f64,
}

/// A request for one reply. It contains the whole conversation, which extends that of the session's
/// previous request, so that a prefix cache needs to compute only the new tokens.
pub struct ReplyRequest<'a> {
    /// Requests of one session share a prefix: the run's id.
    pub session: &'a str,
    /// System prompt, observations and replies; the last is the user's.
    pub messages: &'a [PromptMessage],
    /// Tools in the format of chat templates (`[{"type":"function","function":{...}}]`). `None`
    /// where the system prompt describes them.
    pub tools: Option<&'a Value>,
    /// JSON schema that the reply must satisfy; `None` for free text.
    pub schema: Option<&'a Value>,
    /// 0: always the most probable token.
    pub temperature: f64,
    /// Sample from the smallest set of tokens with this total probability.
    pub top_p: f64,
    /// The same seed, messages and model give the same reply.
    pub seed: u64,
    /// Most tokens of the reply.
    pub max_tokens: u64,
    /// Seconds, after which the provider returns [`ProviderError::Late`].
    pub deadline_s: f64,
    /// Whether the command was canceled; the provider polls it several times a second, and then
    /// returns [`ProviderError::Canceled`].
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

/// The reason for which a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// It reached `max_tokens` or the end of the context.
    Length,
}

impl Finish {
    /// As in rows.
    pub fn label(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }

    /// From a row.
    pub(crate) fn from_label(label: &str) -> Finish {
        if label == Finish::Length.label() { Finish::Length } else { Finish::Stop }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Without special tokens.
    pub text: String,
    pub finish: Finish,
    /// Tokens of the whole prompt.
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    /// Tokens of the prompt from the prefix cache. Depends on the machine's load: part of the
    /// timing, never of a row.
    pub cached_prompt_tokens: u64,
    /// Wall time.
    pub seconds: f64,
}

/// An infrastructure failure. It makes a run failed, to be retried, and is never data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The model or server is not available.
    #[error("{0}")]
    Unavailable(String),
    #[error("no reply within {seconds} s: {what}")]
    Late {
        /// The limit.
        seconds: String,
        /// The event that was waited for.
        what: String,
    },
    #[error("interrupted")]
    Canceled,
    /// Even the shortest possible prompt does not fit.
    #[error("a prompt of {tokens} tokens and a reply do not fit a context of {limit}: {remedy}")]
    Context { tokens: u64, limit: u64, remedy: String },
    /// The request itself is invalid (a schema that cannot be compiled, a template that fails).
    #[error("{0}")]
    Refused(String),
    /// The replayed log has no reply for this request.
    #[error("the recording has no reply {step}: {why}")]
    NotRecorded {
        /// Counted from 1.
        step: u64,
        why: String,
    },
    /// Any other failure of a provider outside of this crate.
    #[error("{text}")]
    Other { text: String, kind: ErrorKind },
}

impl HasKind for ProviderError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Late { .. } => ErrorKind::Timeout,
            Self::Canceled => ErrorKind::Interrupted,
            Self::Context { .. } | Self::Refused(_) => ErrorKind::Usage,
            Self::NotRecorded { .. } => ErrorKind::BadInput,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// A source of replies. Called from many threads at once, with one request of a session at a time.
pub trait Provider: Send + Sync {
    fn describe(&self) -> ProviderInfo;

    /// Tokens of a prompt as [`Provider::reply`] would render it.
    ///
    /// # Errors
    /// The prompt cannot be rendered or tokenized.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
    ) -> Result<u64, ProviderError>;

    /// Generates one reply.
    ///
    /// # Errors
    /// Infrastructure: no reply in time, canceled, or the model or server is not available.
    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError>;

    /// The text's embedding under the model, for similarities between an agent's own summaries.
    /// `None` where the provider has no embeddings.
    ///
    /// # Errors
    /// As with [`Provider::reply`].
    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        let _ = text;
        Ok(None)
    }

    /// The recorded row of the session's step with this sampling seed; `None` except in a replay.
    fn recorded_row(&self, session: &str, seed: u64) -> Option<&StepRow> {
        let _ = (session, seed);
        None
    }

    /// Ends a session: what is cached for it can be freed.
    fn close(&self, session: &str) {
        let _ = session;
    }
}

/// Opens the models of a grid, one after the other.
pub trait ProviderFactory: Sync {
    /// Identifies a model without loading it. Must agree with [`Provider::describe`].
    ///
    /// # Errors
    /// The model cannot be found.
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError>;

    /// Loads a model. The previous one was dropped before.
    ///
    /// # Errors
    /// The model cannot be found or loaded.
    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError>;
}

/// The factory for experiments without a model.
pub struct NoModels;

impl NoModels {
    fn unavailable(model: &ModelSettings) -> ProviderError {
        ProviderError::Unavailable(format!(
            "expected only scripted operators, found the model {}",
            model.name
        ))
    }
}

impl ProviderFactory for NoModels {
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Err(Self::unavailable(model))
    }

    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(Self::unavailable(model))
    }
}
