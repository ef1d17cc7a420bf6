//! The tools of a request: validation, conversion to the chat template's format, and the JSON
//! schema that forces a tool call.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::request_fields::refuse_unsupported_in;

const TOOLS_MAX: usize = 128;
/// Longest name of a function in OpenAI's API, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// An element of a request's `tools`, not yet validated.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<ToolFunction>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct ToolFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
    strict: Option<bool>,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

/// Which tool calls a request allows: `tool_choice` in OpenAI's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// The reply must not call a tool.
    None,
    /// The model decides whether to call a tool.
    Auto,
    /// The reply must call a tool, which the model chooses.
    Required,
    /// The reply must call the tool with this name.
    Named(String),
}

/// A `tool_choice` that names a function.
#[derive(Debug, Deserialize)]
struct NamedChoice {
    #[serde(rename = "type")]
    _kind: FunctionKind,
    function: NamedFunction,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FunctionKind {
    Function,
}

#[derive(Debug, Deserialize)]
struct NamedFunction {
    name: String,
    #[serde(flatten)]
    unsupported: Map<String, Value>,
}

/// The validated tools of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools(Vec<FunctionTool>);

#[derive(Debug, Clone)]
struct FunctionTool {
    name: String,
    description: Option<String>,
    /// The JSON schema of the arguments, which are an object.
    parameters: Value,
    /// Whether the arguments of every call must match the schema.
    is_strict: bool,
}

impl Tools {
    pub fn new(tools: Option<Vec<Tool>>) -> Result<Tools, ApiError> {
        let tools = tools.unwrap_or_default();
        if tools.len() > TOOLS_MAX {
            return Err(ApiError::field(
                "tools",
                format!("expected at most {TOOLS_MAX}, found {}", tools.len()),
            ));
        }
        tools.into_iter().enumerate().map(checked).collect::<Result<_, _>>().map(Tools)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|tool| tool.name == name)
    }

    /// The tools in the format that chat templates expect.
    pub fn for_template(&self) -> Value {
        let tool = |tool: &FunctionTool| {
            let FunctionTool { name, description, parameters, .. } = tool;
            let description = description.clone().unwrap_or_default();
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
        };
        self.0.iter().map(tool).collect()
    }

    /// The JSON schema of one call, `{"name": ..., "arguments": {...}}`: a call of the tool named
    /// `only`, or of any tool if `None`.
    pub fn call_schema(&self, only: Option<&str>) -> Value {
        let tools: Vec<&FunctionTool> =
            self.0.iter().filter(|tool| only.is_none_or(|only| only == tool.name)).collect();
        match tools.as_slice() {
            [tool] => tool.call_schema("#/properties/arguments"),
            tools => {
                let numbered = tools.iter().enumerate();
                let calls = numbered.map(|(i, tool)| {
                    tool.call_schema(&format!("#/anyOf/{i}/properties/arguments"))
                });
                json!({"anyOf": calls.collect::<Vec<_>>()})
            }
        }
    }
}

impl FunctionTool {
    /// The JSON schema of a call of this tool. `pointer`: JSON pointer to the position at which the
    /// parameters' schema will be embedded.
    fn call_schema(&self, pointer: &str) -> Value {
        let mut parameters = self.parameters.clone();
        rebase_references(&mut parameters, pointer);
        json!({
            "type": "object",
            "properties": {"name": {"const": self.name}, "arguments": parameters},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    }
}

/// Rewrites each local `$ref`, which is relative to the schema's root, for a schema that is
/// embedded in another one at `pointer`.
fn rebase_references(schema: &mut Value, pointer: &str) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(to) if key == "$ref" && to.starts_with('#') => {
                        *to = format!("{pointer}{}", &to[1..])
                    }
                    other => rebase_references(other, pointer),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase_references(item, pointer)),
        _ => {}
    }
}

fn checked((index, tool): (usize, Tool)) -> Result<FunctionTool, ApiError> {
    refuse_unsupported_in(&format!("tools[{index}]"), &tool.unsupported)?;
    let function = match (tool.kind.as_str(), tool.function) {
        ("function", Some(function)) => function,
        (kind, _) => {
            let text = format!(
                "expected tools of type \"function\" with a member \"function\", found \"{kind}\""
            );
            return Err(ApiError::field("tools", text));
        }
    };
    refuse_unsupported_in(&format!("tools[{index}].function"), &function.unsupported)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if function.name.is_empty()
        || function.name.len() > NAME_BYTES_MAX
        || !function.name.chars().all(is_allowed)
    {
        let text = format!(
            "expected a name of 1 to {NAME_BYTES_MAX} letters, digits, _ - or ., found {:?}",
            function.name
        );
        return Err(ApiError::field("tools", text));
    }
    let no_parameters =
        || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = match function.parameters.unwrap_or_else(no_parameters) {
        Value::Object(mut parameters) => {
            // Arguments must be an object, even if the schema sets no type.
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
    let is_strict = function.strict.unwrap_or(false);
    Ok(FunctionTool {
        name: function.name,
        description: function.description,
        parameters,
        is_strict,
    })
}

impl ToolChoice {
    /// Parses `tool_choice`: "none", "auto", "required", or `{"type": "function", "function":
    /// {"name"}}`.
    pub fn new(choice: Option<&Value>, tools: &Tools) -> Result<ToolChoice, ApiError> {
        let invalid = |text: String| ApiError::field("tool_choice", text);
        let choice = match choice {
            None | Some(Value::Null) => ToolChoice::Auto,
            Some(Value::String(text)) => match text.as_str() {
                "none" => ToolChoice::None,
                "auto" => ToolChoice::Auto,
                "required" => ToolChoice::Required,
                other => {
                    return Err(invalid(format!(
                        "expected none, auto, required or a function, found \"{other}\""
                    )));
                }
            },
            Some(object) => {
                let named = NamedChoice::deserialize(object).map_err(|_| {
                    let expected = json!({"type": "function", "function": {"name": "..."}});
                    invalid(format!("expected none, auto, required or {expected}, found {object}"))
                })?;
                refuse_unsupported_in("tool_choice", &named.unsupported)?;
                refuse_unsupported_in("tool_choice.function", &named.function.unsupported)?;
                let name = named.function.name;
                if !tools.has(&name) {
                    return Err(invalid(format!("the function '{name}' is not among the tools")));
                }
                ToolChoice::Named(name)
            }
        };
        // Only a call that the reply must make is constrained; one that it may make is free text.
        if choice == ToolChoice::Auto
            && let Some(index) = tools.0.iter().position(|tool| tool.is_strict)
        {
            let text = "strict holds for calls that tool_choice requires or names; \
                leave it out with tool_choice auto";
            return Err(ApiError::field(format!("tools[{index}].function.strict"), text));
        }
        match choice {
            ToolChoice::Required if tools.is_empty() => {
                Err(invalid("tool_choice is required, but there are no tools".into()))
            }
            ToolChoice::Auto if tools.is_empty() => Ok(ToolChoice::None),
            choice => Ok(choice),
        }
    }
}
