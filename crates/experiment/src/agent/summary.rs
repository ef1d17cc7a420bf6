//! What an agent says beside its call: its summary of the state, and the tool that it announces.

use super::reply::{AgentAction, ReplyMode};
use serde_json::Value;
use text::tool_calls::{CallSyntax, answer, without_objects};

/// The agent's own words: the reasoning of its card, else what stands round its call in free text.
/// `None` where it says nothing.
pub(crate) fn summary(text: &str, call: Option<&AgentAction>, mode: ReplyMode) -> Option<String> {
    let card = call.and_then(|call| call.card.as_ref());
    let said = |key: &str| {
        card.and_then(|card| card.get(key)).and_then(Value::as_str).unwrap_or("").trim().to_string()
    };
    let parts = [said("reasoning"), said("based_on"), said("uncertain_about")];
    let mut words = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    if words.is_empty() && mode == ReplyMode::Text {
        words = without_objects(answer(text, &CallSyntax::LENIENT));
        for mark in ["<tool_call>", "</tool_call>", "```json", "```"] {
            words = words.replace(mark, " ");
        }
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// The one tool that words announce; `None` where they name none or several. A tool's name counts
/// where it cannot be an ordinary word: it has an underscore, is called (`order(`), or stands in
/// quotes.
pub(crate) fn announced_tool(words: &str, tools: &[&'static str]) -> Option<String> {
    let mut named = tools.iter().filter(|tool| names(words, tool));
    match (named.next(), named.next()) {
        (Some(one), None) => Some((*one).to_string()),
        _ => None,
    }
}

fn names(words: &str, tool: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    words.match_indices(tool).any(|(at, _)| {
        let (before, after) =
            (words[..at].chars().next_back(), words[at + tool.len()..].chars().next());
        let whole = !before.is_some_and(inside) && !after.is_some_and(inside);
        let quoted = before.is_some_and(|c| "`\"'".contains(c)) && before == after;
        whole && (tool.contains('_') || after == Some('(') || quoted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::agent::read_reply;

    const TOOLS: [&str; 4] = ["order", "wait", "check_inbox", "check_storage"];

    fn said(text: &str, mode: ReplyMode) -> Option<String> {
        summary(text, read_reply(text, Finish::Stop, mode).ok().as_ref(), mode)
    }

    #[test]
    fn words_are_the_cards_reasoning_or_what_stands_round_the_call() {
        let json = r#"{"tool":"wait","arguments":{},"card":{"reasoning":"stock is  low","based_on":"inbox"}}"#;
        assert_eq!(said(json, ReplyMode::Json).as_deref(), Some("stock is low inbox"));
        assert_eq!(said(r#"{"tool":"wait","card":{"reasoning":null}}"#, ReplyMode::Json), None);
        let text =
            "Stock is low.\n<tool_call>{\"tool\":\"wait\",\"card\":null}</tool_call> So be it.";
        assert_eq!(said(text, ReplyMode::Text).as_deref(), Some("Stock is low. So be it."));
        assert_eq!(said("<think>hm</think>{\"tool\":\"wait\"}", ReplyMode::Text), None);
    }

    #[test]
    fn a_plan_is_one_tool_that_is_named_as_a_tool() {
        assert_eq!(
            announced_tool("I will check_inbox first.", &TOOLS).as_deref(),
            Some("check_inbox")
        );
        assert_eq!(announced_tool("now order(S1, P2)", &TOOLS).as_deref(), Some("order"));
        assert_eq!(announced_tool("best is `wait` today", &TOOLS).as_deref(), Some("wait"));
        assert_eq!(announced_tool("the order must wait", &TOOLS), None, "ordinary words");
        assert_eq!(announced_tool("check_inbox or check_storage", &TOOLS), None, "two");
        assert_eq!(announced_tool("recheck_inbox check_inboxes", &TOOLS), None);
    }
}
