//! JSON of the OpenAI protocol: the bodies of requests, and completions.

use super::capabilities::{ReplyConstraint, ServerCapabilities, ThinkingControl};
use crate::provider::ModelThinking;
use crate::provider::{Finish, ReplyRequest};
use serde_json::{Value, json};

/// The fields of a completion that are used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChatCompletion {
    pub text: String,
    /// The thinking before it; empty if the server returns none.
    pub reasoning: String,
    pub finish: Finish,
    pub prompt_tokens: u64,
    pub reply_tokens: u64,
    pub reasoning_tokens: u64,
    pub cached_prompt_tokens: u64,
}

/// The body of a request. It omits features that the server lacks. A reply is then parsed without
/// correction: if it violates the schema, that is the model's failure.
pub(super) fn request_body(
    model: &str,
    request: &ReplyRequest<'_>,
    capabilities: &ServerCapabilities,
) -> Value {
    let limit =
        if capabilities.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({
        "model": model,
        "messages": request.messages,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        limit: request.max_tokens,
        "n": 1,
        "stream": false,
    });
    if let Some(schema) = request.schema {
        match capabilities.constraint {
            ReplyConstraint::JsonSchema => body["response_format"] = json_schema(schema),
            ReplyConstraint::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            ReplyConstraint::Unconstrained => {}
        }
    }
    ask_thinking(&mut body, request.thinking, capabilities.thinking);
    if let Some(tools) = request.tools.filter(|_| capabilities.tools) {
        body["tools"] = tools.clone();
        body["tool_choice"] = json!("auto");
    }
    body
}

/// Asks for thinking, or for none, in the way that the server understands.
fn ask_thinking(body: &mut Value, thinking: ModelThinking, control: ThinkingControl) {
    let is_on = thinking != ModelThinking::Off;
    match control {
        ThinkingControl::TemplateVariables => {
            body["chat_template_kwargs"] = json!({"enable_thinking": is_on});
            if let ModelThinking::Budget(tokens) = thinking {
                body["thinking_budget"] = tokens.into();
            }
        }
        ThinkingControl::Effort => {
            body["reasoning_effort"] = json!(if is_on { "medium" } else { "none" });
        }
        ThinkingControl::Absent => {}
    }
}

/// The thinking in a message: servers call it `reasoning_content` or `reasoning`.
fn reasoning(message: &Value) -> String {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    text("reasoning_content").or_else(|| text("reasoning")).unwrap_or_default().to_string()
}

pub(super) fn json_schema(schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "reply", "strict": true, "schema": schema}})
}

/// Parses the body of a completion.
///
/// # Errors
/// A description of the first violation of the protocol.
pub(super) fn parse_completion(body: &[u8]) -> Result<ChatCompletion, String> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("{error}: {}", super::retry::error_message(body)))?;
    let choice = value
        .pointer("/choices/0")
        .ok_or_else(|| format!("no choices: {}", super::retry::error_message(body)))?;
    let message = choice
        .get("message")
        .filter(|message| message.is_object())
        .ok_or("a choice without a message")?;
    let usage = |key: &str| value.pointer(key).and_then(Value::as_u64);
    let tokens = |key: &str| {
        usage(key).ok_or_else(|| format!("{key}: expected a count of tokens, found none"))
    };
    Ok(ChatCompletion {
        text: text(message)?,
        reasoning: reasoning(message),
        finish: finish(choice.get("finish_reason").unwrap_or(&Value::Null))?,
        prompt_tokens: tokens("/usage/prompt_tokens")?,
        reply_tokens: tokens("/usage/completion_tokens")?,
        reasoning_tokens: usage("/usage/completion_tokens_details/reasoning_tokens").unwrap_or(0),
        cached_prompt_tokens: usage("/usage/prompt_tokens_details/cached_tokens").unwrap_or(0),
    })
}

fn finish(reason: &Value) -> Result<Finish, String> {
    match reason.as_str() {
        // A filtered reply is also a reply of the service. It contains no tool call, so it becomes
        // a parse failure.
        Some("stop" | "tool_calls" | "function_call" | "eos_token" | "content_filter") => {
            Ok(Finish::Stop)
        }
        Some("length") => Ok(Finish::Length),
        _ => Err(format!("finish_reason: expected stop, length or tool_calls, found {reason}")),
    }
}

/// The message's text, followed by each of its tool calls in a format that is also parsed from free
/// text.
fn text(message: &Value) -> Result<String, String> {
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => {
            message.get("refusal").and_then(Value::as_str).unwrap_or("").to_string()
        }
        Some(other) => return Err(format!("message.content: expected a text, found {other}")),
    };
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(calls)) => calls,
        Some(other) => return Err(format!("message.tool_calls: expected a list, found {other}")),
    };
    let mut parts: Vec<String> =
        Some(content).filter(|text| !text.is_empty()).into_iter().collect();
    for call in calls {
        let function = call.get("function").ok_or("a tool call without a function")?;
        parts.push(format!("<tool_call>{}</tool_call>", tool_call(function)));
    }
    Ok(parts.join("\n"))
}

/// The tool call as JSON. Arguments that are not valid JSON remain a string, so that the call
/// becomes a failure of the model and not of the server.
fn tool_call(function: &Value) -> Value {
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))
        }
        Some(other) => other.clone(),
        None => Value::Null,
    };
    json!({"name": function.get("name").unwrap_or(&Value::Null), "arguments": arguments})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(message: Value, reason: &str) -> Result<ChatCompletion, String> {
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}});
        let body =
            json!({"choices": [{"message": message, "finish_reason": reason}], "usage": usage});
        parse_completion(body.to_string().as_bytes())
    }

    #[test]
    fn tool_calls_become_text_that_parses_as_a_call() {
        let call = |arguments: &str| json!({"type": "function", "function": {"name": "wait", "arguments": arguments}});
        let one = completion(
            json!({"content": null, "tool_calls": [call("{\"card\": null}")]}),
            "tool_calls",
        )
        .unwrap();
        assert_eq!(one.text, r#"<tool_call>{"name":"wait","arguments":{"card":null}}</tool_call>"#);
        assert_eq!((one.prompt_tokens, one.reply_tokens, one.cached_prompt_tokens), (9, 4, 8));
        let read = |text: &str| {
            crate::agent::read_reply(text, Finish::Stop, crate::agent::ReplyMode::Text)
        };
        assert_eq!(read(&one.text).unwrap().tool, "wait");
        let broken =
            completion(json!({"tool_calls": [call("{\"card\": ")]}), "tool_calls").unwrap();
        assert_eq!(read(&broken.text).unwrap_err().kind, "schema_mismatch");
        let ten: Vec<Value> = (0..10).map(|n| call(&format!("{{\"n\": {n}}}"))).collect();
        let ten =
            completion(json!({"content": "all at once", "tool_calls": ten}), "tool_calls").unwrap();
        assert_eq!(read(&ten.text).unwrap_err().kind, "several_calls");
    }

    #[test]
    fn reasoning_is_kept_apart_under_either_name() {
        for name in ["reasoning_content", "reasoning"] {
            let found = completion(json!({"content": "x", name: "I see."}), "stop").unwrap();
            assert_eq!((found.text.as_str(), found.reasoning.as_str()), ("x", "I see."));
        }
        let both = json!({"content": "x", "reasoning": "I see.", "reasoning_content": null});
        assert_eq!(completion(both, "stop").unwrap().reasoning, "I see.");
        assert_eq!(completion(json!({"content": "x"}), "stop").unwrap().reasoning, "");
    }

    #[test]
    fn thinking_is_asked_for_as_the_server_understands_it() {
        use ModelThinking::{Budget, Off, On};
        let variables = |on: bool| json!({"chat_template_kwargs": {"enable_thinking": on}});
        let mut limited = variables(true);
        limited["thinking_budget"] = json!(64);
        for (control, thinking, expected) in [
            (ThinkingControl::TemplateVariables, Off, variables(false)),
            (ThinkingControl::TemplateVariables, On, variables(true)),
            (ThinkingControl::TemplateVariables, Budget(64), limited),
            (ThinkingControl::Effort, Off, json!({"reasoning_effort": "none"})),
            (ThinkingControl::Effort, On, json!({"reasoning_effort": "medium"})),
            (ThinkingControl::Absent, Off, json!({})),
        ] {
            let mut body = json!({});
            ask_thinking(&mut body, thinking, control);
            assert_eq!(body, expected);
        }
    }

    #[test]
    fn an_invalid_completion_is_described_by_its_first_violation() {
        for (body, part) in [
            ("", "EOF"),
            ("<html>busy</html>", "busy"),
            ("{}", "no choices"),
            (r#"{"error": {"message": "engine died"}}"#, "engine died"),
            (r#"{"choices": []}"#, "no choices"),
            (r#"{"choices": [{"message": "hi", "finish_reason": "stop"}]}"#, "without a message"),
            (r#"{"choices": [{"message": {"content": "hi"}, "finish_reason": "abort"}]}"#, "abort"),
            (
                r#"{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}"#,
                "prompt_tokens",
            ),
            (r#"{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}"#, "content"),
            (
                r#"{"choices": [{"message": {"tool_calls": 5}, "finish_reason": "stop"}]}"#,
                "tool_calls",
            ),
        ] {
            let error = parse_completion(body.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
        assert_eq!(completion(json!({"content": "x"}), "length").unwrap().finish, Finish::Length);
        assert_eq!(
            completion(json!({"content": null, "refusal": "I can't."}), "stop").unwrap().text,
            "I can't."
        );
    }
}
