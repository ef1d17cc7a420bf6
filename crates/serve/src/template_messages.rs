//! Converts chat messages from OpenAI's format to the chat template's.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::request_fields::refuse_unsupported_in;

/// A chat message of a request. Members that OpenAI does not define are passed to the template, as
/// transformers does.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RequestMessage {
    role: String,
    content: Option<MessageContent>,
    /// OpenAI's text of a refusal, in place of `content`.
    refusal: Option<String>,
    tool_calls: Option<Vec<Value>>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "content: expected a text or a list of parts")]
enum MessageContent {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Debug, Clone, Deserialize)]
struct ContentPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

/// The two names of an earlier reply's reasoning. Clients send either, templates read either.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Members of OpenAI's messages that this server does not support.
const UNSUPPORTED: [&str; 2] = ["audio", "function_call"];

/// The messages in the chat template's format.
pub(crate) fn for_template(messages: &[RequestMessage]) -> Result<Vec<Value>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected at least one message, found none"));
    }
    messages.iter().map(RequestMessage::for_template).collect()
}

impl RequestMessage {
    fn for_template(&self) -> Result<Value, ApiError> {
        let role = match self.role.as_str() {
            // `developer` is OpenAI's newer name of the role `system`.
            "developer" => "system",
            "system" | "user" | "assistant" | "tool" => &self.role,
            other => {
                let text = format!(
                    "expected a role of system, developer, user, assistant or tool, found \"{other}\""
                );
                return Err(ApiError::field("messages", text));
            }
        };
        let calls: Vec<Value> = self
            .tool_calls
            .iter()
            .flatten()
            .map(with_object_arguments)
            .collect::<Result<_, _>>()?;
        if !calls.is_empty() && role != "assistant" {
            let text = format!(
                "expected tool_calls in messages of the assistant only, found one of the {role}"
            );
            return Err(ApiError::field("messages", text));
        }
        let mut value = Map::new();
        value.insert("role".into(), role.into());
        value.insert("content".into(), self.text()?.into());
        if !calls.is_empty() {
            value.insert("tool_calls".into(), calls.into());
        }
        let more = self.more.iter().filter(|(_, member)| !member.is_null());
        for (name, member) in more {
            if UNSUPPORTED.contains(&name.as_str()) {
                let text = format!("{name} in a message is not supported; leave it out");
                return Err(ApiError::field("messages", text));
            }
            value.insert(name.clone(), member.clone());
        }
        if let Some(reasoning) = REASONING.iter().find_map(|name| value.get(*name)).cloned() {
            for name in REASONING {
                value.entry(name).or_insert_with(|| reasoning.clone());
            }
        }
        Ok(Value::Object(value))
    }

    fn text(&self) -> Result<String, ApiError> {
        let content = match &self.content {
            None if self.role == "assistant" => String::new(),
            None => {
                let text =
                    format!("expected content in the message of the {}, found none", self.role);
                return Err(ApiError::field("messages", text));
            }
            Some(MessageContent::Text(text)) => text.clone(),
            Some(MessageContent::Parts(parts)) => {
                parts.iter().map(ContentPart::text).collect::<Result<_, _>>()?
            }
        };
        match &self.refusal {
            Some(refusal) if content.is_empty() => Ok(refusal.clone()),
            _ => Ok(content),
        }
    }
}

impl ContentPart {
    fn text(&self) -> Result<&str, ApiError> {
        match (&self.text, self.kind.as_str()) {
            (Some(text), "text") => {
                refuse_unsupported_in("messages.content", &self.unsupported)?;
                Ok(text)
            }
            (_, kind) => {
                let text = format!(
                    "only text is supported; expected parts of type \"text\", found \"{kind}\""
                );
                Err(ApiError::field("messages", text))
            }
        }
    }
}

/// Parses the arguments of a tool call: clients send them as JSON text, and templates expect an
/// object.
fn with_object_arguments(call: &Value) -> Result<Value, ApiError> {
    let mut call = call.clone();
    let invalid = |text: String| ApiError::field("messages", format!("tool_calls: {text}"));
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else {
        return Err(invalid(format!("expected a member \"function\", found {call}")));
    };
    if let Some(Value::String(text)) = function.get("arguments") {
        let text = if text.trim().is_empty() { "{}" } else { text };
        // The model may have written invalid JSON: such arguments are passed to the template as
        // text.
        let arguments = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        function.insert("arguments".into(), arguments);
    }
    Ok(call)
}
