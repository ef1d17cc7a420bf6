//! A provider that requests replies from an OpenAI-compatible server (vLLM, SGLang, llama.cpp,
//! hosted services) with `POST /chat/completions`.
//!
//! ```text
//! open    probes the server's capabilities            capabilities
//! reply   waits for the rate limit, posts, retries    rate_limit, retry
//!   post  one HTTP exchange with a time limit         http
//!   request_body, parse_completion                    wire
//! ```
//!
//! Every fault of a server becomes a [`ProviderError`]; an error message never becomes a reply.

mod capabilities;
mod http;
mod rate_limit;
mod retry;
mod wire;

use super::{Provider, ProviderError, ProviderInfo, Reply, ReplyRequest, ServerSettings};
use crate::provider::ModelThinking;
use capabilities::{ServerCapabilities, ThinkingControl};
use http::HttpClient;
use rate_limit::RateLimiter;
use results::PromptMessage;
use retry::{AttemptError, RequestDeadline};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A model on an OpenAI-compatible server.
pub struct RemoteProvider {
    model: String,
    dtype: String,
    client: HttpClient,
    rate_limiter: RateLimiter,
    retries: u64,
    attempt_timeout: Duration,
    capabilities: ServerCapabilities,
}

impl RemoteProvider {
    /// Identity of a served model, made without a request to the server. It does not contain the
    /// address, since a server that moved to another node serves the same model.
    pub fn identity(model: &str, dtype: &str) -> ProviderInfo {
        ProviderInfo {
            identity: format!("openai-compatible {model}"),
            dtype: dtype.to_string(),
            rung: String::new(),
            kernel_set: "server".to_string(),
            context_length: None,
        }
    }

    /// Creates a client of the server and probes the server's capabilities. `deadline_s` is the
    /// time limit of each probe.
    ///
    /// # Errors
    /// The server cannot be reached, rejects the key, or does not know the model.
    pub fn open(
        model: &str,
        dtype: &str,
        settings: &ServerSettings,
        deadline_s: f64,
        canceled: &(dyn Fn() -> bool + Sync),
    ) -> Result<RemoteProvider, ProviderError> {
        let mut provider = RemoteProvider {
            model: model.to_string(),
            dtype: dtype.to_string(),
            client: HttpClient::new(settings)?,
            rate_limiter: RateLimiter::new(
                settings.requests_per_minute,
                settings.tokens_per_minute,
            ),
            retries: settings.retries,
            attempt_timeout: Duration::from_secs_f64(settings.attempt_timeout_s),
            capabilities: ServerCapabilities::default(),
        };
        provider.capabilities = capabilities::probe(&provider, deadline_s, canceled)?;
        Ok(provider)
    }

    /// Fails if the server takes no field that requests this thinking.
    fn check_thinking(&self, thinking: ModelThinking) -> Result<(), ProviderError> {
        let expected = match (self.capabilities.thinking, thinking) {
            (ThinkingControl::Absent, ModelThinking::On | ModelThinking::Budget(_)) => "off",
            (ThinkingControl::Effort, ModelThinking::Budget(_)) => "off or on",
            _ => return Ok(()),
        };
        Err(ProviderError::Refused(format!(
            "model.thinking of {}: expected {expected}, found {}: {} takes {}",
            self.model,
            thinking.label(),
            self.client.address(),
            match self.capabilities.thinking {
                ThinkingControl::Effort => "reasoning_effort, which has no budget",
                _ => "neither chat_template_kwargs nor reasoning_effort",
            }
        )))
    }

    /// Requests a completion, and repeats failed attempts until one succeeds, the retries are used
    /// up, or the deadline passes.
    fn complete(
        &self,
        body: &Value,
        deadline: &RequestDeadline<'_>,
    ) -> Result<wire::ChatCompletion, ProviderError> {
        let mut attempts = 0;
        loop {
            self.rate_limiter.wait(deadline)?;
            let limit = deadline.remaining()?.min(self.attempt_timeout);
            let error = match self.client.post("chat/completions", body, limit, deadline)? {
                Ok(response) => match retry::check_status(&response)
                    .map(|()| wire::parse_completion(&response.body))
                {
                    Ok(Ok(completion)) => {
                        let tokens = completion.prompt_tokens + completion.reply_tokens;
                        self.rate_limiter.count_tokens(tokens);
                        return Ok(completion);
                    }
                    Ok(Err(why)) => AttemptError::transient(format!(
                        "the server's response is not a completion: {why}"
                    )),
                    Err(error) => error,
                },
                Err(why) => AttemptError::transient(why),
            };
            attempts += 1;
            let (why, retry_after) = match error {
                AttemptError::Permanent(error) => return Err(error),
                AttemptError::Transient { why, retry_after } => {
                    (format!("{}: {why}", self.client.address()), retry_after)
                }
            };
            if attempts > self.retries {
                return Err(ProviderError::Unavailable(format!(
                    "{why} (after {attempts} attempts)"
                )));
            }
            if let Some(pause) = retry_after {
                self.rate_limiter.hold(pause);
            }
            deadline.sleep(retry::backoff(attempts, retry_after, deadline), &why)?;
        }
    }
}

impl Provider for RemoteProvider {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo {
            kernel_set: self.capabilities.label(),
            ..Self::identity(&self.model, &self.dtype)
        }
    }

    /// An upper bound of the number of tokens, since the server's tokenizer is not available: it
    /// assumes two bytes per token, while text has three to four.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
        _thinking: ModelThinking,
    ) -> Result<u64, ProviderError> {
        let tools = tools.filter(|_| self.capabilities.tools);
        let tool_bytes = tools.map_or(0, |tools| tools.to_string().len());
        let bytes: usize = messages.iter().map(|message| message.content.len() + 16).sum();
        Ok((bytes + tool_bytes).div_ceil(2) as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        self.check_thinking(request.thinking)?;
        let begun = Instant::now();
        let deadline = RequestDeadline::new(
            request.deadline_s,
            request.session,
            request.seed,
            request.canceled,
        );
        let body = wire::request_body(&self.model, request, &self.capabilities);
        let completion = self.complete(&body, &deadline)?;
        Ok(Reply {
            text: completion.text,
            reasoning: completion.reasoning,
            finish: completion.finish,
            prompt_tokens: completion.prompt_tokens,
            reply_tokens: completion.reply_tokens,
            reasoning_tokens: completion.reasoning_tokens,
            cached_prompt_tokens: completion.cached_prompt_tokens,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }
}
