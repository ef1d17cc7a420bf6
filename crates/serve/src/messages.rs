//! A conversation as clients send it, as the template takes it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::tools::Tools;

/// A message; what else is in it is ignored.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ChatMessage {
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

/// Messages for a template. One that does not tell of tools gets them, and calls made before, in
/// words.
pub(crate) fn for_template(
    messages: &[ChatMessage],
    tools: &Tools,
    tells_tools: bool,
) -> Result<Vec<Value>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected at least one message, found none"));
    }
    let mut values: Vec<Value> = messages
        .iter()
        .map(|message| message.for_template(tells_tools))
        .collect::<Result<_, _>>()?;
    if !tells_tools && !tools.is_empty() {
        add_to_system(&mut values, &tools.in_words());
    }
    Ok(values)
}

fn add_to_system(messages: &mut Vec<Value>, words: &str) {
    match messages.first_mut().filter(|first| first["role"] == "system") {
        Some(system) => {
            let said = system["content"].as_str().unwrap_or_default();
            system["content"] = Value::from(format!("{said}\n\n{words}"));
        }
        None => messages.insert(0, json!({"role": "system", "content": words})),
    }
}

impl ChatMessage {
    fn for_template(&self, tells_tools: bool) -> Result<Value, ApiError> {
        let role = match self.role.as_str() {
            // The newer word for the same.
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
        let calls: Vec<Value> =
            self.tool_calls.iter().flatten().map(with_object).collect::<Result<_, _>>()?;
        if !calls.is_empty() && !tells_tools {
            let said: Vec<String> = calls.iter().map(|call| call["function"].to_string()).collect();
            content = [content]
                .into_iter()
                .filter(|text| !text.is_empty())
                .chain(said)
                .collect::<Vec<_>>()
                .join("\n");
        }
        let mut value = Map::new();
        value.insert("role".into(), role.into());
        value.insert("content".into(), content.into());
        if !calls.is_empty() && tells_tools {
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
                    "this server reads text only; expected parts of type \"text\", found \"{kind}\""
                );
                Err(ApiError::field("messages", text))
            }
        }
    }
}

/// Clients send a call's arguments as a text; templates take an object.
fn with_object(call: &Value) -> Result<Value, ApiError> {
    let mut call = call.clone();
    let wrong = |text: String| ApiError::field("messages", format!("tool_calls: {text}"));
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else {
        return Err(wrong(format!("expected a member \"function\", found {call}")));
    };
    if let Some(Value::String(text)) = function.get("arguments") {
        let text = if text.trim().is_empty() { "{}" } else { text };
        // A model's own broken arguments come back as it wrote them.
        let arguments = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        function.insert("arguments".into(), arguments);
    }
    Ok(call)
}
