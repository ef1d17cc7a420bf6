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

mod http;
mod offers;
mod pace;
mod retry;
mod wire;

use crate::provider::{Provider, ProviderError, ProviderInfo, Reply, ReplyRequest};
use http::Line;
use offers::Offers;
use pace::Pace;
use results::PromptMessage;
use retry::{Patience, Trouble};
use serde_json::Value;
use std::time::{Duration, Instant};

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

/// A model behind a server.
pub struct RemoteProvider {
    model: String,
    dtype: String,
    line: Line,
    pace: Pace,
    retries: u64,
    attempt_timeout: Duration,
    offers: Offers,
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
            line: Line::new(settings)?,
            pace: Pace::new(settings.requests_per_minute, settings.tokens_per_minute),
            retries: settings.retries,
            attempt_timeout: Duration::from_secs_f64(settings.attempt_timeout_s),
            offers: Offers::default(),
        };
        provider.offers = offers::find(&provider, deadline_s, canceled)?;
        Ok(provider)
    }

    /// Asks until there is an answer, the attempts are used up, or time is.
    fn ask(
        &self,
        body: &Value,
        patience: &Patience<'_>,
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
                        Trouble::again(format!("the server's answer is no completion: {why}"))
                    }
                    Err(trouble) => trouble,
                },
                Err(why) => Trouble::again(why),
            };
            tries += 1;
            let (why, after) = match trouble {
                Trouble::Never(error) => return Err(error),
                Trouble::Again { why, after } => (format!("{}: {why}", self.line.address()), after),
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
        let patience =
            Patience::new(request.deadline_s, request.session, request.seed, request.canceled);
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
