//! Parsing of replies: an action with its card, or a parse failure. A failure is never replaced by
//! another action. The agent sees the failure's `detail`, so its texts are part of recorded runs.

use crate::provider::Finish;
use results::ParseFailure;
use serde::Deserialize;
use serde_json::{Map, Value};
use text::tool_calls::{CallDefect, CallSyntax, ParsedCall, parse, read_call};

/// A tool call of the agent, syntactically valid. The world checks whether the tool exists and
/// takes these arguments: an invalid call is a failed call, and not a parse failure.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentAction {
    /// The tool's name in lower case, without spaces around it.
    pub tool: String,
    pub arguments: Map<String, Value>,
    /// The prediction card, unchecked. `None` where there is none.
    pub card: Option<Value>,
}

/// The format of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    /// One JSON object, decoded under a schema.
    Json,
    /// Free text with one tool call.
    Text,
}

/// Why a reply is not an action.
#[derive(Clone, Copy)]
enum ParseFailureKind {
    /// It reached its limit of tokens.
    CutOff,
    InvalidJson,
    /// JSON, but not an action.
    SchemaMismatch,
    Refusal,
    NoCall,
    SeveralCalls,
}

impl ParseFailureKind {
    /// As in rows.
    fn label(self) -> &'static str {
        match self {
            ParseFailureKind::CutOff => "cut_off",
            ParseFailureKind::InvalidJson => "invalid_json",
            ParseFailureKind::SchemaMismatch => "schema_mismatch",
            ParseFailureKind::Refusal => "refusal",
            ParseFailureKind::NoCall => "no_call",
            ParseFailureKind::SeveralCalls => "several_calls",
        }
    }
}

/// Parses a reply.
///
/// # Errors
/// Why the reply is not an action.
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
            ParseFailureKind::SchemaMismatch,
            format!("expected one JSON object, found {}", truncate(&other.to_string())),
        )),
        Err(_) if finish == Finish::Length => Err(cut_off()),
        // Servers without constrained decoding return refusals as plain text.
        Err(_) if !text.contains('{') && refuses(text) => Err(failure(
            ParseFailureKind::Refusal,
            "expected one JSON object, found a refusal".into(),
        )),
        Err(error) => Err(failure(
            ParseFailureKind::InvalidJson,
            format!("expected one JSON object: {error}"),
        )),
    }
}

fn read_text(text: &str, finish: Finish) -> Result<AgentAction, ParseFailure> {
    let reply = parse(text, &CallSyntax::LENIENT);
    match reply.calls.as_slice() {
        [one] => action(one.call.clone()),
        // Small models repeat a call; equal calls count as one.
        [one, rest @ ..] if rest.iter().all(|other| other.object == one.object) => {
            action(one.call.clone())
        }
        [_, ..] => {
            let detail = format!(
                "expected one tool call, found {} different ones; none was made",
                reply.calls.len()
            );
            Err(failure(ParseFailureKind::SeveralCalls, detail))
        }
        [] if finish == Finish::Length => Err(cut_off()),
        [] if reply.begins_call() => Err(failure(
            ParseFailureKind::InvalidJson,
            "a tool call was begun, but it is no valid JSON object".into(),
        )),
        [] if refuses(reply.answer) => {
            Err(failure(ParseFailureKind::Refusal, "expected a tool call, found a refusal".into()))
        }
        [] => Err(failure(
            ParseFailureKind::NoCall,
            "expected a tool call as a JSON object, found none".into(),
        )),
    }
}

/// The action of a call. The card is a member of the call, or one of its arguments: models with a
/// tool template of their own write only arguments.
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
            format!("tool: expected a name, found {}", truncate(&value.to_string()))
        }
        CallDefect::ArgumentsText(text) => {
            format!("arguments: expected an object, found the text {}", truncate(&text))
        }
        CallDefect::ArgumentsType(value) => {
            format!("arguments: expected an object, found {}", truncate(&value.to_string()))
        }
    };
    failure(ParseFailureKind::SchemaMismatch, detail)
}

fn cut_off() -> ParseFailure {
    failure(
        ParseFailureKind::CutOff,
        "the reply reached its limit of tokens before it was complete".into(),
    )
}

fn failure(kind: ParseFailureKind, detail: String) -> ParseFailure {
    ParseFailure { kind: kind.label().to_string(), detail }
}

fn refuses(text: &str) -> bool {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let phrases = [
        "i can't",
        "i cannot",
        "i'm sorry",
        "i am sorry",
        "i'm unable",
        "i am unable",
        "i won't",
        "as an ai",
    ];
    phrases.iter().any(|phrase| text.contains(phrase))
}

fn truncate(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}
