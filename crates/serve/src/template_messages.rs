//! Converts chat messages from OpenAI's format to the chat template's.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::tools::Tools;

/// A chat message of a request; unknown JSON fields are ignored.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RequestMessage {
    role: String,
    content: Option<MessageContent>,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum MessageContent {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Debug, Clone, Deserialize)]
struct ContentPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// The messages in the chat template's format. If the template does not render tools, the tools are
/// described in the system message, and the tool calls of earlier messages are appended to those
/// messages' content as JSON.
pub(crate) fn for_template(
    messages: &[RequestMessage],
    tools: &Tools,
    renders_tools: bool,
) -> Result<Vec<Value>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected at least one message, found none"));
    }
    let mut values: Vec<Value> = messages
        .iter()
        .map(|message| message.for_template(renders_tools))
        .collect::<Result<_, _>>()?;
    if !renders_tools && !tools.is_empty() {
        add_to_system(&mut values, &tools.as_instructions());
    }
    Ok(values)
}

fn add_to_system(messages: &mut Vec<Value>, instructions: &str) {
    match messages.first_mut().filter(|first| first["role"] == "system") {
        Some(system) => {
            let content = system["content"].as_str().unwrap_or_default();
            system["content"] = Value::from(format!("{content}\n\n{instructions}"));
        }
        None => messages.insert(0, json!({"role": "system", "content": instructions})),
    }
}

impl RequestMessage {
    fn for_template(&self, renders_tools: bool) -> Result<Value, ApiError> {
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
        let mut content = self.text()?;
        let calls: Vec<Value> = self
            .tool_calls
            .iter()
            .flatten()
            .map(with_object_arguments)
            .collect::<Result<_, _>>()?;
        if !calls.is_empty() && !renders_tools {
            let call_texts: Vec<String> =
                calls.iter().map(|call| call["function"].to_string()).collect();
            content = [content]
                .into_iter()
                .filter(|text| !text.is_empty())
                .chain(call_texts)
                .collect::<Vec<_>>()
                .join("\n");
        }
        let mut value = Map::new();
        value.insert("role".into(), role.into());
        value.insert("content".into(), content.into());
        if !calls.is_empty() && renders_tools {
            value.insert("tool_calls".into(), calls.into());
        }
        for (key, text) in [("name", &self.name), ("tool_call_id", &self.tool_call_id)] {
            if let Some(text) = text {
                value.insert(key.into(), text.clone().into());
            }
        }
        Ok(Value::Object(value))
    }

    fn text(&self) -> Result<String, ApiError> {
        match &self.content {
            None => Ok(String::new()),
            Some(MessageContent::Text(text)) => Ok(text.clone()),
            Some(MessageContent::Parts(parts)) => parts.iter().map(ContentPart::text).collect(),
        }
    }
}

impl ContentPart {
    fn text(&self) -> Result<&str, ApiError> {
        match (&self.text, self.kind.as_str()) {
            (Some(text), "text") => Ok(text),
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
