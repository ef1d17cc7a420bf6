//! Text that an agent writes beside its tool call: the summary of its state, and the tool that the
//! summary announces.

use super::reply::{AgentAction, ReplyMode};
use serde_json::Value;
use text::tool_calls::{CallSyntax, answer, without_objects};

/// The agent's own text: the reasoning on its prediction card or, in text mode, everything around
/// its call. `None` if there is no such text.
pub(crate) fn summary(text: &str, action: Option<&AgentAction>, mode: ReplyMode) -> Option<String> {
    let card = action.and_then(|action| action.card.as_ref());
    let field = |key: &str| {
        card.and_then(|card| card.get(key)).and_then(Value::as_str).unwrap_or("").trim().to_string()
    };
    let fields = [field("reasoning"), field("based_on"), field("uncertain_about")];
    let mut summary =
        fields.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    if summary.is_empty() && mode == ReplyMode::Text {
        summary = without_objects(answer(text, &CallSyntax::LENIENT));
        for mark in ["<tool_call>", "</tool_call>", "```json", "```"] {
            summary = summary.replace(mark, " ");
        }
    }
    let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
    (!summary.is_empty()).then_some(summary)
}

/// The tool that a summary announces; `None` if the summary names no tool or several. A mention
/// counts only if it cannot be an ordinary word: the name contains an underscore, is followed by an
/// opening parenthesis (`order(`), or is in quotes.
pub(crate) fn announced_tool(summary: &str, tools: &[&'static str]) -> Option<String> {
    let mut named = tools.iter().filter(|tool| names_tool(summary, tool));
    match (named.next(), named.next()) {
        (Some(one), None) => Some((*one).to_string()),
        _ => None,
    }
}

fn names_tool(summary: &str, tool: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    summary.match_indices(tool).any(|(at, _)| {
        let (before, after) =
            (summary[..at].chars().next_back(), summary[at + tool.len()..].chars().next());
        let whole_word = !before.is_some_and(is_word) && !after.is_some_and(is_word);
        let quoted = before.is_some_and(|c| "`\"'".contains(c)) && before == after;
        whole_word && (tool.contains('_') || after == Some('(') || quoted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::read_reply;
    use crate::provider::Finish;

    const TOOLS: [&str; 4] = ["order", "wait", "check_inbox", "check_storage"];

    fn summary_of(text: &str, mode: ReplyMode) -> Option<String> {
        summary(text, read_reply(text, Finish::Stop, mode).ok().as_ref(), mode)
    }

    #[test]
    fn a_summary_is_the_cards_reasoning_or_the_text_around_the_call() {
        let json = r#"{"tool":"wait","arguments":{},"card":{"reasoning":"stock is  low","based_on":"inbox"}}"#;
        assert_eq!(summary_of(json, ReplyMode::Json).as_deref(), Some("stock is low inbox"));
        assert_eq!(
            summary_of(r#"{"tool":"wait","card":{"reasoning":null}}"#, ReplyMode::Json),
            None
        );
        let text =
            "Stock is low.\n<tool_call>{\"tool\":\"wait\",\"card\":null}</tool_call> So be it.";
        assert_eq!(summary_of(text, ReplyMode::Text).as_deref(), Some("Stock is low. So be it."));
        assert_eq!(summary_of("<think>hm</think>{\"tool\":\"wait\"}", ReplyMode::Text), None);
    }

    #[test]
    fn one_tool_named_as_a_tool_is_announced_and_ordinary_words_are_not() {
        let announced = |text| announced_tool(text, &TOOLS);
        assert_eq!(announced("I will check_inbox first.").as_deref(), Some("check_inbox"));
        assert_eq!(announced("now order(S1, P2)").as_deref(), Some("order"));
        assert_eq!(announced("best is `wait` today").as_deref(), Some("wait"));
        assert_eq!(announced("the order must wait"), None, "ordinary words");
        assert_eq!(announced("check_inbox or check_storage"), None, "two tools");
        assert_eq!(announced("recheck_inbox check_inboxes"), None, "parts of other words");
    }
}
