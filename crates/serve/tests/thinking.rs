//! Tests of thinking before replies: free, under a schema, with tools, whole and streamed.

mod common;

use common::{TestServer, chat, content};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
/// The test template, with Qwen3's switch and with tools.
const SWITCHED: &str = "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}\
    {% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}\
    <think>\n\n</think>\n\n{% endif %}{% endif %}";

fn schema() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"tool": {"enum": ["order", "wait"]}, "sure": {"type": "boolean"}},
        "required": ["tool", "sure"],
        "additionalProperties": false,
    });
    json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}})
}

fn tools() -> Value {
    let parameters = json!({
        "type": "object", "properties": {"fast": {"type": "boolean"}}, "required": ["fast"], "additionalProperties": false,
    });
    json!([{"type": "function", "function": {"name": "ship", "parameters": parameters}}])
}

fn reasoning_tokens(reply: &Value) -> u64 {
    reply["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().expect("a count")
}

fn post(server: &TestServer, more: Value) -> Value {
    let (status, reply) = server.post(CHAT, &chat(more));
    assert_eq!(status, 200, "{reply}");
    reply
}

#[test]
fn a_schema_binds_behind_the_thinking() {
    let server = TestServer::with_template(SWITCHED);
    for seed in 0..5 {
        let more = json!({"response_format": schema(), "thinking_budget": 9, "max_tokens": 80, "seed": seed});
        let reply = post(&server, more.clone());
        let message = &reply["choices"][0]["message"];
        let answer: Value =
            serde_json::from_str(message["content"].as_str().expect("a text")).expect("JSON");
        assert!(answer["sure"].is_boolean(), "{answer}");
        let tokens = reasoning_tokens(&reply);
        assert!(tokens <= 9 && reply["usage"]["completion_tokens"].as_u64() > Some(tokens + 3));
        let reasoning = message["reasoning_content"].as_str().expect("a text");
        assert!(!reasoning.contains("think>"), "{reasoning}");
        let mut body = chat(more);
        (body["stream"], body["stream_options"]) = (true.into(), json!({"include_usage": true}));
        let (chunks, done) = server.stream(CHAT, &body);
        assert!(done);
        let streamed = |chunk: &Value| {
            let delta = chunk.pointer("/choices/0/delta/reasoning_content");
            delta.and_then(Value::as_str).map(str::to_owned)
        };
        assert_eq!(chunks.iter().filter_map(streamed).collect::<String>(), reasoning);
        assert_eq!(content(&chunks), message["content"].as_str().expect("a text"));
        assert_eq!(reasoning_tokens(chunks.last().expect("the usage")), tokens);
    }
}

#[test]
fn each_tool_choice_works_behind_the_thinking() {
    let server = TestServer::with_template(SWITCHED);
    let named = json!({"type": "function", "function": {"name": "ship"}});
    for choice in [json!("required"), named] {
        let more = json!({"tools": tools(), "tool_choice": choice, "thinking_budget": 6, "max_tokens": 80});
        let reply = post(&server, more);
        let (choice, message) = (&reply["choices"][0], &reply["choices"][0]["message"]);
        assert_eq!(choice["finish_reason"], "tool_calls", "{reply}");
        assert_eq!(message["tool_calls"][0]["function"]["name"], "ship");
        assert!(message["reasoning_content"].is_string() && reasoning_tokens(&reply) <= 6);
    }
    let auto = json!({"tools": tools(), "thinking_budget": 6, "max_tokens": 30});
    let message = &post(&server, auto)["choices"][0]["message"];
    assert!(message["reasoning_content"].is_string() && message["content"].is_string());
}

#[test]
fn thinking_is_switched_by_each_field() {
    let server = TestServer::with_template(SWITCHED);
    let prompt = |reply: &Value| reply["usage"]["prompt_tokens"].as_u64().expect("a count");
    let off = [
        json!({"enable_thinking": false}),
        json!({"chat_template_kwargs": {"enable_thinking": false}}),
        json!({"reasoning_effort": "none"}),
        json!({"thinking_budget": 0}),
    ];
    let replies: Vec<Value> = off.into_iter().map(|fields| post(&server, fields)).collect();
    for reply in &replies {
        assert_eq!(reply["choices"], replies[0]["choices"]);
        assert_eq!(prompt(reply), prompt(&replies[0]));
        assert_eq!(reasoning_tokens(reply), 0);
        assert!(reply["choices"][0]["message"].get("reasoning_content").is_none());
    }
    // The random model does not end its thinking by itself.
    let on = post(&server, json!({"enable_thinking": true}));
    assert_eq!(on["choices"][0]["finish_reason"], "length");
    assert_eq!((reasoning_tokens(&on), &on["choices"][0]["message"]["content"]), (24, &json!("")));
    assert!(prompt(&on) < prompt(&replies[0]), "an empty thinking is longer than its begin");
    // By default the model begins to think itself, or, as this one, does not.
    let free = post(&server, json!({}));
    assert_eq!(reasoning_tokens(&free), 0);
    assert!(prompt(&free) < prompt(&on));
}

#[test]
fn a_model_that_does_not_think_refuses_to() {
    let server = TestServer::new();
    for (field, value) in [
        ("enable_thinking", json!(true)),
        ("thinking_budget", json!(3)),
        ("chat_template_kwargs", json!({"enable_thinking": true})),
    ] {
        let mut body = chat(json!({}));
        body[field] = value;
        let (status, reply) = server.post(CHAT, &body);
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(field)), "{reply}");
        assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("'tiny'")));
    }
    for fields in [json!({"enable_thinking": false}), json!({"reasoning_effort": "low"})] {
        assert_eq!(reasoning_tokens(&post(&server, fields)), 0);
    }
}

#[test]
fn variables_reach_the_template() {
    let template = SWITCHED.replace("<|im_start|>assistant", "{{ color }}<|im_start|>assistant");
    let server = TestServer::with_template(&template);
    let prompt = |color: &str| {
        let reply = post(&server, json!({"chat_template_kwargs": {"color": color}}));
        reply["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    assert!(prompt("a longer text of several tokens") > prompt("a") + 5);
}
