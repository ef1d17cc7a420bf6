//! `/v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine::{Completion, FinishReason};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::app::{App, take};
use crate::chat::usage;
use crate::generation::{GenerateParams, Generation, aside};
use crate::params::CommonParams;
use crate::stream::{self, Chunks};

/// Tokens of a reply where the request does not say, as with OpenAI.
const REPLY_TOKENS_DEFAULT: usize = 16;

#[derive(Debug, Deserialize)]
struct CompletionRequest {
    #[serde(flatten)]
    common: CommonParams,
    prompt: Input,
    echo: Option<bool>,
    suffix: Option<String>,
}

/// A text or tokens, or a list of such.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

impl Input {
    /// The tokens of each text.
    pub fn tokens(self, app: &App) -> Result<Vec<Vec<u32>>, ApiError> {
        let encode = |text: &String| {
            app.served.tokenizer.encode(text, true).map_err(|e| ApiError::bad(e.to_string()))
        };
        match self {
            Input::Text(text) => Ok(vec![encode(&text)?]),
            Input::Tokens(tokens) => Ok(vec![tokens]),
            Input::Texts(texts) => texts.iter().map(encode).collect(),
            Input::Lists(lists) => Ok(lists),
        }
    }
}

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (place, request): (_, CompletionRequest) = take(&app, request).await?;
    app.check_model(request.common.model.as_deref())?;
    request.common.check()?;
    if request.echo == Some(true)
        || request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty())
    {
        return Err(ApiError::bad("this server has neither echo nor suffix; leave them out"));
    }
    let said = CompletionResponse {
        id: app.id("cmpl"),
        created_s: crate::served_model::now_s(),
        model: app.served.name.clone(),
        fingerprint: app.served.fingerprint.clone(),
        include_usage: request.common.include_usage(),
    };
    let is_stream = request.common.is_stream();
    let preparing = Arc::clone(&app);
    let generation = aside(move || {
        let asked = prepare(&preparing, request)?;
        Generation::start(&preparing, place, asked)
    })
    .await?;
    if is_stream {
        return stream::respond(generation, said).await;
    }
    let finished = generation.finish().await?;
    let document = said.document(&finished.reply.text, Some(reason(&finished)), usage(&finished));
    Ok(Json(document).into_response())
}

fn prepare(app: &App, request: CompletionRequest) -> Result<GenerateParams, ApiError> {
    let common = &request.common;
    let mut prompts = request.prompt.tokens(app)?;
    let prompt = match (prompts.pop(), prompts.len()) {
        (Some(prompt), 0) => prompt,
        (_, others) => {
            return Err(ApiError::field(
                "prompt",
                format!("expected one prompt, found {}", others + 1),
            ));
        }
    };
    Ok(GenerateParams {
        prompt,
        sampling: common.sampling()?,
        constraint: common.constraint()?,
        reply_tokens_max: common.reply_tokens_max(app, REPLY_TOKENS_DEFAULT)?,
        stop_strings: common.stop_strings()?,
    })
}

fn reason(finished: &Completion) -> &'static str {
    if finished.reason == FinishReason::Length { "length" } else { "stop" }
}

struct CompletionResponse {
    id: String,
    created_s: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
}

impl CompletionResponse {
    fn document(&self, text: &str, reason: Option<&str>, usage: Value) -> Value {
        self.with_choices(
            json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": reason}]),
            usage,
        )
    }

    fn with_choices(&self, choices: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": usage,
        })
    }
}

impl Chunks for CompletionResponse {
    fn begin(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn text(&mut self, text: &str) -> Vec<Value> {
        vec![self.document(text, None, Value::Null)]
    }

    fn end(&mut self, finished: &Completion) -> Vec<Value> {
        let mut chunks = vec![self.document("", Some(reason(finished)), Value::Null)];
        if self.include_usage {
            chunks.push(self.with_choices(json!([]), usage(finished)));
        }
        chunks
    }
}
