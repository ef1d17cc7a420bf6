//! A provider that asks an OpenAI-compatible server (vLLM, SGLang, llama.cpp, hosted ones): `POST
//! /chat/completions`.
//!
//! ```text
//! open    asks twice what the server offers                  offers
//! reply   waits for its turn, asks, retries                  pace, retry
//!   post  one exchange, in time or not at all                http
//!   body, read    JSON out and in                            wire
//! ```
//!
//! Whatever a server does wrong is a [`ProviderError`]: its words never become a reply.

mod capabilities;
mod http;
mod rate_limit;

mod retry;
mod wire;

use crate::provider::{Provider, ProviderError, ProviderInfo, Reply, ReplyRequest, ServerSettings};
use capabilities::ServerCapabilities;
use http::HttpClient;
use rate_limit::RateLimiter;
use results::PromptMessage;
use retry::{AttemptError, RequestDeadline};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A model behind a server.
pub struct RemoteProvider {
    model: String,
    dtype: String,
    line: HttpClient,
    pace: RateLimiter,
    retries: u64,
    attempt_timeout: Duration,
    offers: ServerCapabilities,
}

impl RemoteProvider {
    /// What a served model is, without asking the server. The address is no part of it: a server
    /// that moved to another node serves the same model.
    pub fn identity(model: &str, dtype: &str) -> ProviderInfo {
        ProviderInfo {
            identity: format!("openai-compatible {model}"),
            dtype: dtype.to_string(),
            rung: String::new(),
            kernel_set: "server".to_string(),
            context_length: None,
        }
    }

    /// Finds the server and what it offers. `deadline_s` is for each question.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the key, or does not know the model.
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
            line: HttpClient::new(settings)?,
            pace: RateLimiter::new(settings.requests_per_minute, settings.tokens_per_minute),
            retries: settings.retries,
            attempt_timeout: Duration::from_secs_f64(settings.attempt_timeout_s),
            offers: ServerCapabilities::default(),
        };
        provider.offers = capabilities::find(&provider, deadline_s, canceled)?;
        Ok(provider)
    }

    /// CapabilityProbe until there is an answer, the attempts are used up, or time is.
    fn ask(
        &self,
        body: &Value,
        patience: &RequestDeadline<'_>,
    ) -> Result<wire::Completion, ProviderError> {
        let mut tries = 0;
        loop {
            self.pace.turn(patience)?;
            let limit = patience.left()?.min(self.attempt_timeout);
            let trouble = match self.line.post("chat/completions", body, limit, patience)? {
                Ok(answer) => match retry::judge(&answer).map(|()| wire::read(&answer.body)) {
                    Ok(Ok(completion)) => {
                        self.pace.spend(completion.prompt_tokens + completion.reply_tokens);
                        return Ok(completion);
                    }
                    Ok(Err(why)) => {
                        AttemptError::again(format!("the server's answer is no completion: {why}"))
                    }
                    Err(trouble) => trouble,
                },
                Err(why) => AttemptError::again(why),
            };
            tries += 1;
            let (why, after) = match trouble {
                AttemptError::Never(error) => return Err(error),
                AttemptError::Again { why, after } => {
                    (format!("{}: {why}", self.line.address()), after)
                }
            };
            if tries > self.retries {
                return Err(ProviderError::Unavailable(format!("{why} (after {tries} attempts)")));
            }
            if let Some(after) = after {
                self.pace.hold(after);
            }
            patience.rest(retry::pause(tries, after, patience), &why)?;
        }
    }
}

impl Provider for RemoteProvider {
    fn describe(&self) -> ProviderInfo {
        ProviderInfo { kernel_set: self.offers.words(), ..Self::identity(&self.model, &self.dtype) }
    }

    /// An estimate from above, since a server's tokenizer is not to be had: two bytes a token,
    /// where text has three to four.
    fn count_tokens(
        &self,
        messages: &[PromptMessage],
        tools: Option<&Value>,
    ) -> Result<u64, ProviderError> {
        let tools = tools.filter(|_| self.offers.tools).map_or(0, |tools| tools.to_string().len());
        let bytes: usize = messages.iter().map(|message| message.content.len() + 16).sum();
        Ok((bytes + tools).div_ceil(2) as u64)
    }

    fn reply(&self, request: &ReplyRequest<'_>) -> Result<Reply, ProviderError> {
        let begun = Instant::now();
        let patience = RequestDeadline::new(
            request.deadline_s,
            request.session,
            request.seed,
            request.canceled,
        );
        let completion = self.ask(&wire::body(&self.model, request, &self.offers), &patience)?;
        Ok(Reply {
            text: completion.text,
            finish: completion.finish,
            prompt_tokens: completion.prompt_tokens,
            reply_tokens: completion.reply_tokens,
            cached_prompt_tokens: completion.cached_prompt_tokens,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }
}
