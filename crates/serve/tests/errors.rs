//! Tests of error responses, disconnecting clients and the server's shutdown.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{CONTEXT, TestServer, chat};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
/// A number of reply tokens that takes seconds to generate: no test waits for the end of such a
/// reply.
const LONG: usize = 16_000;

/// The body of a request whose reply runs to its token limit: the JSON schema requires a very long
/// string.
fn long(more: Value) -> Value {
    let schema = json!({"type": "string", "minLength": 100_000});
    let format = json!({"type": "json_schema", "json_schema": {"name": "long", "schema": schema}});
    let mut body = chat(json!({"max_tokens": LONG, "response_format": format}));
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

#[test]
fn invalid_requests_are_refused_with_the_reason() {
    let server = TestServer::with(|options| options.reply_tokens_max = Some(LONG));
    let too_long = "a b ".repeat(CONTEXT);
    for (more, word) in [
        (json!({"messages": []}), "message"),
        (json!({"messages": [{"role": "user", "content": too_long}]}), "at most"),
        (json!({"messages": [{"role": "king", "content": ""}]}), "king"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "image_url"),
        (json!({"logprobs": true}), "log-probabilities"),
        (json!({"n": 2}), "n: expected 1"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"top_p": 0}), "top_p"),
        (json!({"min_p": 2}), "min_p"),
        (json!({"top_k": -7}), "1 or more"),
        (json!({"max_tokens": 0}), "at least 1"),
        (json!({"max_completion_tokens": LONG + 1}), "limit"),
        (json!({"stop": ""}), "stop"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"logit_bias": {"7": 1}}), "logit_bias"),
        (json!({"never_heard_of": 1}), "never_heard_of"),
        (
            json!({"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {"name": "f"}}]}]}),
            "assistant only",
        ),
        (json!({"messages": [{"role": "user"}]}), "content"),
        (json!({"messages": [{"role": "user", "content": "a", "audio": {"id": "x"}}]}), "audio"),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            "schema",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "cat"}}}}),
            "schema",
        ),
    ] {
        let (status, reply) = server.post(CHAT, &chat(more.clone()));
        assert_eq!(status, 400, "{more} {reply}");
        let error = &reply["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains(word)),
            "{more} {reply}"
        );
    }
    let context = json!({"messages": [{"role": "user", "content": too_long}], "stream": true});
    let (_, reply) = server.post(CHAT, &chat(context));
    assert_eq!(reply["error"]["code"], "context_length_exceeded");
    let (status, reply) = server.post(CHAT, &chat(json!({"model": "gpt-4o"})));
    assert_eq!((status, &reply["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(server.post("/v1/nothing", &json!({})).0, 404);
    assert_eq!(server.get(CHAT).0, 405);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": [380, 999_999]})).0, 400);
    assert_eq!(server.post("/v1/completions", &json!({"prompt": ["a", "b"]})).0, 400);
    assert_eq!(server.post("/v1/embeddings", &json!({"input": []})).0, 400);
    // The server still works after all errors.
    assert_eq!(server.post(CHAT, &chat(json!({"user": "me"}))).0, 200);
}

#[test]
fn a_field_has_an_effect_or_is_refused_by_name() {
    let server = TestServer::new();
    for (name, value) in [
        ("guided_regex", json!("[0-9]+")),
        ("structured_outputs", json!({"choice": ["yes", "no"]})),
        ("min_tokens", json!(20)),
        ("ignore_eos", json!(true)),
        ("stop_token_ids", json!([28])),
        ("continue_final_message", json!(true)),
        ("chat_template_kwargs", json!({"x": 1})),
        ("modalities", json!(["audio"])),
        ("typical_p", json!(0.1)),
        ("max_tokens_", json!(3)),
        ("web_search_options", json!({})),
        ("parallel_tool_calls", json!(false)),
    ] {
        let mut body = chat(json!({}));
        body[name] = value;
        let (status, reply) = server.post(CHAT, &body);
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(name)), "{reply}");
        body[name] = Value::Null;
        assert_eq!(server.post(CHAT, &body).0, 200, "{name}: null");
    }
    let neutral = json!({
        "n": 1, "best_of": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "ignore_eos": false,
        "stop_token_ids": [], "modalities": ["text"], "parallel_tool_calls": true, "store": false, "typical_p": 1.0,
        "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false}, "metadata": {"a": "b"},
    });
    let (status, reply) = server.post(CHAT, &chat(neutral));
    assert_eq!(status, 200, "{reply}");
    let options = json!({"stream": true, "stream_options": {"continuous_usage_stats": true}});
    assert_eq!(
        server.post(CHAT, &chat(options)).1["error"]["param"],
        "stream_options.continuous_usage_stats"
    );
    let options = json!({"stream_options": {"include_usage": true}});
    assert_eq!(server.post(CHAT, &chat(options)).1["error"]["param"], "stream_options");
    let body = json!({"input": "a", "user": "me", "truncate": 1});
    assert_eq!(server.post("/v1/embeddings", &body).1["error"]["param"], "truncate");
}

/// A tool with some members changed.
fn tool(more: Value, function: Value) -> Value {
    let mut tool = json!({"type": "function", "function": {"name": "look", "parameters": {}}});
    for (object, changes) in [("", more), ("/function", function)] {
        let object = tool.pointer_mut(object).and_then(Value::as_object_mut).expect("an object");
        object.extend(changes.as_object().expect("an object").clone());
    }
    tool
}

#[test]
fn a_nested_field_has_an_effect_or_is_refused_by_its_path() {
    let server = TestServer::new();
    let schema = |more: Value| {
        let mut named = json!({"name": "n", "schema": {"type": "object"}});
        named.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        named
    };
    let user = |part: Value| json!([{"role": "user", "content": [part]}]);
    let named = json!({"type": "function", "function": {"name": "look"}});
    for (param, more) in [
        ("tools[0].function.strict", json!({"tools": [tool(json!({}), json!({"strict": true}))]})),
        ("tools[0].defer", json!({"tools": [tool(json!({"defer": 1}), json!({}))]})),
        (
            "tools[0].function.examples",
            json!({"tools": [tool(json!({}), json!({"examples": []}))]}),
        ),
        ("response_format.schema", json!({"response_format": {"type": "text", "schema": {}}})),
        (
            "response_format.json_schema.grammar",
            json!({"response_format": {"type": "json_schema", "json_schema": schema(json!({"grammar": "x"}))}}),
        ),
        (
            "messages.content.image_url",
            json!({"messages": user(json!({"type": "text", "text": "a", "image_url": {"url": "x"}}))}),
        ),
        (
            "tool_choice.only",
            json!({"tools": [tool(json!({}), json!({}))], "tool_choice": {"type": "function", "function": {"name": "look"}, "only": 1}}),
        ),
        ("tool_choice", json!({"tools": [tool(json!({}), json!({}))], "tool_choice": 7})),
        (
            "tool_choice",
            json!({"tools": [tool(json!({}), json!({}))], "tool_choice": {"type": "custom", "function": {"name": "look"}}}),
        ),
        ("max_completion_tokens", json!({"max_completion_tokens": 0})),
    ] {
        let (status, reply) = server.post(CHAT, &chat(more.clone()));
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(param)), "{more} {reply}");
    }
    for more in [
        json!({"tools": [tool(json!({}), json!({"strict": false}))]}),
        json!({"tools": [tool(json!({}), json!({"strict": true}))], "tool_choice": named, "max_tokens": 40}),
        json!({"response_format": {"type": "json_schema", "json_schema": schema(json!({"strict": true, "description": "d"}))}}),
        json!({"messages": user(json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}))}),
    ] {
        let (status, reply) = server.post(CHAT, &chat(more.clone()));
        assert_eq!(status, 200, "{more} {reply}");
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let server = TestServer::new();
    for (name, value) in [
        ("temperature", json!("hot")),
        ("max_tokens", json!(-1)),
        ("messages", json!("hello")),
        ("messages", json!([{"role": "user", "content": 5}])),
        ("stop", json!(5)),
        ("stream", json!("yes")),
        ("tools", json!({"name": "look"})),
        ("response_format", json!({"type": "xml"})),
        ("response_format", json!("json")),
    ] {
        let mut body = chat(json!({}));
        body[name] = value;
        let (status, reply) = server.post(CHAT, &body);
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(name)), "{reply}");
    }
    for (path, name, body) in [
        ("/v1/completions", "prompt", json!({"prompt": {"text": "a"}})),
        ("/v1/embeddings", "input", json!({"input": 1, "encoding_format": "float"})),
        ("/v1/embeddings", "encoding_format", json!({"input": "a", "encoding_format": "int8"})),
    ] {
        assert_eq!(server.post(path, &body).1["error"]["param"], name);
    }
    let (_, reply) = server.post(CHAT, &json!({"temperature": 0}));
    assert_eq!(reply["error"]["param"], Value::Null);
}

#[test]
fn a_schema_in_json_object_constrains_the_reply() {
    let server = TestServer::new();
    let schema = json!({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false});
    let more = json!({"response_format": {"type": "json_object", "schema": schema}});
    let (_, reply) = server.post(CHAT, &chat(more));
    assert_eq!(reply["choices"][0]["message"]["content"], "{\"a\":1}");
}

#[test]
fn invalid_bodies_are_refused() {
    let server = TestServer::with(|options| options.body_bytes_max = 10_000);
    let (status, reply) = server.post(CHAT, &chat(json!({"user": "x".repeat(10_000)})));
    assert_eq!(status, 413, "{reply}");
    let chunk = "x".repeat(6000);
    let chunked = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
         1770\r\n{chunk}\r\n1770\r\n{chunk}\r\n0\r\n\r\n"
    );
    assert!(exchange(&server, &chunked).starts_with("HTTP/1.1 413"));
    let form = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    assert!(exchange(&server, &form).starts_with("HTTP/1.1 415"));
    let body = "{\"messages\": ";
    let torn = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(exchange(&server, &torn).starts_with("HTTP/1.1 400"));
}

#[test]
fn a_body_that_does_not_arrive_times_out() {
    let server = TestServer::with(|options| options.body_timeout = Duration::from_millis(200));
    let begun = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{{"
    );
    assert!(exchange(&server, &begun).starts_with("HTTP/1.1 408"));
    server.await_metric("vendomini_requests_in_flight", 0.0);
}

#[test]
fn the_api_key_is_required() {
    let server = TestServer::with(|options| options.api_key = Some("secret".to_owned()));
    let ask = |header: &str| server.post_with(CHAT, &chat(json!({})), &[("authorization", header)]);
    for wrong in ["Bearer secreT", "Bearer secret ", "Bearer ", "secret", "Bearer secrets"] {
        let (status, reply) = ask(wrong);
        // HTTP ignores whitespace at the end of a header value, so that `secret ` is the right key.
        let expected = if wrong.ends_with("secret ") { 200 } else { 401 };
        assert_eq!(status, expected, "{wrong} {reply}");
    }
    assert_eq!(server.post(CHAT, &chat(json!({}))).1["error"]["code"], "invalid_api_key");
    assert_eq!(ask("Bearer secret").0, 200);
    assert_eq!(
        (server.get("/v1/models").0, server.get("/metrics").0, server.get("/health").0),
        (401, 401, 200)
    );
}

#[test]
fn a_reply_ends_at_its_deadline() {
    let server = TestServer::with(|options| options.reply_timeout = Duration::from_millis(150));
    let (status, reply) = server.post(CHAT, &long(json!({})));
    assert_eq!((status, &reply["error"]["code"]), (504, &json!("timeout")));
    let (chunks, done) = server.stream(CHAT, &long(json!({"stream": true})));
    assert!(!done && chunks.last().is_some_and(|last| last["error"]["code"] == "timeout"));
}

#[test]
fn a_disconnecting_client_cancels_its_request() {
    let server = TestServer::new();
    for stream in [true, false] {
        let connection = begin(&server, &long(json!({"stream": stream})));
        server.await_metric("vendomini_requests_running", 1.0);
        drop(connection);
        server.await_metric("vendomini_requests_running", 0.0);
        server.await_metric("vendomini_requests_in_flight", 0.0);
    }
    assert_eq!(server.metric("vendomini_replies_total{reason=\"canceled\"}"), 2.0);
    assert!(server.metric("vendomini_reply_tokens_total") < LONG as f64);
}

#[test]
fn requests_over_the_limit_get_429() {
    let server = TestServer::with(|options| options.requests_max = 2);
    let _first = begin(&server, &long(json!({})));
    let _second = begin(&server, &long(json!({})));
    server.await_metric("vendomini_requests_in_flight", 2.0);
    let (status, reply) = server.post(CHAT, &chat(json!({})));
    assert_eq!((status, &reply["error"]["code"]), (429, &json!("queue_full")));
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn shutdown_takes_under_a_second_and_is_reported_to_clients() {
    let mut server = TestServer::new();
    let mut whole = begin(&server, &long(json!({})));
    let mut streamed = begin(&server, &long(json!({"stream": true})));
    let mut idle = TcpStream::connect(server.address).expect("a connection");
    server.await_metric("vendomini_requests_running", 2.0);
    let took = server.end();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let whole = rest(&mut whole);
    assert!(whole.starts_with("HTTP/1.1 503") && whole.contains("shutting_down"), "{whole}");
    let streamed = rest(&mut streamed);
    assert!(streamed.contains("shutting_down") && !streamed.contains("[DONE]"), "{streamed}");
    assert_eq!(rest(&mut idle), "");
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn who_comes_while_it_ends_is_sent_away() {
    let mut server = TestServer::new();
    let _busy = begin(&server, &long(json!({})));
    server.await_metric("vendomini_requests_running", 1.0);
    server.request_stop();
    // The server drains while a reply is generated: during that time it may still accept
    // connections.
    let mut statuses = Vec::new();
    while let Ok(mut connection) = TcpStream::connect(server.address) {
        let _gone =
            connection.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        statuses.push(rest(&mut connection).get(9..12).unwrap_or_default().to_owned());
    }
    assert!(statuses.iter().any(|status| status == "503"), "{statuses:?}");
    server.end();
}

/// Opens a connection and sends a request without reading the response.
fn begin(server: &TestServer, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(server.address).expect("a connection");
    connection.write_all((head + &body).as_bytes()).expect("it is sent");
    connection
}

/// Opens a connection, sends bytes and reads the start of the response.
fn exchange(server: &TestServer, bytes: &str) -> String {
    let mut connection = TcpStream::connect(server.address).expect("a connection");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    connection.write_all(bytes.as_bytes()).expect("it is sent");
    let mut answer = [0; 4096];
    let count = connection.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

/// Reads until the server closes or resets the connection; returns the text.
fn rest(connection: &mut TcpStream) -> String {
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut bytes = Vec::new();
    let _reset = connection.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
