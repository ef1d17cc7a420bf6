//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine::grammar::Constraint;
use engine::{Completion, FinishReason};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::app::{App, take};
use crate::generation::{GenerateParams, Generation, aside};
use crate::messages::{self, ChatMessage};
use crate::params::CommonParams;
use crate::reply_parts::{ReplyPart, ReplyReader};
use crate::stream::{self, Chunks};
use crate::tools::{Tool, ToolChoice, Tools};

#[derive(Debug, Deserialize)]
struct ChatRequest {
    #[serde(flatten)]
    common: CommonParams,
    messages: Vec<ChatMessage>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
}

pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (place, request): (_, ChatRequest) = take(&app, request).await?;
    app.check_model(request.common.model.as_deref())?;
    request.common.check()?;
    let (is_stream, include_usage) = (request.common.is_stream(), request.common.include_usage());
    let mut said = ChatResponse::new(&app);
    let preparing = Arc::clone(&app);
    let (generation, reader) = aside(move || {
        let (asked, reader) = prepare(&preparing, request)?;
        Ok((Generation::start(&preparing, place, asked)?, reader))
    })
    .await?;
    said.reader = reader;
    if is_stream {
        return stream::respond(generation, ChatChunks { said, include_usage }).await;
    }
    let finished = generation.finish().await?;
    Ok(Json(said.whole(&finished)).into_response())
}

fn prepare(app: &App, request: ChatRequest) -> Result<(GenerateParams, ReplyReader), ApiError> {
    let common = &request.common;
    let tools = Tools::new(request.tools)?;
    let choice = ToolChoice::new(request.tool_choice.as_ref(), &tools)?;
    let constraint = common.constraint()?;
    let (constraint, reader) = match &choice {
        ToolChoice::None => (constraint, ReplyReader::Plain),
        ToolChoice::Auto if constraint.is_some() => {
            let text = "a form for the reply leaves no room for a call: expected tool_choice none or required with it";
            return Err(ApiError::field("response_format", text));
        }
        ToolChoice::Auto => (None, ReplyReader::auto(tools.clone())),
        ToolChoice::Required => {
            (Some(Constraint::JsonSchema(tools.schema(None))), ReplyReader::forced())
        }
        ToolChoice::Named(name) => {
            (Some(Constraint::JsonSchema(tools.schema(Some(name)))), ReplyReader::forced())
        }
    };
    let told = if choice == ToolChoice::None { Tools::default() } else { tools };
    let prompt = prompt(app, &request.messages, &told)?;
    let asked = GenerateParams {
        prompt,
        sampling: common.sampling()?,
        constraint,
        reply_tokens_max: common.reply_tokens_max(app, usize::MAX)?,
        stop_strings: common.stop_strings()?,
    };
    Ok((asked, reader))
}

fn prompt(app: &App, messages: &[ChatMessage], tools: &Tools) -> Result<Vec<u32>, ApiError> {
    let no_template = || ApiError::bad("this model has no chat template; use /v1/completions");
    let template = app.served.template.as_ref().ok_or_else(no_template)?;
    let messages = messages::for_template(messages, tools, app.tells_tools)?;
    let tools = Some(tools.for_template()).filter(|_| app.tells_tools && !tools.is_empty());
    let refused = |e: text::TextError| ApiError::field("messages", e.to_string());
    let text = template.render(&messages, tools.as_ref(), true).map_err(refused)?;
    app.served.tokenizer.encode(&text, false).map_err(refused)
}

/// A reply as it is told.
struct ChatResponse {
    id: String,
    created_s: u64,
    model: String,
    fingerprint: String,
    reader: ReplyReader,
    has_calls: bool,
}

impl ChatResponse {
    fn new(app: &App) -> Self {
        ChatResponse {
            id: app.id("chatcmpl"),
            created_s: crate::served_model::now_s(),
            model: app.served.name.clone(),
            fingerprint: app.served.fingerprint.clone(),
            reader: ReplyReader::Plain,
            has_calls: false,
        }
    }

    fn document(&self, object: &str, choices: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": usage,
        })
    }

    fn whole(mut self, finished: &Completion) -> Value {
        let mut parts = self.reader.push(&finished.reply.text);
        parts.extend(self.reader.finish());
        let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
        for part in parts {
            match part {
                ReplyPart::Content(text) => content.push_str(&text),
                ReplyPart::Call { name, .. } => calls.push((name, String::new())),
                ReplyPart::Arguments { index, text } => calls[index].1.push_str(&text),
            }
        }
        self.has_calls = !calls.is_empty();
        let told = if self.has_calls && content.is_empty() { Value::Null } else { content.into() };
        let mut message = json!({"role": "assistant", "content": told, "refusal": null});
        if self.has_calls {
            let call = |(index, (name, arguments)): (usize, (String, String))| {
                json!({
                    "id": self.call_id(index),
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                })
            };
            message["tool_calls"] = calls.into_iter().enumerate().map(call).collect();
        }
        let reason = self.reason(finished);
        let choices =
            json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]);
        self.document("chat.completion", choices, usage(finished))
    }

    fn call_id(&self, index: usize) -> String {
        format!("call_{}_{index}", self.id.trim_start_matches("chatcmpl-"))
    }

    fn reason(&self, finished: &Completion) -> &'static str {
        match finished.reason {
            FinishReason::Length => "length",
            _ if self.has_calls => "tool_calls",
            _ => "stop",
        }
    }

    fn chunk(&self, delta: Value, reason: Option<&str>) -> Value {
        let choices =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
        self.document("chat.completion.chunk", choices, Value::Null)
    }

    fn part(&mut self, part: ReplyPart) -> Value {
        let delta = match part {
            ReplyPart::Content(text) => json!({"content": text}),
            ReplyPart::Call { index, name } => {
                self.has_calls = true;
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": self.call_id(index), "type": "function", "function": function});
                json!({"tool_calls": [call]})
            }
            ReplyPart::Arguments { index, text } => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
            }
        };
        self.chunk(delta, None)
    }
}

/// Tokens counted, as all endpoints tell them.
pub(crate) fn usage(finished: &Completion) -> Value {
    let (prompt, reply) = (finished.prompt_tokens, finished.reply.tokens.len());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": reply,
        "total_tokens": prompt + reply,
        "prompt_tokens_details": {"cached_tokens": finished.cached_prompt_tokens},
    })
}

struct ChatChunks {
    said: ChatResponse,
    include_usage: bool,
}

impl Chunks for ChatChunks {
    fn begin(&mut self) -> Vec<Value> {
        vec![self.said.chunk(json!({"role": "assistant", "content": ""}), None)]
    }

    fn text(&mut self, text: &str) -> Vec<Value> {
        let parts = self.said.reader.push(text);
        parts.into_iter().map(|part| self.said.part(part)).collect()
    }

    fn end(&mut self, finished: &Completion) -> Vec<Value> {
        let parts = self.said.reader.finish();
        let mut chunks: Vec<Value> = parts.into_iter().map(|part| self.said.part(part)).collect();
        chunks.push(self.said.chunk(json!({}), Some(self.said.reason(finished))));
        if self.include_usage {
            chunks.push(self.said.document("chat.completion.chunk", json!([]), usage(finished)));
        }
        chunks
    }
}
