//! Tests of parsing replies and prediction cards, and of the consequences of parse failures.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use experiment::{Finish, ReplyMode, read_reply};
use fake_model::{FakeModel, one_run};
use serde_json::json;
/// Defect 10 of the predecessor: a placeholder echoed from the prompt was accepted as an action,
/// and lower case, markdown and apostrophes broke the parser.
#[test]
fn defect_10_replies_are_parsed_or_refused_with_a_kind() {
    let read = |text: &str| read_reply(text, Finish::Stop, ReplyMode::Text);
    let kind = |text: &str| read(text).unwrap_err().kind;
    let tool = |text: &str| read(text).unwrap_or_else(|failure| panic!("{text}: {failure:?}")).tool;
    assert_eq!(
        tool("Let's see, I'd wait.\n```json\n{\"tool\": \"Wait\", \"arguments\": {}}\n```"),
        "wait"
    );
    assert_eq!(
        tool("<tool_call>{\"name\": \"order\", \"arguments\": {\"sku\": \"P1\"}}</tool_call>"),
        "order"
    );
    assert_eq!(tool("{\"function\": {\"name\": \"wait\", \"arguments\": \"{}\"}}"), "wait");
    assert_eq!(tool("<think>{\"tool\":\"order\"} perhaps</think>{\"tool\":\"wait\"}"), "wait");
    assert_eq!(tool("{\"tool\":\"wait\"} {\"tool\":\"wait\"}"), "wait");
    assert_eq!(kind("{\"tool\":\"wait\"} {\"tool\":\"order\"}"), "several_calls");
    assert_eq!(kind("I'm sorry, but I can\u{2019}t help with that."), "refusal");
    assert_eq!(kind("The day is fine."), "no_call");
    assert_eq!(kind("<tool_call>{\"tool\": oops}</tool_call>"), "invalid_json");
    assert_eq!(kind("{\"tool\": 7}"), "schema_mismatch");
    assert_eq!(kind("{\"tool\": \"order\", \"arguments\": [1]}"), "schema_mismatch");
    assert_eq!(
        kind("<think>{\"tool\":\"wait\"}"),
        "no_call",
        "a call in an unclosed thought is not made"
    );
    assert_eq!(
        read_reply("{\"tool\": \"order\", \"arg", Finish::Length, ReplyMode::Text)
            .unwrap_err()
            .kind,
        "cut_off"
    );
    assert_eq!(
        read_reply("{\"tool\":\"wait\"}", Finish::Stop, ReplyMode::Json).unwrap().tool,
        "wait"
    );
    assert_eq!(
        read_reply("Sure! {\"tool\":\"wait\"}", Finish::Stop, ReplyMode::Json).unwrap_err().kind,
        "invalid_json"
    );
    let carded = read("{\"name\":\"wait\",\"arguments\":{\"card\":{\"success\":true}}}").unwrap();
    assert_eq!((carded.card, carded.arguments.len()), (Some(json!({"success": true})), 0));
    // An echoed placeholder is not the name of a tool. The world rejects the call, and no other
    // call is made in its place.
    let echo = r#"{"tool": "<tool name>", "arguments": {}, "card": null}"#;
    let rows = one_run(
        &["env.max_steps=3"],
        &FakeModel::new(move |_, _| Ok((echo.to_string(), Finish::Stop))),
    );
    assert!(rows.iter().all(|row| !row.result.success), "{:?}", rows[0].result);
    assert!(rows[0].result.failure.as_ref().unwrap().contains("there is no tool"));
}

#[test]
fn calls_in_the_formats_of_model_templates_are_parsed() {
    for (family, text) in [
        (
            "Qwen, Hermes",
            "<tool_call>\n{\"name\": \"quote\", \"arguments\": {\"sku\": \"P1\"}}\n</tool_call>",
        ),
        ("Llama 3.1", "{\"name\": \"quote\", \"parameters\": {\"sku\": \"P1\"}}"),
        ("Llama 3.1, custom", "<function=quote>{\"sku\": \"P1\"}</function>"),
        (
            "gpt-oss",
            "analysisNeed a price.assistantcommentary to=functions.quote json{\"sku\": \"P1\"}",
        ),
        ("DeepSeek", "function quote\n```json\n{\"sku\": \"P1\"}\n```"),
        ("Mistral", "[TOOL_CALLS] [{\"name\": \"quote\", \"arguments\": {\"sku\": \"P1\"}}]"),
        (
            "OpenAI",
            "{\"type\": \"function\", \"function\": {\"name\": \"quote\", \"arguments\": \"{\\\"sku\\\": \\\"P1\\\"}\"}}",
        ),
    ] {
        let call = read_reply(text, Finish::Stop, ReplyMode::Text)
            .unwrap_or_else(|failure| panic!("{family}: {failure:?}"));
        assert_eq!(
            (call.tool.as_str(), &call.arguments["sku"]),
            ("quote", &json!("P1")),
            "{family}"
        );
    }
    let prose = "Its function is unclear, see {\"sku\": \"P1\"}";
    assert_eq!(read_reply(prose, Finish::Stop, ReplyMode::Text).unwrap_err().kind, "no_call");
}

#[test]
fn a_parse_failure_is_shown_to_the_agent_once() {
    let model = FakeModel::new(|_, before| match before {
        0 => Ok(("I'm sorry, no.".to_string(), Finish::Stop)),
        _ => Ok(("{\"tool\":\"wait\"}".to_string(), Finish::Stop)),
    });
    let rows = one_run(&["agent.reply_mode=text", "env.max_steps=4"], &model);
    assert_eq!(rows[0].parse_failure.as_ref().unwrap().kind, "refusal");
    assert_eq!((&rows[0].action, rows[0].card_problem.as_deref()), (&None, Some("absent")));
    assert!(
        rows[1].prompt[0]
            .content
            .contains("Your last reply was not used: expected a tool call, found a refusal")
    );
    let requests = model.requests.lock().unwrap();
    assert!(requests[0].schema.is_none(), "text mode is not constrained");
    assert!(
        requests[0].tools.as_ref().unwrap()[0]["function"]["parameters"]["properties"]["card"]
            .is_object()
    );
    assert!(requests[0].messages[0].content.contains("<tool_call>"));
    assert!(
        !requests[0].messages[0].content.contains("Reply with one JSON object"),
        "the prompt describes only one format"
    );
    assert!(
        !requests[1].messages.last().unwrap().content.contains("Failed:"),
        "the failure is shown only once"
    );
    assert_eq!(rows[1].parse_failure, None);
}

#[test]
fn a_missing_card_is_a_problem_only_where_it_is_required() {
    let bare = || {
        FakeModel::new(|_, _| {
            Ok((r#"{"tool":"wait","arguments":{},"card":null}"#.to_string(), Finish::Stop))
        })
    };
    let required = one_run(&["env.max_steps=5"], &bare());
    assert!(required.iter().all(|row| row.card_problem.as_deref() == Some("absent")));
    let optional = one_run(&["env.max_steps=5", "interface.prediction_mode=optional"], &bare());
    assert!(optional.iter().all(|row| row.card_problem.is_none() && row.pe_pairs.is_empty()));
}

#[test]
fn problems_of_a_card_are_recorded_and_its_valid_fields_scored() {
    let reply =
        r#"{"tool":"wait","arguments":{},"card":{"success":true,"cost":"none","confidence":70}}"#;
    let model = FakeModel::new(move |_, _| Ok((reply.to_string(), Finish::Stop)));
    let rows =
        one_run(&["env.max_steps=2", "interface.prediction_mode=required+confidence"], &model);
    let problem = rows[0].card_problem.as_deref().unwrap();
    for part in [
        "cost: expected integer, found a string",
        "storage_after is missing",
        "confidence: expected 0 to 1, found 70",
    ] {
        assert!(problem.contains(part), "{problem}");
    }
    let scored: Vec<_> = rows[0].pe_pairs.iter().map(|pair| (&*pair.field, pair.error)).collect();
    assert_eq!(scored, [("success", 0.0)]);
}

/// The decoupling detector counts actions that contradict the prediction card, and actions with a
/// tool other than the one announced in the summary.
#[test]
fn an_action_that_contradicts_its_card_or_summary_is_marked() {
    let contradicts = |mode: &str, reply: &str| {
        let reply = reply.to_string();
        let model = FakeModel::new(move |_, _| Ok((reply.clone(), Finish::Stop)));
        let rows = one_run(&["env.max_steps=2", &format!("agent.reply_mode={mode}")], &model);
        rows[0].detector.value()["contradicts"].clone()
    };
    let call =
        |card: &str| format!("{{\"tool\":\"check_inbox\",\"arguments\":{{}},\"card\":{card}}}");
    assert_eq!(contradicts("json", &call("null")), json!(null), "no card and no summary");
    assert_eq!(contradicts("json", &call("{\"success\":true,\"cost\":0}")), json!(false));
    assert_eq!(contradicts("json", &call("{\"success\":false}")), json!(true));
    assert_eq!(
        contradicts("json", &call("{\"success\":true,\"cost\":40}")),
        json!(true),
        "a query costs nothing"
    );
    assert_eq!(
        contradicts("json", &call("{\"reasoning\":\"best to order(S1, P2) now\"}")),
        json!(true)
    );
    assert_eq!(contradicts("text", &format!("I use check_inbox. {}", call("null"))), json!(false));
    assert_eq!(contradicts("text", &format!("I use check_storage. {}", call("null"))), json!(true));
}

proptest::proptest! {
    #[test]
    fn any_text_parses_to_a_call_or_to_a_failure_with_kind_and_detail(text in "\\PC{0,80}|[{}\\[\\]\",:a-z0-9<>/_ \\n]{0,200}", cut in proptest::bool::ANY) {
        for mode in [ReplyMode::Json, ReplyMode::Text] {
            let finish = if cut { Finish::Length } else { Finish::Stop };
            match read_reply(&text, finish, mode) {
                Ok(call) => proptest::prop_assert!(call.tool.trim() == call.tool),
                Err(failure) => proptest::prop_assert!(!failure.kind.is_empty() && !failure.detail.is_empty()),
            }
        }
    }
}
