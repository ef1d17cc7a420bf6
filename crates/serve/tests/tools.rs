//! Tests of tools: forced calls, and tools that are rendered into the prompt.

mod common;

use common::{TestServer, chat};
use serde_json::{Value, json};

fn tools() -> Value {
    let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "description": "D", "parameters": parameters}});
    json!([
        tool(
            "ship",
            json!({
                "type": "object",
                "properties": {"id": {"$ref": "#/$defs/id"}, "fast": {"type": "boolean"}},
                "required": ["id", "fast"],
                "additionalProperties": false,
                "$defs": {"id": {"enum": ["A1", "B2"]}},
            })
        ),
        tool("wait", json!({"type": "object", "properties": {}, "additionalProperties": false})),
    ])
}

fn assert_valid(call: &Value) {
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().expect("a text"))
            .expect("JSON");
    match call["function"]["name"].as_str() {
        Some("ship") => {
            assert!(arguments["id"] == "A1" || arguments["id"] == "B2", "{arguments}");
            assert!(arguments["fast"].is_boolean());
        }
        Some("wait") => assert_eq!(arguments, json!({})),
        other => panic!("{other:?}"),
    }
}

#[test]
fn required_and_named_calls_follow_the_tools_schema() {
    let server = TestServer::new();
    let named = json!({"type": "function", "function": {"name": "ship"}});
    for choice in [json!("required"), named.clone()] {
        for seed in 0..3 {
            let more =
                json!({"tools": tools(), "tool_choice": choice, "seed": seed, "max_tokens": 100});
            let (status, reply) = server.post("/v1/chat/completions", &chat(more));
            assert_eq!(status, 200, "{reply}");
            let message = &reply["choices"][0]["message"];
            let calls = message["tool_calls"].as_array().expect("calls");
            assert_eq!((calls.len(), &message["content"]), (1, &Value::Null));
            assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
            assert!(choice != named || calls[0]["function"]["name"] == "ship");
            assert_valid(&calls[0]);
        }
    }
}

#[test]
fn a_streamed_calls_chunks_add_up_to_the_whole_call() {
    let server = TestServer::new();
    let more = json!({"tools": tools(), "tool_choice": "required", "max_tokens": 100});
    let (_, whole) = server.post("/v1/chat/completions", &chat(more.clone()));
    let whole = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    let mut body = chat(more);
    body["stream"] = json!(true);
    let (chunks, done) = server.stream("/v1/chat/completions", &body);
    assert!(done);
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert!(calls[0]["id"].is_string() && calls[1..].iter().all(|call| call["id"].is_null()));
    assert_eq!(calls[0]["function"]["name"], whole["name"]);
    let arguments: String =
        calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(arguments, whole["arguments"].as_str().expect("a text"));
    assert_eq!(chunks.last().expect("an end")["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn tools_reach_the_prompt_by_template_or_as_instructions() {
    let plain = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}";
    for server in [TestServer::new(), TestServer::with_template(plain)] {
        let prompt_tokens = |more: Value| {
            let (status, reply) = server.post("/v1/chat/completions", &chat(more));
            assert_eq!(status, 200, "{reply}");
            reply["usage"]["prompt_tokens"].as_u64().expect("a count")
        };
        let without = prompt_tokens(json!({}));
        assert!(prompt_tokens(json!({"tools": tools()})) > without + 50);
        assert_eq!(prompt_tokens(json!({"tools": tools(), "tool_choice": "none"})), without);
    }
}

#[test]
fn a_conversation_with_calls_and_results_is_accepted() {
    let server = TestServer::new();
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "ship", "arguments": "{\"id\": \"A1\"}"}});
    let messages = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Ship A1."}]},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]);
    let (status, reply) =
        server.post("/v1/chat/completions", &chat(json!({"messages": messages, "tools": tools()})));
    assert_eq!(status, 200, "{reply}");
}

#[test]
fn reasoning_of_earlier_replies_reaches_the_template() {
    let template = "{% for m in messages %}[{{ m.role }}|{% if m.reasoning_content %}{{ m.reasoning_content }}{% endif %}{{ m.content }}]{% endfor %}";
    let server = TestServer::with_template(template);
    let prompt_tokens = |message: Value| {
        let user = json!({"role": "user", "content": "Hello"});
        let messages = json!({"messages": [user, message, user], "max_tokens": 1});
        let (status, reply) = server.post("/v1/chat/completions", &chat(messages));
        assert_eq!(status, 200, "{reply}");
        reply["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    let reply = |name: &str| {
        prompt_tokens(json!({"role": "assistant", "content": "yes", name: "abc abc abc"}))
    };
    let without = reply("unread");
    assert!(reply("reasoning_content") > without + 3);
    assert_eq!(reply("reasoning"), reply("reasoning_content"));
}

#[test]
fn results_reach_a_model_whose_template_has_no_tool_role() {
    let template = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}";
    let server = TestServer::with_template(template);
    let prompt_tokens = |result: &str| {
        let call = json!({"id": "call_1", "type": "function", "function": {"name": "ship", "arguments": "{}"}});
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Ship A1."},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]);
        let more = json!({"messages": messages, "tools": tools(), "max_tokens": 1});
        let (status, reply) = server.post("/v1/chat/completions", &chat(more));
        assert_eq!(status, 200, "{reply}");
        reply["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    assert!(prompt_tokens("done done done done") >= prompt_tokens("done") + 3);
}

#[test]
fn a_message_that_the_template_omits_is_refused() {
    let server = TestServer::with_template("{{ messages[-1].content }}");
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]);
    let (status, reply) = server.post("/v1/chat/completions", &chat(json!({"messages": messages})));
    assert_eq!((status, &reply["error"]["param"]), (400, &json!("messages")), "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("message 0")));
}

#[test]
fn invalid_tools_are_refused() {
    let server = TestServer::new();
    for more in [
        json!({"tool_choice": "required"}),
        json!({"tools": tools(), "tool_choice": "sometimes"}),
        json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "fly"}}}),
        json!({"tools": [{"type": "function", "function": {"name": "two words"}}]}),
        json!({"tools": tools(), "response_format": {"type": "json_object"}}),
    ] {
        let (status, reply) = server.post("/v1/chat/completions", &chat(more.clone()));
        assert_eq!(status, 400, "{more} {reply}");
        assert!(reply["error"]["param"].is_string(), "{reply}");
    }
}
