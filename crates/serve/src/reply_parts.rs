//! Splits a growing reply into the parts of a chat message: content, and tool calls with their
//! arguments.

use crate::tools::Tools;
use text::tool_calls::{CallSyntax, ContentStream};

/// A part of a chat message; the parts in their order make up the whole message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReplyPart {
    Content(String),
    /// The start of a tool call; its arguments follow as `Arguments` with the same index.
    Call {
        index: usize,
        name: String,
    },
    /// The next piece of a tool call's arguments, as JSON text.
    Arguments {
        index: usize,
        text: String,
    },
}

/// Reads a reply incrementally and splits it into parts.
#[derive(Debug)]
pub(crate) enum ReplyReader {
    /// A reply without tool calls.
    Plain,
    /// The reply is one tool call, `{"name":"...","arguments":{...}}`, which a grammar enforces.
    /// `sent`: offset in `text`, in bytes, up to which arguments have been emitted; `None` until
    /// the name is complete.
    Forced { text: String, sent: Option<usize> },
    /// A reply in which the model may write tool calls.
    Auto { tools: Tools, reply: ContentStream },
}

/// The text between a forced call's name and its arguments; the grammar allows no whitespace there.
const ARGUMENTS: &str = "\",\"arguments\":";
const NAME: &str = "{\"name\":\"";

impl ReplyReader {
    pub fn forced() -> Self {
        ReplyReader::Forced { text: String::new(), sent: None }
    }

    pub fn auto(tools: Tools) -> Self {
        ReplyReader::Auto { tools, reply: ContentStream::default() }
    }

    /// Appends text to the reply; returns the parts that later text cannot change.
    pub fn push(&mut self, more: &str) -> Vec<ReplyPart> {
        match self {
            ReplyReader::Plain => vec![ReplyPart::Content(more.to_owned())],
            ReplyReader::Forced { text, sent } => {
                text.push_str(more);
                forced(text, sent)
            }
            ReplyReader::Auto { reply, .. } => {
                let content =
                    reply.push(more).map(|content| ReplyPart::Content(content.to_owned()));
                content.into_iter().collect()
            }
        }
    }

    /// Ends the reply; returns its remaining parts.
    pub fn finish(&mut self) -> Vec<ReplyPart> {
        let ReplyReader::Auto { tools, reply } = self else { return Vec::new() };
        let is_tool = |name: &str| tools.has(name);
        let (content, calls) = reply.finish(&CallSyntax::marked(&is_tool));
        let mut parts = Vec::new();
        if !content.is_empty() {
            parts.push(ReplyPart::Content(content.to_owned()));
        }
        let calls = calls.into_iter().filter_map(|found| found.call.ok());
        for (index, call) in calls.enumerate() {
            parts.push(ReplyPart::Call { index, name: call.name });
            let text = serde_json::Value::Object(call.arguments).to_string();
            parts.push(ReplyPart::Arguments { index, text });
        }
        parts
    }
}

/// The new parts of a forced call. A final `}` is held back until more text follows: it may close
/// the call instead of the arguments.
fn forced(text: &str, sent: &mut Option<usize>) -> Vec<ReplyPart> {
    let mut parts = Vec::new();
    if sent.is_none() {
        let Some(at) = text.find(ARGUMENTS) else { return parts };
        let name = text[..at].trim_start_matches(NAME).to_owned();
        parts.push(ReplyPart::Call { index: 0, name });
        *sent = Some(at + ARGUMENTS.len());
    }
    let from = sent.unwrap_or(text.len());
    let to = if text.ends_with('}') { text.len() - 1 } else { text.len() };
    if to > from {
        parts.push(ReplyPart::Arguments { index: 0, text: text[from..to].to_owned() });
        *sent = Some(to);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Pushes a reply in chunks of `size` bytes; returns the content, and the name and arguments of
    /// each call.
    fn read(mut reader: ReplyReader, reply: &str, size: usize) -> (String, Vec<(String, String)>) {
        let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
        let pieces = reply.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
        let mut parts: Vec<ReplyPart> = pieces.flat_map(|piece| reader.push(piece)).collect();
        parts.extend(reader.finish());
        for part in parts {
            match part {
                ReplyPart::Content(text) => content.push_str(&text),
                ReplyPart::Call { index, name } => {
                    assert_eq!(index, calls.len());
                    calls.push((name, String::new()));
                }
                ReplyPart::Arguments { index, text } => calls[index].1.push_str(&text),
            }
        }
        (content, calls)
    }

    fn tools() -> Tools {
        let tools = json!([{"type": "function", "function": {"name": "ship"}}]);
        Tools::new(serde_json::from_value(tools).unwrap()).unwrap()
    }

    #[test]
    fn a_forced_call_is_read_the_same_for_every_chunk_size() {
        let arguments = r#"{"a":{"b":"}"},"c":[{}]}"#;
        let reply = format!(r#"{{"name":"ship","arguments":{arguments}}}"#);
        for size in 1..reply.len() + 1 {
            let (content, calls) = read(ReplyReader::forced(), &reply, size);
            assert_eq!(
                (content.as_str(), calls),
                ("", vec![("ship".to_owned(), arguments.to_owned())]),
                "{size}"
            );
        }
    }

    #[test]
    fn a_truncated_forced_call_keeps_its_arguments_so_far() {
        let (_, calls) = read(ReplyReader::forced(), r#"{"name":"ship","arguments":{"a":"b"#, 5);
        assert_eq!(calls, vec![("ship".to_owned(), r#"{"a":"b"#.to_owned())]);
    }

    #[test]
    fn a_free_reply_is_read_the_same_for_every_chunk_size() {
        for (reply, expected, count) in [
            ("Just text, a < b.", "Just text, a < b.", 0),
            ("  blanks stay ", "  blanks stay ", 0),
            ("{\"not\": \"a call\"}", "{\"not\": \"a call\"}", 0),
            (
                "Now:\n\n<tool_call>{\"name\": \"ship\", \"arguments\": {\"id\": 1}}</tool_call>",
                "Now:",
                1,
            ),
            ("{\"name\": \"ship\"}", "", 1),
        ] {
            for size in 1..reply.len() + 1 {
                let (content, calls) = read(ReplyReader::auto(tools()), reply, size);
                assert_eq!(
                    (content.as_str(), calls.len()),
                    (expected, count),
                    "{reply} in pieces of {size}"
                );
                let is_json = |text: &String| serde_json::from_str::<Value>(text).is_ok();
                assert!(calls.iter().all(|(_, arguments)| is_json(arguments)));
            }
        }
    }
}
