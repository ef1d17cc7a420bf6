//! What turns a conversation into a reply. The engine implements this in the program, `remote` for
//! servers; here are no models.

pub(crate) mod remote;
pub(crate) mod replay;

use error_kind::{ErrorKind, HasKind};
use results::{PromptMessage, StepRow};
use serde_json::Value;
use std::sync::Arc;

/// What a provider is: goes into run ids and provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderInfo {
    /// What the model really is: the hub's blob ids where there are any, else headers and sizes.
    pub identity: String,
    /// What it computes in.
    pub dtype: String,
    /// The rung of the ladder of fallbacks by which it was loaded; empty where it was not, or not
    /// yet.
    pub rung: String,
    /// The kernels; "none" where replies do not depend on any.
    pub kernel_set: String,
    /// The longest prompt and reply together, in tokens, if it has a limit.
    pub context_length: Option<u64>,
}

/// The keys of a configuration that a model is opened with.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// A hub name, folder, .gguf file or alias.
    pub name: String,
    /// auto, bf16, f16, f32 or int8.
    pub dtype: String,
    /// auto, bf16, f32 or int8.
    pub kv_dtype: String,
    /// Whether replies are drafted from their conversations: the same replies, sooner.
    pub prompt_lookup: bool,
    /// As on the command line.
    pub device_map: Option<String>,
    /// As on the command line.
    pub max_memory: Option<String>,
    /// The longest context that any run of it asks for, in tokens.
    pub context_length: u64,
    /// Runs in flight at most.
    pub concurrency: usize,
    /// The server that has it; none: it is loaded in this process.
    pub server: Option<ServerSettings>,
}

/// Where a server is and how much may be asked of it. Changes no reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Up to and with the version: `http://localhost:8000/v1`.
    pub base_url: String,
    /// The environment variable that holds the key. One that is not set: no key is sent.
    pub api_key_env: String,
    /// Further attempts at one reply.
    pub retries: u64,
    /// Requests begun in any minute, over all runs in flight.
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts and replies in any minute, over all runs in flight.
    pub tokens_per_minute: Option<u64>,
    /// Until a connection stands.
    pub connect_timeout_s: f64,
    /// For one attempt; the reply's own deadline holds over all attempts.
    pub attempt_timeout_s: f64,
}

/// One request. The conversation is whole each time; its beginning repeats that of the session's
/// last request, so that a prefix cache makes it cost its new tokens only.
pub struct ReplyRequest<'a> {
    /// Tells the provider which requests share a prefix: the run's id.
    pub session: &'a str,
    /// System prompt, observations and replies; the last is the user's.
    pub messages: &'a [PromptMessage],
    /// Tools in the form of the chat templates (`[{"type":"function","function":{...}}]`), for
    /// models that have a template for them. `None` where the system prompt says it all.
    pub tools: Option<&'a Value>,
    /// The reply must satisfy this JSON schema. `None`: free text.
    pub schema: Option<&'a Value>,
    /// 0 takes the likeliest token each time.
    pub temperature: f64,
    /// Keep the smallest set of tokens of this probability.
    pub top_p: f64,
    /// The same seed, messages and model give the same reply.
    pub seed: u64,
    /// The most tokens of the reply.
    pub max_tokens: u64,
    /// The most seconds; past it the provider gives [`ProviderError::Late`].
    pub deadline_s: f64,
    /// Whether somebody asked to stop: to be looked at several times a second; then
    /// [`ProviderError::Canceled`].
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

/// How a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// By itself.
    Stop,
    /// At `max_tokens`, or at the end of the context.
    Length,
}

impl Finish {
    /// The word in the rows.
    pub fn word(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text, without special tokens.
    pub text: String,
    /// How it ended.
    pub finish: Finish,
    /// Tokens of the whole prompt.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub reply_tokens: u64,
    /// Of the prompt, from the prefix cache. Depends on the machine's load: goes into timing,
    /// never into a row.
    pub cached_prompt_tokens: u64,
    /// Wall time.
    pub seconds: f64,
}

/// An infrastructure failure. It makes a run failed, to be tried again, and is never data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The model or server is not to be had.
    #[error("{0}")]
    Unavailable(String),
    /// No reply in time.
    #[error("no reply within {seconds} s: {what}")]
    Late {
        /// The limit.
        seconds: String,
        /// What was waited for.
        what: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Canceled,
    /// The prompt does not fit, whatever is left out.
    #[error("a prompt of {tokens} tokens and a reply do not fit a context of {limit}: {remedy}")]
    Context {
        /// Of the prompt.
        tokens: u64,
        /// The context.
        limit: u64,
        /// What to change.
        remedy: String,
    },
    /// The request cannot be served as it is (a schema that cannot be compiled, a template that
    /// fails).
    #[error("{0}")]
    Refused(String),
    /// A recorded provider has no reply for this request.
    #[error("the recording has no reply {step}: {why}")]
    NotRecorded {
        /// Counted from 1.
        step: u64,
        /// What differs.
        why: String,
    },
    /// Any failure of the program that joins the experiment to a model.
    #[error("{text}")]
    Other {
        /// Its words.
        text: String,
        kind: ErrorKind,
    },
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

/// Gives replies. Called from many threads at once, one request of a session at a time.
pub trait Provider: Send + Sync {
    /// What it is.
    fn describe(&self) -> ProviderInfo;

    /// Tokens of a prompt as [`Provider::reply`] would make it.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
    ) -> Result<u64, ProviderError>;

    /// One reply.
    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError>;

    /// The text's embedding under the model, for similarities between an agent's own summaries.
    /// `None` where there is none to be had.
    ///
    /// # Errors
    /// Infrastructure, as with [`Provider::reply`].
    fn embed(&self, text: &str) -> Result<Option<Vec<f32>>, ProviderError> {
        let _ = text;
        Ok(None)
    }

    /// The row of a session's step with this sampling seed, where this is a recording.
    fn recorded(&self, session: &str, seed: u64) -> Option<&StepRow> {
        let _ = (session, seed);
        None
    }

    /// The session asks for nothing more; what is cached for it can go.
    fn close(&self, session: &str) {
        let _ = session;
    }
}

/// Opens the models of a grid, one after the other.
pub trait ProviderFactory: Sync {
    /// What a model is, found out without loading it. Must agree with [`Provider::describe`].
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError>;

    /// Loads it. The last one was dropped before.
    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError>;
}

/// The factory of experiments that need no model.
pub struct NoModels;

impl ProviderFactory for NoModels {
    fn identify(&self, model: &ModelSettings) -> Result<ProviderInfo, ProviderError> {
        Err(ProviderError::Unavailable(format!(
            "no model can be opened here, and {} was asked for",
            model.name
        )))
    }

    fn open(&self, model: &ModelSettings) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(ProviderError::Unavailable(format!(
            "no model can be opened here, and {} was asked for",
            model.name
        )))
    }
}
