//! Tests that every message of a conversation reaches the prompt, with templates that lack the role
//! `system` or `tool`, or tools.
mod support;

use serde_json::{Value, json};
use std::path::Path;
use text::{ChatTemplate, TemplateFeatures, TemplateSource, TextError};

/// Like Phi-3.5-mini's: other roles than these three are omitted without an error.
const NO_TOOL_ROLE: &str = "{% for m in messages %}{% if m.role == 'system' and m.content %}<|system|>{{ m.content }}<|end|>\
    {% elif m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% elif m.role == 'assistant' %}<|assistant|>{{ m.content }}<|end|>\
    {% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Like Mistral-7B-Instruct-v0.2's: user and assistant alternate, other roles are refused.
const ALTERNATING: &str = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
    {% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %}{{ m.content }}</s>\
    {% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

/// Renders tools, their calls and their results; of a message with calls, only these.
const WITH_TOOLS: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>\
    {% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}\
    {% else %}{{ m.content }}{% endif %}{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    let source = TemplateSource { default: source.to_owned(), ..TemplateSource::default() };
    ChatTemplate::new(Path::new("chat_template.jinja"), source).expect("a valid template")
}

fn prompt(source: &str, messages: Value, tools: Option<Value>) -> Result<String, TextError> {
    let messages = messages.as_array().expect("messages");
    template(source).prompt(messages, tools.as_ref(), false)
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "count", "description": "", "parameters": {"type": "object", "properties": {}}}}])
}

fn called() -> Value {
    let call = json!({"id": "abc123def", "type": "function", "function": {"name": "count", "arguments": {"sku": "A"}}});
    json!([
        message("user", "How many?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abc123def", "content": "21"},
    ])
}

#[test]
fn features_are_those_that_the_template_renders() {
    let found = |source| template(source).features();
    let features =
        |tools, tool_results, system| TemplateFeatures { user: true, tools, tool_results, system };
    assert_eq!(found(NO_TOOL_ROLE), features(false, false, true));
    assert_eq!(found(ALTERNATING), features(false, false, false));
    assert_eq!(found(WITH_TOOLS), features(true, true, true));
    assert_eq!(found("{{ raise_exception('no') }}"), TemplateFeatures::default());
}

#[test]
fn a_template_with_all_features_gets_the_messages_unchanged() {
    let text = prompt(WITH_TOOLS, called(), Some(tools())).expect("a prompt");
    let expected = "<user>How many?<assistant>count{\"sku\": \"A\"}<tool>21";
    assert_eq!(text.split_once("}]").expect("tools").1, expected);
}

#[test]
fn results_become_text_where_the_template_has_no_tool_role() {
    assert_eq!(
        prompt(NO_TOOL_ROLE, called(), None).expect("a prompt"),
        "<|user|>How many?<|end|><|assistant|>{\"name\":\"count\",\"arguments\":{\"sku\":\"A\"}}<|end|>\
         <|user|>The tool count returned:\n21<|end|>"
    );
    let mut messages = called();
    let more = [
        json!({"role": "tool", "name": "look", "content": "x"}),
        json!({"role": "tool", "content": "y"}),
        message("user", "So?"),
        message("assistant", "21"),
        message("user", "Sure?"),
    ];
    messages.as_array_mut().expect("messages").extend(more);
    let text = prompt(ALTERNATING, messages, Some(tools())).expect("a prompt");
    let end = "[INST] The tool count returned:\n21\n\nThe tool look returned:\nx\n\nThe tool returned:\ny\n\n\
               So? [/INST]21</s>[INST] Sure? [/INST]";
    assert!(text.ends_with(end), "{text}");
    assert!(text.starts_with("[INST] You may call these tools:\n{"), "{text}");
    assert!(text.contains("\n\nHow many? [/INST]{\"name\":\"count\""), "{text}");
}

#[test]
fn system_messages_join_the_next_user_message_where_there_is_no_system_role() {
    let [system, user, assistant] = [("system", "S"), ("user", "U"), ("assistant", "A")]
        .map(|(role, text)| message(role, text));
    let cases = [
        (json!([system, user]), "[INST] S\n\nU [/INST]"),
        (json!([system, system, user, assistant]), "[INST] S\n\nS\n\nU [/INST]A</s>"),
        (json!([user, assistant, system, user]), "[INST] U [/INST]A</s>[INST] S\n\nU [/INST]"),
        (json!([user, system]), "[INST] U\n\nS [/INST]"),
        (json!([user, assistant, system]), "[INST] U [/INST]A</s>[INST] S [/INST]"),
        (json!([system]), "[INST] S [/INST]"),
    ];
    for (messages, expected) in cases {
        assert_eq!(prompt(ALTERNATING, messages, None).expect("a prompt"), expected);
    }
    assert_eq!(
        prompt(NO_TOOL_ROLE, json!([system, user]), None).expect("a prompt"),
        "<|system|>S<|end|><|user|>U<|end|>"
    );
}

#[test]
fn a_message_that_the_template_omits_is_an_error() {
    // Only the first message's system prompt, and only the last user message.
    let last = "{{ messages[-1].content }}";
    let first_system = "{% for m in messages %}{% if loop.first or m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}";
    let [system, user] = [("system", "1"), ("user", "1")].map(|(role, text)| message(role, text));
    for (source, messages, index) in [
        (last, json!([user, message("assistant", "1"), user]), "message 0 "),
        (first_system, json!([system, user, system, user]), "message 2 "),
    ] {
        let error = prompt(source, messages, None).expect_err("a message is omitted").to_string();
        assert!(error.contains(index) && error.contains("chat_template.jinja"), "{error}");
    }
    // A prompt without any of the messages, but with none to begin with.
    let in_user = "{% for m in messages %}{% if m.role == 'user' %}{% if loop.index0 == 1 %}{{ messages[0].content }}{% endif %}{{ m.content }}\
        {% endif %}{% endfor %}";
    assert!(prompt(in_user, json!([system, user]), None).is_ok());
    assert!(prompt(in_user, json!([system]), None).is_err());
    assert_eq!(prompt("constant", json!([user]), None).expect("a prompt"), "constant");
    // One of two calls.
    let mut calls = called();
    let call = calls[1]["tool_calls"][0].clone();
    calls[1]["tool_calls"] = json!([call, call]);
    let first_call = WITH_TOOLS.replace("for c in m.tool_calls %}", "for c in m.tool_calls[:1] %}");
    assert!(prompt(WITH_TOOLS, calls.clone(), Some(tools())).is_ok());
    assert!(prompt(&first_call, calls, Some(tools())).is_err());
    // Content beside calls, empty messages and a stripped part of a message may be left out.
    let mut messages = called();
    messages[1]["content"] = "I look.".into();
    assert!(prompt(WITH_TOOLS, messages, Some(tools())).is_ok());
    assert!(prompt(last, json!([message("assistant", " \n"), user]), None).is_ok());
    let stripped = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}";
    assert!(prompt(stripped, json!([message("assistant", "<think>x</think>")]), None).is_ok());
    // A template that rejects other content than it was sent.
    let strict = "{% for m in messages %}{% if m.content != 'yes' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}";
    assert!(prompt(strict, json!([message("user", "yes")]), None).is_ok());
}
