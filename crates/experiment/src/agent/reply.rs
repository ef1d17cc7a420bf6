//! Reply -> action and card, or a typed failure. A failure is never replaced by another action.

use crate::provider::Finish;
use results::ParseFailure;
use serde_json::{Map, Value};
use text::tool_calls::{CallDefect, CallSyntax, ParsedCall, parse, read_call};

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
        Ok(Value::Object(object)) => action(read_call(object, &CallSyntax::LENIENT)),
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
    let reply = parse(text, &CallSyntax::LENIENT);
    match reply.calls.as_slice() {
        [one] => action(one.call.clone()),
        // Small models say the same call twice; that is one call.
        [one, rest @ ..] if rest.iter().all(|other| other.object == one.object) => {
            action(one.call.clone())
        }
        [_, ..] => {
            let detail = format!(
                "expected one tool call, found {} different ones; none was made",
                reply.calls.len()
            );
            Err(failure("several_calls", detail))
        }
        [] if finish == Finish::Length => Err(cut_off()),
        [] if reply.begins_call() => Err(failure(
            "invalid_json",
            "a tool call was begun, but it is no valid JSON object".into(),
        )),
        [] if refuses(reply.answer) => {
            Err(failure("refusal", "expected a tool call, found a refusal".into()))
        }
        [] => Err(failure("no_call", "expected a tool call as a JSON object, found none".into())),
    }
}

/// The action of a call; the card is a member of the call, or of its arguments: models with a tool
/// template of their own know only arguments.
fn action(call: Result<ParsedCall, CallDefect>) -> Result<AgentAction, ParseFailure> {
    let ParsedCall { name, mut arguments, mut others } = call.map_err(schema_mismatch)?;
    let among_arguments = arguments.shift_remove("card");
    let card = ["card", "prediction_card", "prediction"]
        .iter()
        .find_map(|key| others.shift_remove(*key))
        .or(among_arguments)
        .filter(|card| !card.is_null());
    Ok(AgentAction { tool: name.to_lowercase(), arguments, card })
}

fn schema_mismatch(defect: CallDefect) -> ParseFailure {
    let detail = match defect {
        CallDefect::NameMissing => "expected a member \"tool\", found none".to_owned(),
        CallDefect::NameType(value) => {
            format!("tool: expected a name, found {}", short(&value.to_string()))
        }
        CallDefect::ArgumentsText(text) => {
            format!("arguments: expected an object, found the text {}", short(&text))
        }
        CallDefect::ArgumentsType(value) => {
            format!("arguments: expected an object, found {}", short(&value.to_string()))
        }
    };
    failure("schema_mismatch", detail)
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
