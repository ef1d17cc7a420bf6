//! Tools that a request offers: how the model hears of them, and the form that forces a call.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api_error::ApiError;

/// Tools at most.
const TOOLS_MAX: usize = 128;
/// Bytes of a tool's name at most, as with OpenAI.
const NAME_BYTES_MAX: usize = 64;

/// A tool as clients send it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<ToolFunction>,
}

#[derive(Debug, Clone, Deserialize)]
struct ToolFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
}

/// Who decides on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// No call.
    None,
    /// The model.
    Auto,
    /// A call of any tool.
    Required,
    /// A call of this one.
    Named(String),
}

/// Tools, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools(Vec<(String, Option<String>, Value)>);

impl Tools {
    pub fn new(tools: Option<Vec<Tool>>) -> Result<Tools, ApiError> {
        let tools = tools.unwrap_or_default();
        if tools.len() > TOOLS_MAX {
            return Err(ApiError::field(
                "tools",
                format!("expected at most {TOOLS_MAX}, found {}", tools.len()),
            ));
        }
        tools.into_iter().map(checked).collect::<Result<_, _>>().map(Tools)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, ..)| known == name)
    }

    /// As chat templates take them.
    pub fn for_template(&self) -> Value {
        let tool = |(name, description, parameters): &(String, Option<String>, Value)| {
            let description = description.clone().unwrap_or_default();
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
        };
        self.0.iter().map(tool).collect()
    }

    /// What a model is told whose template knows no tools.
    pub fn in_words(&self) -> String {
        let tools: Vec<String> =
            self.for_template().as_array().into_iter().flatten().map(Value::to_string).collect();
        format!(
            "You may call these tools:\n{}\nTo call one, answer with nothing but a JSON object: \
             {{\"name\": \"the tool\", \"arguments\": {{...}}}}",
            tools.join("\n")
        )
    }

    /// The schema of one call, `{"name": ..., "arguments": {...}}`, of the tool that is named, or
    /// of any.
    pub fn schema(&self, only: Option<&str>) -> Value {
        let wanted = self.0.iter().filter(|(name, ..)| only.is_none_or(|only| only == name));
        let calls: Vec<(&String, &Value)> =
            wanted.map(|(name, _, parameters)| (name, parameters)).collect();
        match calls.as_slice() {
            [(name, parameters)] => call(name, parameters, "#/properties/arguments"),
            many => {
                let numbered = many.iter().enumerate();
                let calls = numbered.map(|(i, (name, parameters))| {
                    call(name, parameters, &format!("#/anyOf/{i}/properties/arguments"))
                });
                json!({"anyOf": calls.collect::<Vec<_>>()})
            }
        }
    }
}

fn call(name: &str, parameters: &Value, place: &str) -> Value {
    let mut parameters = parameters.clone();
    move_references(&mut parameters, place);
    json!({
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// A schema's references are counted from its root: they move with it.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(to) if key == "$ref" && to.starts_with('#') => {
                        *to = format!("{place}{}", &to[1..])
                    }
                    other => move_references(other, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

fn checked(tool: Tool) -> Result<(String, Option<String>, Value), ApiError> {
    let function = match (tool.kind.as_str(), tool.function) {
        ("function", Some(function)) => function,
        (kind, _) => {
            let text = format!(
                "expected tools of type \"function\" with a member \"function\", found \"{kind}\""
            );
            return Err(ApiError::field("tools", text));
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if function.name.is_empty()
        || function.name.len() > NAME_BYTES_MAX
        || !function.name.chars().all(plain)
    {
        let text = format!(
            "expected a name of 1 to {NAME_BYTES_MAX} letters, digits, _ - or ., found {:?}",
            function.name
        );
        return Err(ApiError::field("tools", text));
    }
    let nothing = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = match function.parameters.unwrap_or_else(nothing) {
        Value::Object(mut parameters) => {
            // Arguments are an object, whether the schema says so or not.
            if !parameters.contains_key("type") && !parameters.contains_key("$ref") {
                parameters.insert("type".into(), "object".into());
            }
            Value::Object(parameters)
        }
        other => {
            return Err(ApiError::field(
                "tools",
                format!("parameters: expected a JSON schema, found {other}"),
            ));
        }
    };
    Ok((function.name, function.description, parameters))
}

impl ToolChoice {
    /// Reads `tool_choice`: "none", "auto", "required", or `{"type": "function", "function":
    /// {"name"}}`.
    pub fn new(choice: Option<&Value>, tools: &Tools) -> Result<ToolChoice, ApiError> {
        let wrong = |text: String| ApiError::field("tool_choice", text);
        let choice = match choice {
            None | Some(Value::Null) => ToolChoice::Auto,
            Some(Value::String(word)) => match word.as_str() {
                "none" => ToolChoice::None,
                "auto" => ToolChoice::Auto,
                "required" => ToolChoice::Required,
                other => {
                    return Err(wrong(format!(
                        "expected none, auto, required or a function, found \"{other}\""
                    )));
                }
            },
            Some(object) => match object.pointer("/function/name").and_then(Value::as_str) {
                Some(name) if tools.has(name) => ToolChoice::Named(name.to_owned()),
                Some(name) => {
                    return Err(wrong(format!("the function '{name}' is none of the tools")));
                }
                None => {
                    return Err(wrong(
                        "expected {\"type\": \"function\", \"function\": {\"name\": ...}}".into(),
                    ));
                }
            },
        };
        match choice {
            ToolChoice::Required if tools.is_empty() => {
                Err(wrong("a call is required, but there are no tools".into()))
            }
            ToolChoice::Auto if tools.is_empty() => Ok(ToolChoice::None),
            choice => Ok(choice),
        }
    }
}
