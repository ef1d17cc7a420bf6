//! The endpoint `/v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use engine::grammar::Constraint;
use engine::{Completion, FinishReason};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use text::thinking::ThinkingPrompt;
use text::{ChatTemplate, TextError};

use crate::admission::admit;
use crate::api_error::ApiError;
use crate::generation::{GenerateParams, Generation, run_blocking};
use crate::params::CommonParams;
use crate::reply_parts::{ReplyPart, ReplyReader};
use crate::sse::{self, Chunks};
use crate::state::{AppState, now_unix_s};
use crate::template_messages::{self, RequestMessage};
use crate::thinking::{ThinkingParams, ThinkingPlan};
use crate::tools::{Tool, ToolChoice, Tools};
use crate::usage::usage;

/// The member of messages and deltas with the thinking, as of DeepSeek and vLLM.
const REASONING: &str = "reasoning_content";

#[derive(Debug, Deserialize)]
struct ChatRequest {
    #[serde(flatten)]
    common: CommonParams,
    messages: Vec<RequestMessage>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    chat_template_kwargs: Option<Map<String, Value>>,
    enable_thinking: Option<bool>,
    reasoning_effort: Option<String>,
    thinking_budget: Option<u64>,
}

/// What the reply may be.
struct ReplyForm {
    /// The tools that the prompt shows.
    shown_tools: Tools,
    constraint: Option<Constraint>,
    reader: ReplyReader,
}

pub(crate) async fn handle(
    State(app): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (permit, request): (_, ChatRequest) = admit(&app, request).await?;
    app.check_model(request.common.model.as_deref())?;
    request.common.check()?;
    let (is_stream, include_usage) = (request.common.is_stream(), request.common.include_usage());
    let mut response = ChatResponse::new(&app);
    let state = Arc::clone(&app);
    let slot = app.constrained_slot(request.is_constrained()).await?;
    let (generation, reader) = run_blocking(move || {
        let _slot = slot;
        let (params, reader) = request.into_params(&state)?;
        Ok((Generation::start(&state, permit, params)?, reader))
    })
    .await?;
    response.reader = reader;
    if is_stream {
        return sse::respond(generation, ChatChunks { response, include_usage }).await;
    }
    let completion = generation.finish().await?;
    Ok(Json(response.into_document(&completion)).into_response())
}

impl ChatRequest {
    /// The tools that the prompt shows, and the calls that the reply may have.
    fn tools(&self) -> Result<(Tools, ToolChoice), ApiError> {
        let tools = Tools::new(self.tools.clone())?;
        let choice = ToolChoice::new(self.tool_choice.as_ref(), &tools)?;
        let shown = if choice == ToolChoice::None { Tools::default() } else { tools };
        Ok((shown, choice))
    }

    /// Whether the reply is constrained by a schema: of its format, or of a tool that it must call.
    fn is_constrained(&self) -> bool {
        self.common.response_format.is_some() || self.tool_choice.is_some()
    }

    fn thinking(&self) -> ThinkingParams<'_> {
        ThinkingParams {
            variables: self.chat_template_kwargs.as_ref(),
            enable_thinking: self.enable_thinking,
            effort: self.reasoning_effort.as_deref(),
            budget: self.thinking_budget,
        }
    }

    fn reply_form(&self) -> Result<ReplyForm, ApiError> {
        let (shown_tools, choice) = self.tools()?;
        let one_call = |only| Some(Constraint::JsonSchema(shown_tools.call_schema(only)));
        let (constraint, reader) = match (&choice, self.common.constraint()?) {
            (ToolChoice::None, constraint) => (constraint, ReplyReader::Plain),
            (ToolChoice::Auto, None) => (None, ReplyReader::auto(shown_tools.clone())),
            (ToolChoice::Auto | ToolChoice::Required | ToolChoice::Named(_), Some(_)) => {
                let text =
                    "a response_format rules out tool calls: expected tool_choice none with it";
                return Err(ApiError::field("response_format", text));
            }
            (ToolChoice::Required, None) => (one_call(None), ReplyReader::forced()),
            (ToolChoice::Named(name), None) => (one_call(Some(name)), ReplyReader::forced()),
        };
        Ok(ReplyForm { shown_tools, constraint, reader })
    }

    /// Parameters for the engine, and the reader that splits the answer into content and tool
    /// calls.
    fn into_params(self, app: &AppState) -> Result<(GenerateParams, ReplyReader), ApiError> {
        let common = &self.common;
        let template = app.model.template.as_ref().map_err(ApiError::bad_request)?;
        let mut plan = self.thinking().resolve(template, &app.model.name)?;
        let ReplyForm { shown_tools, constraint, reader } = self.reply_form()?;
        plan.options.is_constrained = constraint.is_some();
        let prompt = self.thinking_prompt(template, &shown_tools, &plan)?;
        let tokenizer = &app.model.tokenizer;
        let params = GenerateParams {
            prompt: tokenizer.encode(&prompt.text, false).map_err(invalid_messages)?,
            sampling: common.sampling()?,
            thinking: plan.of_reply(prompt.start, template, tokenizer)?,
            constraint,
            reply_tokens_max: common.reply_tokens_max(app, usize::MAX)?,
            stop_strings: common.stop_strings()?,
        };
        Ok((params, reader))
    }

    /// Renders the conversation with the chat template.
    fn thinking_prompt(
        &self,
        template: &ChatTemplate,
        tools: &Tools,
        plan: &ThinkingPlan,
    ) -> Result<ThinkingPrompt, ApiError> {
        let messages = template_messages::for_template(&self.messages)?;
        let tools = Some(tools.for_template()).filter(|_| !tools.is_empty());
        template.thinking_prompt(&messages, tools.as_ref(), &plan.options).map_err(invalid_messages)
    }
}

fn invalid_messages(error: TextError) -> ApiError {
    ApiError::field("messages", error.to_string())
}

/// The prompt that this server makes of a chat request, without a server.
///
/// # Errors
/// Why the request is refused.
pub fn render_chat(
    request: Value,
    template: &ChatTemplate,
    add_generation_prompt: bool,
) -> Result<String, String> {
    let request: ChatRequest =
        serde_json::from_value(request).map_err(|e| format!("not a valid request: {e}"))?;
    let rendered = || {
        let mut plan = request.thinking().resolve(template, "this model")?;
        let ReplyForm { shown_tools, constraint, .. } = request.reply_form()?;
        plan.options.is_constrained = constraint.is_some();
        if add_generation_prompt {
            return Ok(request.thinking_prompt(template, &shown_tools, &plan)?.text);
        }
        let messages = template_messages::for_template(&request.messages)?;
        let tools = Some(shown_tools.for_template()).filter(|_| !shown_tools.is_empty());
        let variables = &plan.options.variables;
        template.prompt_with(&messages, tools.as_ref(), false, variables).map_err(invalid_messages)
    };
    rendered().map_err(|e: ApiError| e.to_string())
}

/// A response under construction: the JSON fields that all its chunks share, and the reader of the
/// reply text.
struct ChatResponse {
    id: String,
    created_unix_s: u64,
    model: String,
    fingerprint: String,
    reader: ReplyReader,
    has_calls: bool,
}

impl ChatResponse {
    fn new(app: &AppState) -> Self {
        ChatResponse {
            id: app.new_id("chatcmpl"),
            created_unix_s: now_unix_s(),
            model: app.model.name.clone(),
            fingerprint: app.model.fingerprint.clone(),
            reader: ReplyReader::Plain,
            has_calls: false,
        }
    }

    fn document(&self, object: &str, choices: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created_unix_s,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": usage,
        })
    }

    /// The response of a request without streaming: one JSON document with the whole reply.
    fn into_document(mut self, completion: &Completion) -> Value {
        let mut parts = self.reader.push(&completion.reply.text);
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
        let content =
            if self.has_calls && content.is_empty() { Value::Null } else { content.into() };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !completion.reply.reasoning.is_empty() {
            message[REASONING] = completion.reply.reasoning.clone().into();
        }
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
        let reason = self.finish_reason(completion);
        let choices =
            json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]);
        self.document("chat.completion", choices, usage(completion))
    }

    fn call_id(&self, index: usize) -> String {
        format!("call_{}_{index}", self.id.trim_start_matches("chatcmpl-"))
    }

    fn finish_reason(&self, completion: &Completion) -> &'static str {
        match completion.reason {
            FinishReason::Length => "length",
            _ if self.has_calls => "tool_calls",
            _ => "stop",
        }
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choices =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        self.document("chat.completion.chunk", choices, Value::Null)
    }

    fn part_chunk(&mut self, part: ReplyPart) -> Value {
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

    fn part_chunks(&mut self, parts: Vec<ReplyPart>) -> Vec<Value> {
        parts.into_iter().map(|part| self.part_chunk(part)).collect()
    }
}

struct ChatChunks {
    response: ChatResponse,
    include_usage: bool,
}

impl Chunks for ChatChunks {
    fn begin(&mut self) -> Vec<Value> {
        vec![self.response.chunk(json!({"role": "assistant", "content": ""}), None)]
    }

    fn reasoning(&mut self, text: &str) -> Vec<Value> {
        vec![self.response.chunk(json!({REASONING: text}), None)]
    }

    fn text(&mut self, text: &str) -> Vec<Value> {
        let parts = self.response.reader.push(text);
        self.response.part_chunks(parts)
    }

    fn end(&mut self, completion: &Completion) -> Vec<Value> {
        let response = &mut self.response;
        let parts = response.reader.finish();
        let mut chunks = response.part_chunks(parts);
        chunks.push(response.chunk(json!({}), Some(response.finish_reason(completion))));
        if self.include_usage {
            let usage = usage(completion);
            chunks.push(response.document("chat.completion.chunk", json!([]), usage));
        }
        chunks
    }
}
