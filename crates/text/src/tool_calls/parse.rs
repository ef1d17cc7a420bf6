//! Finds the calls of a complete reply.
use super::envelope::{CallDefect, ParsedCall, read_call};
use super::json::{first_value, is_unclosed, objects};
use super::marks::{
    FENCE, MarkScanner, TOOL_CALL, name_before, named_call, objects_of, without_fence,
};
use super::reasoning::answer_range;
use super::syntax::{CallSearch, CallSyntax};
use serde_json::{Map, Value};

/// A reply, separated into content, answer and calls.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedReply<'a> {
    /// The reply before its first call, reasoning included; the whole reply if it has no call.
    pub content: &'a str,
    /// The reply without its reasoning.
    pub answer: &'a str,
    /// The calls, in order.
    pub calls: Vec<FoundCall>,
}

/// A JSON object at a position where [`CallSyntax::search`] recognizes calls.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundCall {
    /// The object as the model wrote it. If the tool's name preceded the object, an object with
    /// that `name` and with the written object as `arguments`.
    pub object: Map<String, Value>,
    /// Always `Ok` under [`CallSearch::Marked`], where an object that is not a call is text.
    pub call: Result<ParsedCall, CallDefect>,
}

impl ParsedReply<'_> {
    /// Whether the answer has a sign of an unfinished call: an object without its closing brace, a
    /// `<tool_call>`, or a JSON code fence.
    pub fn begins_call(&self) -> bool {
        is_unclosed(self.answer) || self.answer.contains(TOOL_CALL) || self.answer.contains(FENCE)
    }
}

/// Separates a complete reply into content, answer and calls.
pub fn parse<'a>(reply: &'a str, syntax: &CallSyntax) -> ParsedReply<'a> {
    let range = answer_range(reply, syntax);
    let answer = &reply[range.clone()];
    let (begin, calls) = match syntax.search {
        CallSearch::AnyObject => any_objects(answer, syntax),
        CallSearch::Marked { is_tool } => match whole_answer(answer, syntax, is_tool) {
            Some(calls) => (0, calls),
            None => marked(answer, syntax),
        },
    };
    // Whitespace between the text and the first call is dropped.
    let content = if calls.is_empty() { reply } else { reply[..range.start + begin].trim_end() };
    ParsedReply { content, answer, calls }
}

fn found(object: Map<String, Value>, syntax: &CallSyntax) -> FoundCall {
    FoundCall { call: read_call(object.clone(), syntax), object }
}

/// The outermost objects that name a tool or follow a tool's name, and the byte offset of the
/// first.
fn any_objects(answer: &str, syntax: &CallSyntax) -> (usize, Vec<FoundCall>) {
    let names_tool = |object: &Map<String, Value>| {
        syntax.name_keys.iter().chain(&["function"]).any(|key| object.contains_key(*key))
    };
    let mut begin = answer.len();
    let mut calls = Vec::new();
    for span in objects(answer) {
        let object = if names_tool(&span.members) {
            span.members
        } else if let Some(name) = name_before(&answer[..span.range.start]) {
            named_call(name, span.members)
        } else {
            continue;
        };
        begin = begin.min(span.range.start);
        calls.push(found(object, syntax));
    }
    (begin, calls)
}

/// The calls of an answer that has nothing but calls: objects and lists, one after the other, with
/// or without a code fence. `None` for any other answer. Every name must be that of a tool, since
/// nothing marks the JSON as a call.
fn whole_answer(
    answer: &str,
    syntax: &CallSyntax,
    is_tool: &dyn Fn(&str) -> bool,
) -> Option<Vec<FoundCall>> {
    let mut rest = without_fence(answer.trim());
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let (value, length) = first_value(rest)?;
        calls.extend(objects_of(value)?.into_iter().map(|object| found(object, syntax)));
        rest =
            rest[length..].trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == ',');
    }
    let is_call = |found: &FoundCall| found.call.as_ref().is_ok_and(|call| is_tool(&call.name));
    (!calls.is_empty() && calls.iter().all(is_call)).then_some(calls)
}

/// The calls that follow marks, and the byte offset of the first such mark. A mark is text unless
/// all objects that follow it are calls.
fn marked(answer: &str, syntax: &CallSyntax) -> (usize, Vec<FoundCall>) {
    let mut scanner = MarkScanner::new(answer);
    let (mut begin, mut calls) = (answer.len(), Vec::new());
    while let Some(behind) = scanner.next() {
        let all: Vec<_> = behind.objects.into_iter().map(|object| found(object, syntax)).collect();
        if all.iter().all(|found| found.call.is_ok()) {
            begin = begin.min(behind.begin);
            scanner.skip_to(behind.end);
            calls.extend(all);
        }
    }
    (begin, calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Content and calls of a reply under the marked syntax, with the tools `ship` and `order`.
    fn marked_reply(reply: &str) -> (&str, Vec<(String, Value)>) {
        let is_tool = |name: &str| ["ship", "order"].contains(&name);
        let parsed = parse(reply, &CallSyntax::marked(&is_tool));
        let calls = parsed.calls.into_iter().map(|found| found.call.unwrap());
        (parsed.content, calls.map(|call| (call.name, Value::Object(call.arguments))).collect())
    }

    fn lenient_names(reply: &str) -> Vec<String> {
        let calls = parse(reply, &CallSyntax::LENIENT).calls;
        calls.into_iter().map(|found| found.call.unwrap().name).collect()
    }

    fn ship() -> (String, Value) {
        ("ship".to_owned(), json!({"id": 1}))
    }

    #[test]
    fn both_syntaxes_read_the_dialects_that_they_share() {
        for reply in [
            r#"<tool_call>{"name": "ship", "arguments": {"id": 1}}</tool_call>"#,
            r#"<tool_call>[{"name": "ship", "arguments": {"id": 1}}]</tool_call>"#,
            r#"<function=ship>{"id": 1}</function>"#,
            r#"{"name": "ship", "parameters": {"id": 1}}"#,
            r#" [{"name": "ship", "arguments": {"id": 1}}]"#,
            r#"{"type": "function", "function": {"name": "ship", "arguments": "{\"id\": 1}"}}"#,
            "```json\n{\"name\": \"ship\", \"arguments\": {\"id\": 1}}\n```",
        ] {
            assert_eq!(marked_reply(reply), ("", vec![ship()]), "{reply}");
            assert_eq!(lenient_names(reply), ["ship"], "{reply}");
        }
    }

    #[test]
    fn only_the_lenient_syntax_reads_unmarked_calls_in_prose() {
        for reply in [
            "analysisNeed a price.assistantcommentary to=functions.ship json{\"id\": 1}",
            "function ship\n```json\n{\"id\": 1}\n```",
            r#"[TOOL_CALLS] [{"name": "ship", "arguments": {"id": 1}}]"#,
            r#"Say {"name": "ship", "arguments": {}} to ship."#,
            r#"{"tool": "ship"}"#,
        ] {
            assert_eq!(marked_reply(reply), (reply, vec![]), "{reply}");
            assert_eq!(lenient_names(reply), ["ship"], "{reply}");
        }
    }

    #[test]
    fn several_marked_calls_keep_the_text_in_front_of_the_first() {
        let one = r#"<tool_call>{"name": "ship", "arguments": {"id": 1}}</tool_call>"#;
        let reply = format!("Now.\n{one}\n{one}");
        assert_eq!(marked_reply(&reply), ("Now.", vec![ship(), ship()]));
        let bare = r#"{"name": "ship", "arguments": {"id": 1}}; {"name": "order"}"#;
        assert_eq!(marked_reply(bare), ("", vec![ship(), ("order".to_owned(), json!({}))]));
    }

    #[test]
    fn a_reply_without_marked_calls_is_all_text() {
        for reply in [
            "I would ship it.",
            r#"{"name": "Ada", "arguments": {}}"#,
            r#"{"id": 1}"#,
            r#"<tool_call>{"name": "ship", "arg"#,
            r#"<tool_call>[{"name": "ship"}, {"id": 1}]</tool_call>"#,
            "<function=ship {}",
            "",
        ] {
            assert_eq!(marked_reply(reply), (reply, vec![]), "{reply}");
        }
    }

    #[test]
    fn a_call_in_reasoning_is_no_call() {
        let considered = r#"<think><tool_call>{"name": "ship"}</tool_call></think>No."#;
        assert_eq!(marked_reply(considered), (considered, vec![]));
        assert!(lenient_names(considered).is_empty());
        let open = r#"<think>{"name": "ship"}"#;
        assert!(lenient_names(open).is_empty());
        let then = r#"<think>hm</think>{"name": "ship", "arguments": {"id": 1}}"#;
        assert_eq!(marked_reply(then), ("<think>hm</think>", vec![ship()]));
        assert_eq!(lenient_names(then), ["ship"]);
    }

    #[test]
    fn the_lenient_syntax_keeps_objects_that_are_no_calls_with_their_defect() {
        let calls = parse(r#"{"tool": 7} {"id": 1}"#, &CallSyntax::LENIENT).calls;
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].call, Err(CallDefect::NameType(json!(7))));
        assert!(parse("<tool_call>{oops", &CallSyntax::LENIENT).begins_call());
        assert!(!parse("The day is fine.", &CallSyntax::LENIENT).begins_call());
    }

    #[test]
    fn hostile_replies_take_no_quadratic_time() {
        let begun = std::time::Instant::now();
        let tail = format!("{{\"a\": \"{}", "x".repeat(300_000));
        for reply in [
            "<tool_call>".repeat(100_000),
            "<function=".repeat(100_000),
            format!("{}>{tail}", "<function=".repeat(100_000)),
            "<tool_call>[\"".repeat(100_000),
            "{}".repeat(300_000),
            "function ".repeat(100_000) + &"{} ".repeat(100_000),
            tail,
        ] {
            assert!(marked_reply(&reply).1.is_empty());
            assert!(lenient_names(&reply).is_empty());
        }
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
