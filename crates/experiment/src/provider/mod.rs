//! Providers generate the reply to a conversation. `remote` requests it from a server, and `replay`
//! returns the recorded one. The provider that runs the engine is implemented in `cli`, so this
//! crate does not depend on the engine.

pub(crate) mod remote;
pub(crate) mod replay;
mod thinking;

pub use thinking::ModelThinking;

use error_kind::{ErrorKind, HasKind};
use results::{PromptMessage, StepRow};
use serde_json::Value;
use std::sync::Arc;

/// Identity of a provider, which is part of run ids and of the recorded provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Hash of the model's content, or another id that changes with the content: the hub's blob ids
    /// if the files have them, or else headers and sizes.
    pub identity: String,
    /// Dtype of the model's arithmetic.
    pub dtype: String,
    /// The rung of the fallback ladder on which the model was loaded; empty if it is not loaded.
    pub rung: String,
    /// Version of the engine's kernels; "none" if replies do not depend on kernels.
    pub kernel_set: String,
    /// Maximum number of tokens of prompt and reply together; `None` if there is no limit.
    pub context_length: Option<u64>,
}

/// Settings with which to open a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// Name on the hub, folder, .gguf file or alias.
    pub name: String,
    /// One of auto, bf16, f16, f32 and int8.
    pub dtype: String,
    /// Dtype of the KV cache: auto, bf16, f32 or int8.
    pub kv_dtype: String,
    /// Whether to use speculative decoding with n-grams of the conversation, which generates the
    /// same replies in less time.
    pub prompt_lookup: bool,
    /// A file with the chat template to use instead of the model's.
    pub chat_template: Option<String>,
    /// The device map, in the format of the command-line option `--device-map`.
    pub device_map: Option<String>,
    /// Memory limits of the devices, in the format of the command-line option `--max-memory`.
    pub max_memory: Option<String>,
    /// Whether a cell of the model thinks before its replies.
    pub thinks: bool,
    /// The longest context length of the model's cells, in tokens.
    pub context_length: u64,
    /// Maximum number of concurrent runs.
    pub concurrency: usize,
    /// `None` if the model is loaded in this process.
    pub server: Option<ServerSettings>,
}

/// Address of a server and limits on its use, which do not affect the content of replies.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// URL with the API version, such as `http://localhost:8000/v1`.
    pub base_url: String,
    /// Name of the environment variable with the API key. If the variable is not set, no key is
    /// sent.
    pub api_key_env: String,
    /// Number of further attempts at one reply.
    pub retries: u64,
    /// Maximum number of requests started within any minute, over all concurrent runs.
    pub requests_per_minute: Option<u64>,
    /// Maximum number of tokens of prompts and replies within any minute, over all concurrent runs.
    pub tokens_per_minute: Option<u64>,
    pub connect_timeout_s: f64,
    /// Time limit of one attempt in seconds. The deadline of a reply covers all attempts at it.
    pub attempt_timeout_s: f64,
}

/// A request for one reply. It contains the whole conversation. Its messages extend those of the
/// session's previous request, so that a prefix cache needs to compute only the new tokens.
pub struct ReplyRequest<'a> {
    /// Id of the run, whose requests share a prefix.
    pub session: &'a str,
    /// System prompt, observations and replies; the last message is an observation.
    pub messages: &'a [PromptMessage],
    /// Tool definitions in the format of chat templates (`[{"type":"function","function":{...}}]`).
    /// `None` if the system prompt describes the tools.
    pub tools: Option<&'a Value>,
    /// JSON schema that the reply must match; `None` for free text.
    pub schema: Option<&'a Value>,
    /// Whether the model thinks before the reply. A schema holds for what follows the thinking.
    pub thinking: ModelThinking,
    /// Sampling temperature; 0 selects the most probable token.
    pub temperature: f64,
    /// Top-p sampling: tokens are sampled from the smallest set with this total probability.
    pub top_p: f64,
    /// Sampling seed. The same seed, messages and model give the same reply.
    pub seed: u64,
    /// Maximum number of tokens of the reply, thinking included.
    pub max_tokens: u64,
    /// Seconds after which the provider returns [`ProviderError::Late`].
    pub deadline_s: f64,
    /// Returns whether the command was canceled. The provider polls it several times per second,
    /// and returns [`ProviderError::Canceled`] once it is true.
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended the reply.
    Stop,
    /// The reply reached `max_tokens` or the end of the context.
    Length,
}

impl Finish {
    /// The name of the reason in rows.
    pub fn label(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }

    /// The reason with this name in rows.
    pub(crate) fn from_label(label: &str) -> Finish {
        if label == Finish::Length.label() { Finish::Length } else { Finish::Stop }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The reply without special tokens and without the thinking.
    pub text: String,
    /// The thinking before it; empty without one.
    pub reasoning: String,
    pub finish: Finish,
    /// Number of tokens of the whole prompt.
    pub prompt_tokens: u64,
    /// Number of generated tokens, thinking included.
    pub reply_tokens: u64,
    /// Number of tokens of the thinking.
    pub reasoning_tokens: u64,
    /// Number of prompt tokens that were in the prefix cache. It depends on the machine's load, so
    /// it is recorded with the timing and never in a row.
    pub cached_prompt_tokens: u64,
    /// Wall time from request to reply, in seconds.
    pub seconds: f64,
}

/// A failure of the infrastructure. It is never recorded as data: it makes the run failed, to be
/// retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The model or server is not available.
    #[error("{0}")]
    Unavailable(String),
    #[error("no reply within {seconds} s: {what}")]
    Late {
        /// The exceeded time limit in seconds.
        seconds: String,
        /// The event that did not occur in time.
        what: String,
    },
    #[error("interrupted")]
    Canceled,
    /// Even the shortest possible prompt does not fit the context.
    #[error("a prompt of {tokens} tokens and a reply do not fit a context of {limit}: {remedy}")]
    Context { tokens: u64, limit: u64, remedy: String },
    /// The request is invalid: its schema cannot be compiled, its chat template fails, or a server
    /// rejects it.
    #[error("{0}")]
    Refused(String),
    /// The replayed log has no reply to this request.
    #[error("the recording has no reply {step}: {why}")]
    NotRecorded {
        /// Number of the step, counted from 1.
        step: u64,
        why: String,
    },
    /// Any other failure, of a provider that another crate implements.
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

/// A source of replies. Many threads call it at once, but a session has at most one request at a
/// time.
pub trait Provider: Send + Sync {
    fn describe(&self) -> ProviderInfo;

    /// Number of tokens of the prompt that [`Provider::reply`] would render.
    ///
    /// # Errors
    /// The prompt cannot be rendered or tokenized.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
        thinking: ModelThinking,
    ) -> Result<u64, ProviderError>;

    /// Generates one reply.
    ///
    /// # Errors
    /// The deadline passed, the command was canceled, the request is invalid, or the model or
    /// server is not available.
    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError>;

    /// The model's embedding of a text, used for similarities between summaries of the same agent.
    /// `None` if the provider offers no embeddings.
    ///
    /// # Errors
    /// As for [`Provider::reply`].
    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        let _ = text;
        Ok(None)
    }

    /// The recorded row of the session's step with this sampling seed. `None` for every provider
    /// except a replay.
    fn recorded_row(&self, session: &str, seed: u64) -> Option<&StepRow> {
        let _ = (session, seed);
        None
    }

    /// Ends a session, so that its cached data can be freed.
    fn close(&self, session: &str) {
        let _ = session;
    }
}

/// Opens the models of a grid one after another.
pub trait ProviderFactory: Sync {
    /// Identifies a model without loading it. The result must agree with [`Provider::describe`] of
    /// the loaded model.
    ///
    /// # Errors
    /// The model cannot be found.
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError>;

    /// Loads a model. The previously opened provider is dropped before this call.
    ///
    /// # Errors
    /// The model cannot be found or loaded.
    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError>;

    /// The person who plays the runs with `agent.policy: human`.
    ///
    /// # Errors
    /// Nobody is asked.
    fn person(&self) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(ProviderError::Unavailable(
            "expected a person for agent.policy human, found none: use vendomini play".into(),
        ))
    }
}

/// A factory without models, for experiments with scripted operators only.
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
