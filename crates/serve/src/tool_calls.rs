//! Calls in a reply that was free to hold some: what models' own templates teach them to write.
//!
//! - `<tool_call>{"name", "arguments"}</tool_call>`, or a list of calls within (Qwen, Hermes,
//!   SmolLM2),
//! - `<function=NAME>{arguments}</function>` (Llama),
//! - a reply that is nothing but calls, as an object, a list, or several one after the other, in a
//!   fence or not, by the names of tools that there are (Llama, Mistral, whose special tokens are
//!   no text).

use serde_json::{Deserializer, Map, Value};

use crate::tools::{FunctionCall, Tools};

/// Marks that begin a call.
const MARKS: [&str; 2] = ["<tool_call>", "<function="];
const THOUGHT_END: &str = "</think>";

/// Text before the calls, and the calls. Without any, all is text.
pub(crate) fn read(reply: &str, tools: &Tools) -> (String, Vec<FunctionCall>) {
    // A call that was only considered is none.
    let spoken_at = reply.rfind(THOUGHT_END).map_or(0, |at| at + THOUGHT_END.len());
    let (thought, spoken) = reply.split_at(spoken_at);
    if let Some(calls) = only_calls(spoken, tools) {
        return (thought.to_owned(), calls);
    }
    match marked(spoken) {
        (text, calls) if !calls.is_empty() => {
            (format!("{thought}{text}").trim_end().to_owned(), calls)
        }
        _ => (reply.to_owned(), Vec::new()),
    }
}

/// Bytes of a growing reply that are certainly text, whatever follows.
pub(crate) fn certain_text(reply: &str) -> usize {
    let spoken_at = reply.rfind(THOUGHT_END).map_or(0, |at| at + THOUGHT_END.len());
    let spoken = &reply[spoken_at..];
    let blank = spoken.len() - spoken.trim_start().len();
    // The whole may be calls: blanks before them are not text yet.
    if blank == spoken.len() || spoken[blank..].starts_with(['{', '[', '`']) {
        return spoken_at;
    }
    let begins = |mark: &&str| spoken.find(*mark).or_else(|| partial(spoken, mark));
    let first = MARKS.iter().filter_map(begins).min().unwrap_or(spoken.len());
    // Blanks before a call belong to neither.
    spoken_at + spoken[..first].trim_end().len()
}

/// Where the end of a text may become `mark`.
fn partial(text: &str, mark: &str) -> Option<usize> {
    (1..mark.len())
        .rev()
        .find(|&length| text.ends_with(&mark[..length]))
        .map(|length| text.len() - length)
}

/// A reply that is calls from beginning to end.
fn only_calls(text: &str, tools: &Tools) -> Option<Vec<FunctionCall>> {
    let text = without_fence(text.trim());
    let mut calls = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        let value = values.next()?.ok()?;
        calls.extend(of_value(&value)?);
        rest = rest[values.byte_offset()..]
            .trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == ',');
    }
    (!calls.is_empty() && calls.iter().all(|call| tools.has(&call.name))).then_some(calls)
}

fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// Calls between marks, and the text before the first.
fn marked(text: &str) -> (String, Vec<FunctionCall>) {
    let mut calls = Vec::new();
    let mut before = text.len();
    let mut at = 0;
    while let Some((begin, mark)) =
        MARKS.iter().filter_map(|m| Some((at + text[at..].find(m)?, *m))).min()
    {
        at = begin + mark.len();
        let Some((found, used)) = after_mark(&text[at..], mark) else { continue };
        before = before.min(begin);
        calls.extend(found);
        at += used;
    }
    (text[..before].to_owned(), calls)
}

/// Calls behind a mark, and the bytes they take.
fn after_mark(text: &str, mark: &str) -> Option<(Vec<FunctionCall>, usize)> {
    let (name, begin) = match mark {
        "<function=" => {
            let end = text.find('>')?;
            (Some(text[..end].trim()), end + 1)
        }
        _ => (None, 0),
    };
    let mut values = Deserializer::from_str(&text[begin..]).into_iter::<Value>();
    let value = values.next()?.ok()?;
    let used = begin + values.byte_offset();
    let calls = match (name, value) {
        (Some(name), Value::Object(arguments)) => {
            vec![FunctionCall { name: name.to_owned(), arguments }]
        }
        (Some(_), _) => return None,
        (None, value) => of_value(&value)?,
    };
    Some((calls, used))
}

fn of_value(value: &Value) -> Option<Vec<FunctionCall>> {
    match value {
        Value::Array(items) => {
            let calls: Option<Vec<_>> = items.iter().map(of_value).collect();
            calls.map(|calls| calls.into_iter().flatten().collect())
        }
        Value::Object(object) => of_object(object).map(|call| vec![call]),
        _ => None,
    }
}

fn of_object(object: &Map<String, Value>) -> Option<FunctionCall> {
    let inner = object.get("function").and_then(Value::as_object).unwrap_or(object);
    let name = inner.get("name").and_then(Value::as_str)?.trim().to_owned();
    let arguments = match inner.get("arguments").or_else(|| inner.get("parameters")) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        // Some models write them as OpenAI does: as a text.
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(_) => return None,
    };
    Some(FunctionCall { name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools() -> Tools {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        Tools::new(serde_json::from_value(json!([tool("ship"), tool("order")])).unwrap()).unwrap()
    }

    fn found(reply: &str) -> (String, Vec<(String, Value)>) {
        let (text, calls) = read(reply, &tools());
        (text, calls.into_iter().map(|call| (call.name, Value::Object(call.arguments))).collect())
    }

    fn ship() -> (String, Value) {
        ("ship".to_owned(), json!({"id": 1}))
    }

    #[test]
    fn each_form_is_read() {
        for reply in [
            r#"<tool_call>{"name": "ship", "arguments": {"id": 1}}</tool_call>"#,
            r#"<tool_call>[{"name": "ship", "arguments": {"id": 1}}]</tool_call>"#,
            r#"<function=ship>{"id": 1}</function>"#,
            r#"{"name": "ship", "parameters": {"id": 1}}"#,
            r#" [{"name": "ship", "arguments": {"id": 1}}]"#,
            r#"{"type": "function", "function": {"name": "ship", "arguments": "{\"id\": 1}"}}"#,
            "```json\n{\"name\": \"ship\", \"arguments\": {\"id\": 1}}\n```",
        ] {
            assert_eq!(found(reply), (String::new(), vec![ship()]), "{reply}");
        }
    }

    #[test]
    fn several_calls_and_the_text_before_them() {
        let one = r#"<tool_call>{"name": "ship", "arguments": {"id": 1}}</tool_call>"#;
        assert_eq!(
            found(&format!("Now.\n{one}\n{one}")),
            ("Now.".to_owned(), vec![ship(), ship()])
        );
        let bare = r#"{"name": "ship", "arguments": {"id": 1}}; {"name": "order"}"#;
        assert_eq!(found(bare), (String::new(), vec![ship(), ("order".to_owned(), json!({}))]));
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for reply in [
            "I would ship it.",
            r#"{"name": "Ada", "arguments": {}}"#,
            r#"{"id": 1}"#,
            r#"<tool_call>{"name": "ship", "arg"#,
            r#"Say {"name": "ship", "arguments": {}} to ship."#,
            "",
        ] {
            assert_eq!(found(reply), (reply.to_owned(), vec![]), "{reply}");
        }
        let considered = r#"<think><tool_call>{"name": "ship"}</tool_call></think>No."#;
        assert_eq!(found(considered), (considered.to_owned(), vec![]));
    }

    #[test]
    fn text_is_certain_before_a_call_may_begin() {
        let certain = |reply: &str| reply[..certain_text(reply)].to_owned();
        assert_eq!(certain("Hello there"), "Hello there");
        assert_eq!(certain("Hello\n<tool_c"), "Hello");
        assert_eq!(certain("Hello <b>"), "Hello <b>");
        assert_eq!(certain("  {\"name\""), "");
        assert_eq!(certain("<think>a</think> ["), "<think>a</think>");
        assert_eq!(certain("a <tool_call>{} b"), "a");
    }
}
