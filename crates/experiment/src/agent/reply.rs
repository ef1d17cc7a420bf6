//! Reply -> action and card, or a typed failure. A failure is never replaced by another action.

use super::json_scan;
use crate::provider::Finish;
use results::ParseFailure;
use serde_json::{Map, Value};

/// What the agent wants to do: checked for its form only. Whether the tool exists and takes such
/// arguments is the world's to say, and a wrong call is a failed call.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentAction {
    /// The tool's name, as written but for case and space around it.
    pub tool: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// The prediction card, as given. `None` where there is none.
    pub card: Option<Value>,
}

/// How replies are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// The whole reply is one JSON object, decoded under a schema.
    Json,
    /// Free text that holds one tool call.
    Text,
}

/// Reads a reply.
pub fn read_reply(
    text: &str,
    finish: Finish,
    mode: ReplyMode,
) -> Result<AgentAction, ParseFailure> {
    match mode {
        ReplyMode::Json => read_json(text, finish),
        ReplyMode::Text => read_text(text, finish),
    }
}

fn read_json(text: &str, finish: Finish) -> Result<AgentAction, ParseFailure> {
    match serde_json::from_str::<Value>(text.trim()) {
        Ok(Value::Object(object)) => call(object),
        Ok(other) => Err(failure(
            "schema_mismatch",
            format!("expected one JSON object, found {}", short(&other.to_string())),
        )),
        Err(_) if finish == Finish::Length => Err(cut_off()),
        // Where nothing holds the reply to its form, as with some servers.
        Err(_) if !text.contains('{') && refuses(text) => {
            Err(failure("refusal", "expected one JSON object, found a refusal".into()))
        }
        Err(error) => Err(failure("invalid_json", format!("expected one JSON object: {error}"))),
    }
}

fn read_text(text: &str, finish: Finish) -> Result<AgentAction, ParseFailure> {
    let said = without_thoughts(text);
    let found = json_scan::scan(said).into_iter();
    let named =
        found.map(
            |(at, _, object)| {
                if names_a_tool(&object) { object } else { named_before(&said[..at], object) }
            },
        );
    let candidates: Vec<_> = named.filter(names_a_tool).collect();
    match candidates.as_slice() {
        [one] => call(one.clone()),
        // Small models say the same call twice; that is one call.
        [one, rest @ ..] if rest.iter().all(|other| other == one) => call(one.clone()),
        [_, ..] => {
            let detail = format!(
                "expected one tool call, found {} different ones; none was made",
                candidates.len()
            );
            Err(failure("several_calls", detail))
        }
        [] if finish == Finish::Length => Err(cut_off()),
        [] if json_scan::unfinished(said)
            || said.contains("<tool_call>")
            || said.contains("```json") =>
        {
            Err(failure(
                "invalid_json",
                "a tool call was begun, but it is no valid JSON object".into(),
            ))
        }
        [] if refuses(said) => {
            Err(failure("refusal", "expected a tool call, found a refusal".into()))
        }
        [] => Err(failure("no_call", "expected a tool call as a JSON object, found none".into())),
    }
}

/// What comes after the last thought: a call that was only considered is no call.
pub(crate) fn without_thoughts(text: &str) -> &str {
    match text.rfind("</think>") {
        Some(end) => &text[end + "</think>".len()..],
        // A thought without an end is all thought.
        None => text.find("<think>").map_or(text, |begin| &text[..begin]),
    }
}

/// The templates of some models put the tool's name before its arguments: `<function=NAME>{...}`
/// (Llama), `to=functions.NAME json{...}` (gpt-oss), `function NAME` and a fence (DeepSeek; without
/// its special tokens).
fn named_before(before: &str, arguments: Map<String, Value>) -> Map<String, Value> {
    let line = before.trim_end().trim_end_matches("```json").trim_end();
    let line = line.rsplit('\n').next().unwrap_or(line);
    let name = ["<function=", "functions.", "function"].iter().find_map(|mark| {
        let after = &line[line.rfind(mark)? + mark.len()..];
        let length = after
            .trim_start()
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(after.trim_start().len());
        let (name, rest) = after.trim_start().split_at(length);
        let ends = ["", ">", "json", "<|constrain|>json", ">json"].contains(&rest.trim());
        (!name.is_empty() && ends).then(|| name.to_string())
    });
    match name {
        Some(name) => Map::from_iter([
            ("name".into(), Value::from(name)),
            ("arguments".into(), Value::Object(arguments)),
        ]),
        None => arguments,
    }
}

fn names_a_tool(object: &Map<String, Value>) -> bool {
    ["tool", "name", "function"].iter().any(|key| object.contains_key(*key))
}

/// The envelope: `{"tool": ..., "arguments": {...}, "card": {...}}`, or the names that models' own
/// templates use.
fn call(mut object: Map<String, Value>) -> Result<AgentAction, ParseFailure> {
    let mismatch = |detail: String| failure("schema_mismatch", detail);
    let (mut inner, function) = match object.shift_remove("function") {
        Some(Value::Object(inner)) => (inner, None),
        other => (Map::new(), other),
    };
    let mut first = |keys: &[&str]| {
        keys.iter().find_map(|key| object.shift_remove(*key).or_else(|| inner.shift_remove(*key)))
    };
    let tool = match first(&["tool", "name"]).or(function) {
        Some(Value::String(tool)) => tool.trim().to_lowercase(),
        Some(other) => {
            return Err(mismatch(format!(
                "tool: expected a name, found {}",
                short(&other.to_string())
            )));
        }
        None => return Err(mismatch("expected a member \"tool\", found none".into())),
    };
    let mut arguments = match first(&["arguments", "parameters", "args"]) {
        Some(Value::Object(arguments)) => arguments,
        None | Some(Value::Null) => Map::new(),
        // The form of the OpenAI protocol: arguments as JSON in a string.
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| {
            mismatch(format!("arguments: expected an object, found the text {}", short(&text)))
        })?,
        Some(other) => {
            return Err(mismatch(format!(
                "arguments: expected an object, found {}",
                short(&other.to_string())
            )));
        }
    };
    // Models with a tool template of their own know only arguments, and put the card among them.
    let inside = arguments.shift_remove("card");
    let card =
        first(&["card", "prediction_card", "prediction"]).or(inside).filter(|card| !card.is_null());
    Ok(AgentAction { tool, arguments, card })
}

fn cut_off() -> ParseFailure {
    failure("cut_off", "the reply reached its limit of tokens before it was complete".into())
}

fn failure(kind: &str, detail: String) -> ParseFailure {
    ParseFailure { kind: kind.to_string(), detail }
}

fn refuses(text: &str) -> bool {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let words = [
        "i can't",
        "i cannot",
        "i'm sorry",
        "i am sorry",
        "i'm unable",
        "i am unable",
        "i won't",
        "as an ai",
    ];
    words.iter().any(|words| text.contains(words))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}
