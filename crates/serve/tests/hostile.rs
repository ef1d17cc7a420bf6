//! Tests that no request ends the server: thousands of malformed, deep and large requests, made by
//! seeded mutations of the bodies in `requests/`, which are also the fuzz target's corpus.

mod common;

use base::SplitMix64;
use common::{TestServer, chat};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// A seeded generator, so that a failing request can be repeated.
struct Choices(SplitMix64);

impl Choices {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// The bodies of `requests/` with the paths that they are for, in the order of their names.
fn corpus() -> Vec<(&'static str, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let body = |file: &std::path::PathBuf| {
        let text = std::fs::read_to_string(file).expect("a text");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let path = match () {
            () if body.get("prompt").is_some() => "/v1/completions",
            () if body.get("input").is_some() => "/v1/embeddings",
            () => "/v1/chat/completions",
        };
        (path, body)
    };
    files.iter().map(body).collect()
}

/// A chain of `links` references through objects.
fn chain(links: usize) -> Value {
    let reference = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
    let mut definitions: Map<String, Value> = (0..links)
        .map(|i| {
            (format!("d{i}"), json!({"type": "object", "properties": {"a": reference(i + 1)}}))
        })
        .collect();
    definitions.insert(format!("d{links}"), json!({"type": "integer"}));
    json!({"$ref": reference(0)["$ref"], "$defs": definitions})
}

fn nested(depth: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

fn hostile_schema(choices: &mut Choices) -> Value {
    let n = *choices.of(&[1, 2, 10, 120, 250, 999, 1_000, 1_001, 3_000, 30_000]);
    let small = n.min(120);
    match choices.below(14) {
        0 => chain(n),
        1 => json!({"$ref": "#"}),
        2 => json!({"anyOf": [{"$ref": "#"}, {"type": "array", "items": {"$ref": "#"}}]}),
        3 => {
            json!({"allOf": vec![json!({"anyOf": [{"type": "string"}, {"minLength": 2}]}); small]})
        }
        4 => {
            json!({"properties": (0..n).map(|i| (format!("p{i}"), json!(true))).collect::<Map<_, _>>()})
        }
        5 => {
            json!({"type": "array", "items": {"type": "integer"}, "minItems": n * n, "maxItems": n * n + 1})
        }
        6 => json!({"type": "string", "minLength": n * 1_000}),
        7 => {
            json!({"type": "string", "pattern": format!("(({}){{{n}}}){{{n}}}", "a|b".repeat(small))})
        }
        8 => json!({"type": "string", "pattern": "(".repeat(n) + &")".repeat(n)}),
        9 => json!({"enum": (0..n).map(|i| format!("{i}")).collect::<Vec<_>>()}),
        10 => {
            json!({"oneOf": vec![json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]}); small]})
        }
        11 => {
            json!({"type": "object", "patternProperties": {"^a.*b+$": {}, "(x+x+)+y": {}}, "minProperties": n})
        }
        12 => json!({"$ref": "http://example.invalid/schema.json"}),
        _ => serde_json::from_str(&nested(small, "{\"items\":", "}")).expect("JSON"),
    }
}

fn hostile_value(choices: &mut Choices) -> Value {
    match choices.below(12) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(1e308),
        3 => json!(u64::MAX),
        4 => json!(""),
        5 => json!("\u{0}<|im_end|>\u{fffd}\u{202e}"),
        6 => json!("a".repeat(100_000)),
        7 => json!([]),
        8 => serde_json::from_str(&nested(100, "[", "]")).expect("JSON"),
        9 => json!({"a": {"b": []}}),
        10 => json!(vec![json!({"type": "text", "text": "x"}); 1_000]),
        _ => json!(true),
    }
}

/// Replaces a random value within `value`.
fn replace_somewhere(value: &mut Value, with: Value, choices: &mut Choices) {
    let children = match &value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if children == 0 || choices.below(4) == 0 {
        *value = with;
        return;
    }
    let index = choices.below(children);
    let child = match value {
        Value::Object(members) => members.values_mut().nth(index),
        Value::Array(items) => items.get_mut(index),
        _ => None,
    };
    if let Some(child) = child {
        replace_somewhere(child, with, choices);
    }
}

fn hostile_body(mut body: Value, choices: &mut Choices) -> Vec<u8> {
    match choices.below(6) {
        0 | 1 => {
            let value = hostile_value(choices);
            replace_somewhere(&mut body, value, choices);
        }
        2 => {
            let schema = hostile_schema(choices);
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        }
        3 => {
            let function = json!({"name": "f", "parameters": hostile_schema(choices)});
            body["tools"] = json!([{"type": "function", "function": function}]);
            body["tool_choice"] = json!(*choices.of(&["required", "auto"]));
        }
        4 => {
            let depth = *choices.of(&[100, 126, 127, 128, 129, 1_000, 200_000]);
            let (open, close) = *choices.of(&[("[", "]"), ("{\"a\":", "}")]);
            let text = body.to_string();
            let deep = nested(depth, open, close);
            return format!("{},\"deep\":{deep}}}", text.trim_end_matches('}')).into_bytes();
        }
        _ => {
            let mut bytes = body.to_string().into_bytes();
            for _ in 0..choices.below(4) {
                let at = choices.below(bytes.len());
                bytes[at] = choices.below(256) as u8;
            }
            bytes.truncate(bytes.len() - choices.below(bytes.len()) * choices.below(2));
            return bytes;
        }
    }
    body.to_string().into_bytes()
}

/// Resident memory of this process in MiB, from `/proc/self/status`.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") >> 10
}

/// Sends hostile requests; each must be answered, and a sound one is answered in between and at the
/// end. Returns the resident memory in MiB after each tenth.
fn soak(server: &TestServer, requests: usize) -> Vec<u64> {
    let corpus = corpus();
    let mut choices = Choices(SplitMix64(19));
    let mut memory = Vec::new();
    for i in 0..requests {
        let (path, body) = choices.of(&corpus).clone();
        let body = hostile_body(body, &mut choices);
        let status = server.post_bytes(path, &body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(300)]);
        assert!(matches!(status, 200 | 400 | 413 | 429), "request {i}: {status} for {shown}");
        if (i + 1) % (requests / 10) == 0 {
            let (status, reply) = server.post("/v1/chat/completions", &chat(json!({})));
            assert_eq!(status, 200, "after request {i}: {reply}");
            memory.push(resident_mib());
        }
    }
    memory
}

#[test]
fn hostile_requests_are_answered() {
    soak(&TestServer::new(), 300);
}

/// Memory after the first third, by when the caches are full, does not grow any more. Compilations
/// that took longer than their limit hold memory until they end, so it is given time to fall.
#[test]
#[ignore = "takes minutes: run by .ci/full"]
fn memory_stays_flat_over_ten_thousand_hostile_requests() {
    let server = TestServer::new();
    let mut memory = soak(&server, 10_000);
    let early = memory[3];
    let flat = |mib: u64| mib <= early + early / 4 + 32;
    let deadline = Instant::now() + Duration::from_secs(180);
    while memory.last().is_some_and(|mib| !flat(*mib)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        memory.push(resident_mib());
    }
    assert!(memory.last().is_some_and(|mib| flat(*mib)), "resident MiB: {memory:?}");
}

#[test]
fn slow_schemas_do_not_keep_others_waiting() {
    let server = TestServer::new();
    // References hide how large the merged object is; it takes longer than a compilation may.
    let definitions: Map<String, Value> = (0..20)
        .map(|part| {
            let names: Vec<String> = (0..2_000).map(|i| format!("p{part}_{i}")).collect();
            (format!("d{part}"), json!({"required": names}))
        })
        .collect();
    let parts: Vec<Value> =
        definitions.keys().map(|name| json!({"$ref": format!("#/$defs/{name}")})).collect();
    let slow = |i: usize| {
        let schema = json!({"type": "object", "allOf": parts, "title": format!("{i}"), "$defs": definitions});
        chat(
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}),
        )
    };
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (server, body) = (&server, slow(i));
            scope.spawn(move || {
                let (status, reply) = server.post("/v1/chat/completions", &body);
                assert!(matches!(status, 200 | 400 | 429), "{status} {reply}");
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let since = std::time::Instant::now();
        let (status, reply) = server.post("/v1/chat/completions", &chat(json!({"max_tokens": 3})));
        assert_eq!(status, 200, "{reply}");
        assert!(since.elapsed().as_secs() < 8, "a plain chat took {:?}", since.elapsed());
    });
}

#[test]
fn limits_are_named_in_the_refusal() {
    let server = TestServer::new();
    let format = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, "max_tokens": 3});
    for links in [250, 1_000] {
        let (status, reply) = server.post("/v1/chat/completions", &chat(format(chain(links))));
        assert_eq!(status, 200, "{links}: {reply}");
    }
    for links in [1_001, 50_000] {
        let (status, reply) = server.post("/v1/chat/completions", &chat(format(chain(links))));
        assert_eq!(status, 400, "{links}: {reply}");
        let message = reply["error"]["message"].as_str().expect("a text");
        assert!(message.contains("1000 deep"), "{message}");
    }
}
