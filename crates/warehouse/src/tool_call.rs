//! A tool call and its arguments. A call with an invalid argument fails with a reason for the
//! agent.

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write;

/// A tool call as the agent wrote it; the tool may not exist and the arguments may be wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    pub tool: String,
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// A call; arguments that are not a JSON object are treated as empty.
    pub fn new(tool: &str, arguments: Value) -> ToolCall {
        let arguments = match arguments {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        ToolCall { tool: tool.to_owned(), arguments }
    }

    /// The call as text, with arguments sorted by name, so that equal calls give equal texts.
    pub fn canonical(&self) -> String {
        let mut arguments: Vec<_> = self.arguments.iter().collect();
        arguments.sort_unstable_by_key(|(name, _)| *name);
        let mut text = String::with_capacity(80);
        text.push_str(&self.tool);
        for (index, (name, value)) in arguments.into_iter().enumerate() {
            text.push(if index == 0 { '(' } else { ',' });
            let _infallible = write!(text, "{name}={value}");
        }
        text.push_str(if self.arguments.is_empty() { "()" } else { ")" });
        text
    }

    pub(crate) fn text_argument(&self, key: &str) -> Result<&str, String> {
        match self.arguments.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("{key}: expected text, found {}", clip(&other.to_string()))),
            None => Err(format!("{key} is missing")),
        }
    }

    pub(crate) fn quantity_argument(&self) -> Result<u32, String> {
        let Some(value) = self.arguments.get("quantity") else {
            return Err("quantity is missing".into());
        };
        let whole = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
        match whole {
            Some(n @ 1..=999) => Ok(n as u32),
            _ => Err(format!(
                "quantity: expected a whole number from 1 to 999, found {}",
                clip(&value.to_string())
            )),
        }
    }

    /// The number of an id argument such as `C7`, given with or without the letter.
    pub(crate) fn id_argument(&self, key: &str, letter: char) -> Result<u64, String> {
        let text = match self.arguments.get(key) {
            Some(Value::Number(n)) => n.to_string(),
            _ => self.text_argument(key)?.to_owned(),
        };
        let text = text.trim();
        let digits = text.strip_prefix([letter, letter.to_ascii_lowercase()]).unwrap_or(text);
        digits
            .parse()
            .map_err(|_| format!("{key}: expected an id such as {letter}7, found {:?}", clip(text)))
    }
}

/// The first 40 characters of a text from the agent, for error messages.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}
