//! Tests of replies: whole and streamed, with and without a grammar.

mod common;

use common::{MODEL, TestServer, chat, content};
use serde_json::{Value, json};

#[test]
fn chat_completions_follow_openais_format_and_are_reproducible_by_seed() {
    let server = TestServer::new();
    let (status, reply) = server.post("/v1/chat/completions", &chat(json!({})));
    assert_eq!(status, 200, "{reply}");
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!(MODEL)));
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().expect("a text");
    assert!(!text.is_empty());
    let count = |key: &str| reply["usage"][key].as_u64().expect("a count");
    let tokens = count("completion_tokens");
    assert!((1..=24).contains(&tokens) && count("prompt_tokens") > 5);
    assert_eq!(count("total_tokens"), count("prompt_tokens") + tokens);
    assert_eq!(choice["finish_reason"], if tokens == 24 { "length" } else { "stop" });
    let (_, again) = server.post("/v1/chat/completions", &chat(json!({})));
    assert_eq!(again["choices"], reply["choices"]);
    assert_ne!(again["id"], reply["id"]);
    let (_, other) = server.post("/v1/chat/completions", &chat(json!({"seed": 8})));
    assert_ne!(other["choices"], reply["choices"]);
}

#[test]
fn a_streams_chunks_add_up_to_the_whole_reply() {
    let server = TestServer::new();
    let (_, whole) = server.post("/v1/chat/completions", &chat(json!({})));
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (chunks, done) = server.stream("/v1/chat/completions", &chat(options));
    assert!(done);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk"
                && chunk["id"] == chunks[0]["id"])
    );
    assert_eq!(
        content(&chunks),
        whole["choices"][0]["message"]["content"].as_str().expect("a text")
    );
    let [.., end, usage] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(end["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert_eq!(usage["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert_eq!(usage["choices"], json!([]));
    let reasons = chunks
        .iter()
        .filter(|chunk| chunk.pointer("/choices/0/finish_reason").is_some_and(|r| !r.is_null()));
    assert_eq!(reasons.count(), 1);
}

#[test]
fn completions_take_text_or_token_ids() {
    let server = TestServer::new();
    let body = |prompt: Value| json!({"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 12});
    let (status, reply) = server.post("/v1/completions", &body(json!("Once")));
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["object"], "text_completion");
    let text = reply["choices"][0]["text"].as_str().expect("a text");
    let (_, listed) = server.post("/v1/completions", &body(json!(["Once"])));
    assert_eq!(listed["choices"], reply["choices"]);
    let (status, tokens) = server.post("/v1/completions", &body(json!([380, 46, 77])));
    assert_eq!((status, &tokens["usage"]["prompt_tokens"]), (200, &json!(3)));
    let mut streamed = body(json!("Once"));
    streamed["stream"] = json!(true);
    let (chunks, done) = server.stream("/v1/completions", &streamed);
    let pieces: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!((pieces.as_str(), done), (text, true));
}

#[test]
fn a_stop_string_ends_the_reply_and_is_excluded() {
    let server = TestServer::new();
    let (_, whole) = server.post("/v1/chat/completions", &chat(json!({"max_tokens": 60})));
    let text = whole["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    // A stop string of three characters from the middle of the reply, which may span several
    // tokens.
    let letters: Vec<char> = text.chars().collect();
    let stop: String = letters[letters.len() / 2..].iter().take(3).collect();
    let before = &text[..text.find(&stop).expect("it is there")];
    for stops in [json!(stop), json!(["\u{1F980} never", stop])] {
        let (_, cut) =
            server.post("/v1/chat/completions", &chat(json!({"max_tokens": 60, "stop": stops})));
        assert_eq!(cut["choices"][0]["message"]["content"], before);
        assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn replies_follow_a_json_schema_or_are_json_objects() {
    let server = TestServer::new();
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 6}, "mood": {"enum": ["good", "bad"]}},
        "required": ["city", "mood"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "weather", "strict": true, "schema": schema}});
    for seed in 0..4 {
        let more = json!({"response_format": format, "seed": seed, "max_tokens": 100});
        let (status, reply) = server.post("/v1/chat/completions", &chat(more));
        assert_eq!(status, 200, "{reply}");
        let text = reply["choices"][0]["message"]["content"].as_str().expect("a text");
        let weather: Value = serde_json::from_str(text).expect("JSON");
        assert!(
            weather["city"].is_string() && (weather["mood"] == "good" || weather["mood"] == "bad"),
            "{weather}"
        );
        assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    }
    let more = json!({"response_format": {"type": "json_object"}, "max_tokens": 30});
    let (status, reply) = server.post("/v1/chat/completions", &chat(more));
    assert_eq!(status, 200, "{reply}");
    assert!(reply["choices"][0]["message"]["content"].as_str().expect("a text").starts_with('{'));
}

#[test]
fn embeddings_have_unit_length_in_both_encodings() {
    let server = TestServer::new();
    let (status, reply) =
        server.post("/v1/embeddings", &json!({"model": MODEL, "input": ["Hello", "world"]}));
    assert_eq!(status, 200, "{reply}");
    let floats = |at: usize| -> Vec<f64> {
        let list = reply["data"][at]["embedding"].as_array().expect("numbers");
        list.iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    for embedding in [floats(0), floats(1)] {
        assert_eq!(embedding.len(), 256);
        assert!((embedding.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    }
    assert_ne!(floats(0), floats(1));
    let body = json!({"model": MODEL, "input": "Hello", "encoding_format": "base64"});
    let (_, encoded) = server.post("/v1/embeddings", &body);
    // The embedding has 256 f32 values, which are 1024 bytes.
    assert_eq!(
        encoded["data"][0]["embedding"].as_str().map(str::len),
        Some(1024_usize.div_ceil(3) * 4)
    );
}

#[test]
fn models_health_and_metrics_are_served() {
    let server = TestServer::new();
    let (status, page) = server.get("/v1/models");
    let models: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((status, &models["data"][0]["id"]), (200, &json!(MODEL)));
    assert_eq!(server.get("/v1/models/tiny").0, 200);
    assert_eq!(server.get("/v1/models/other").0, 404);
    assert_eq!(server.get("/health"), (200, "{\"status\":\"ok\"}".to_owned()));
    server.post("/v1/chat/completions", &chat(json!({})));
    assert!(server.metric("vendomini_reply_tokens_total") >= 1.0);
    assert!(server.metric("vendomini_kv_blocks") >= 1.0);
    assert_eq!(
        server.metric("vendomini_requests_total{path=\"/v1/chat/completions\",status=\"200\"}"),
        1.0
    );
}
