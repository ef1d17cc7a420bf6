//! The endpoint `/v1/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine::{Completion, FinishReason};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admission::admit;
use crate::api_error::ApiError;
use crate::generation::{GenerateParams, Generation, run_blocking};
use crate::params::CommonParams;
use crate::prompt_input::PromptInput;
use crate::sse::{self, Chunks};
use crate::state::{AppState, now_unix_s};
use crate::usage::usage;

/// Default of `max_tokens` for this endpoint, as in OpenAI's API.
const REPLY_TOKENS_DEFAULT: usize = 16;

#[derive(Debug, Deserialize)]
struct CompletionRequest {
    #[serde(flatten)]
    common: CommonParams,
    prompt: PromptInput,
}

pub(crate) async fn handle(
    State(app): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (permit, request): (_, CompletionRequest) = admit(&app, request).await?;
    app.check_model(request.common.model.as_deref())?;
    request.common.check()?;
    let response = CompletionResponse {
        id: app.new_id("cmpl"),
        created_unix_s: now_unix_s(),
        model: app.model.name.clone(),
        fingerprint: app.model.fingerprint.clone(),
        include_usage: request.common.include_usage(),
    };
    let is_stream = request.common.is_stream();
    let state = Arc::clone(&app);
    let slot = app.constrained_slot(request.common.response_format.is_some()).await?;
    let generation = run_blocking(move || {
        let _slot = slot;
        let params = request.into_params(&state)?;
        Generation::start(&state, permit, params)
    })
    .await?;
    if is_stream {
        return sse::respond(generation, response).await;
    }
    let completion = generation.finish().await?;
    let document = response.document(
        &completion.reply.text,
        Some(finish_reason(&completion)),
        usage(&completion),
    );
    Ok(Json(document).into_response())
}

impl CompletionRequest {
    fn into_params(self, app: &AppState) -> Result<GenerateParams, ApiError> {
        let common = &self.common;
        let mut prompts = self.prompt.tokenize(app)?;
        let prompt = match (prompts.pop(), prompts.len()) {
            (Some(prompt), 0) => prompt,
            (_, others) => {
                let text = format!("expected one prompt, found {}", others + 1);
                return Err(ApiError::field("prompt", text));
            }
        };
        Ok(GenerateParams {
            prompt,
            sampling: common.sampling()?,
            thinking: None,
            constraint: common.constraint()?,
            reply_tokens_max: common.reply_tokens_max(app, REPLY_TOKENS_DEFAULT)?,
            stop_strings: common.stop_strings()?,
        })
    }
}

fn finish_reason(completion: &Completion) -> &'static str {
    if completion.reason == FinishReason::Length { "length" } else { "stop" }
}

/// JSON fields that all chunks of a response share, and whether a stream ends with the token
/// counts.
struct CompletionResponse {
    id: String,
    created_unix_s: u64,
    model: String,
    fingerprint: String,
    include_usage: bool,
}

impl CompletionResponse {
    fn document(&self, text: &str, finish_reason: Option<&str>, usage: Value) -> Value {
        let choice =
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason});
        self.with_choices(json!([choice]), usage)
    }

    fn with_choices(&self, choices: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created_unix_s,
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

    fn end(&mut self, completion: &Completion) -> Vec<Value> {
        let mut chunks = vec![self.document("", Some(finish_reason(completion)), Value::Null)];
        if self.include_usage {
            chunks.push(self.with_choices(json!([]), usage(completion)));
        }
        chunks
    }
}
