//! Tests of an OpenAI-compatible server as the provider, on real sockets: its faults are never
//! recorded as data and never crash the program.

mod common;
#[path = "common/server.rs"]
mod server;

use common::{folder_options, quiet, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::{
    Config, ExperimentOutcome, ExperimentSummary, NoModels, RunEvent, replay_all, run_experiment,
};
use results::{StepRow, Store};
use serde_json::{Value, json};
use server::{Action, RecordedRequest, Server, completion, error, text_completion};
use std::path::Path;
use std::time::{Duration, Instant};

const STUDY: &str = "experiment:\n  name: served\nenv:\n  max_steps: 12\n  complexity_level: 0\nmodel:\n  name: served-model\n  \
                     max_tokens_per_call: 100\nprovider:\n  kind: openai\n  retries: 3\n  connect_timeout_s: 2\n";
const INBOX: &str = r#"{"tool":"check_inbox","arguments":{},"card":{"success":true}}"#;
const WAIT: &str = r#"{"tool":"wait","arguments":{},"card":{"success":true}}"#;

fn study(server: &Server, sets: &[&str]) -> Config {
    let address = format!("provider.base_url={}", server.address);
    let sets: Vec<String> =
        sets.iter().copied().chain([address.as_str()]).map(str::to_string).collect();
    Config::parse(STUDY, "study.yaml", &sets).unwrap_or_else(|error| panic!("{error}"))
}

fn run(config: &Config, folder: &Path) -> ExperimentSummary {
    let options = folder_options(folder, 2);
    run_experiment(config, &NoModels, &options, &quiet, &|| false)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn rows(folder: &Path) -> Vec<StepRow> {
    Store::open(folder)
        .unwrap()
        .runs()
        .unwrap()
        .iter()
        .flat_map(|folder| folder.rows().unwrap())
        .collect()
}

fn healthy_reply(_: &RecordedRequest, before: usize) -> Action {
    text_completion(if before.is_multiple_of(2) { INBOX } else { WAIT })
}

#[test]
fn a_study_runs_on_a_server_and_replays() {
    let (server, folder) = (Server::start(healthy_reply), tempfile::tempdir().unwrap());
    let summary = run(
        &study(&server, &["provider.api_key_env=CARGO_PKG_NAME", "experiment.seed=4"]),
        folder.path(),
    );
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0));
    assert_eq!(replay_all(&Store::open(folder.path()).unwrap()).unwrap()[0].steps, 12);
    let (requests, rows) = (server.requests_of_runs(), rows(folder.path()));
    assert_eq!((requests.len(), rows.len()), (12, 12));
    for (request, row) in requests.iter().zip(&rows) {
        assert_eq!(request.path, "/v1/chat/completions");
        assert_eq!(
            request.authorization.as_deref(),
            Some("Bearer experiment"),
            "the variable's value"
        );
        assert_eq!(
            (&request.body["model"], &request.body["max_tokens"]),
            (&json!("served-model"), &json!(100))
        );
        assert_eq!(request.body["seed"], json!(row.sampling_seed));
        assert_eq!(request.body["response_format"]["type"], "json_schema");
        assert!(
            request.body["response_format"]["json_schema"]["schema"]["$defs"]["card"].is_object()
        );
        assert_eq!((row.prompt_tokens, row.reply_tokens), (700, 20));
    }
    assert_eq!(
        requests[11].body["messages"].as_array().unwrap().len(),
        24,
        "the whole conversation"
    );
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    assert_eq!(
        (record.model_identity.as_str(), record.kernel_set.as_str()),
        ("openai-compatible served-model", "server json_schema tools")
    );
    assert_eq!(record.timing.cached_prompt_tokens, 12 * 512);
}

#[test]
fn faults_of_a_server_are_retried_and_never_become_data() {
    let (calm, undisturbed) = (Server::start(healthy_reply), tempfile::tempdir().unwrap());
    run(&study(&calm, &[]), undisturbed.path());
    // Every second request fails, each in a different way.
    let stormy = Server::start(|request, before| match (request.is_probe(), before) {
        (true, _) => text_completion(WAIT),
        (_, before) if before % 2 == 1 => healthy_reply(request, before / 2),
        (_, 0) => error(429, "retry-after: 0.2\r\n", "slow down"),
        (_, 2) => error(500, "", "engine died"),
        (_, 4) => error(503, "retry-after: 0\r\n", "loading"),
        (_, 6) => Action::Truncate,
        (_, 8) => Action::Close,
        (_, 10) => Action::SendGarbage,
        (_, 12) => Action::Respond(200, "", "<html>It works!</html>".into()),
        (_, 14) => Action::Respond(200, "", "{\"choices\": []}".into()),
        (_, 16) => Action::Respond(200, "", "{\"choices\": [{\"message\": {\"content\": ".into()),
        (_, 18) => completion(json!({"role": "assistant", "content": INBOX}), "abort"),
        (_, 20) => error(200, "", "quota"),
        _ => Action::Hang(Duration::from_secs(2)),
    });
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&study(&stormy, &["provider.attempt_timeout_s=0.5"]), folder.path());
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0), "{:?}", summary.failed);
    assert_eq!(stormy.requests_of_runs().len(), 24);
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
}

#[test]
fn a_hanging_server_fails_the_run_in_time_and_another_server_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = Server::start(|request, before| match request.is_probe() || before < 5 {
        true => healthy_reply(request, before),
        false => Action::Hang(Duration::from_secs(30)),
    });
    let sets = [
        "model.reply_deadline_s=1.5",
        "provider.attempt_timeout_s=0.4",
        "experiment.retries=0",
        "provider.retries=1",
    ];
    let begun = Instant::now();
    let summary = run(&study(&hanging, &sets), folder.path());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(
        (summary.done_now, summary.failed.len(), summary.outcome()),
        (0, 1, ExperimentOutcome::RunsFailed)
    );
    assert!(summary.failed[0].1.contains("timeout"), "{:?}", summary.failed);
    // A server at another address: the run resumes from its five recorded rows.
    let healthy = Server::start(|request, before| healthy_reply(request, before + 5));
    assert_eq!(run(&study(&healthy, &[]), folder.path()).done_now, 1);
    assert_eq!(healthy.requests_of_runs().len(), 7);
    assert!(rows(folder.path()).iter().all(|row| row.parse_failure.is_none()));
}

#[test]
fn a_retry_after_beyond_the_deadline_fails_the_run_at_once() {
    let server = Server::start(|request, before| match request.is_probe() {
        true => healthy_reply(request, before),
        false => error(429, "retry-after: 3600\r\n", "come back in an hour"),
    });
    let (folder, begun) = (tempfile::tempdir().unwrap(), Instant::now());
    let summary = run(&study(&server, &["experiment.retries=0"]), folder.path());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(summary.failed[0].1.contains("come back in an hour"), "{:?}", summary.failed);
}

#[test]
fn messages_of_a_refusing_server_are_quoted_without_the_key() {
    for (status, part) in [
        (401, "refuses the key"),
        (404, "no such model"),
        (302, "redirects"),
        (400, "plain request"),
    ] {
        let server = Server::start(move |_, _| {
            error(status, "location: http://127.0.0.1:1/\r\n", "says the server")
        });
        let config = study(&server, &["provider.api_key_env=CARGO_MANIFEST_DIR"]);
        let folder = tempfile::tempdir().unwrap();
        let options = folder_options(folder.path(), 1);
        let error = run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
        assert!(text.contains(part) && text.contains("says the server"), "{status}: {text}");
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "the key is in {text}");
        assert!(server.requests.lock().unwrap().len() <= 2, "a refusal is not retried");
    }
}

#[test]
fn requests_omit_features_that_a_server_lacks() {
    let has = |request: &RecordedRequest, key: &str| request.body.get(key).is_some();
    let plain = Server::start(move |request, before| match request.body["response_format"]["type"]
        .as_str()
    {
        _ if has(request, "max_tokens") => {
            error(400, "", "unsupported parameter: use max_completion_tokens")
        }
        Some("json_schema") => {
            error(400, "", "response_format.json_schema: anyOf at the top level is not permitted")
        }
        _ if has(request, "tools") => error(422, "", "tool choice requires a parser"),
        _ => healthy_reply(request, before),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&study(&plain, &[]), folder.path()).done_now, 1);
    assert!(
        plain
            .requests_of_runs()
            .iter()
            .all(|request| request.body["response_format"] == json!({"type": "json_object"}))
    );
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    assert_eq!(record.kernel_set, "server json_object");
    // All runs are committed, so that another server is not even probed.
    let more = Server::start(healthy_reply);
    assert_eq!(run(&study(&more, &[]), folder.path()).done_before, 1);
    assert!(more.requests.lock().unwrap().is_empty());
}

#[test]
fn in_text_mode_tool_calls_of_the_server_become_actions() {
    let server = Server::start(|request, before| {
        let call = |name: &str, arguments: &str| json!({"function": {"name": name, "arguments": arguments}});
        let calls = |calls: Vec<Value>| {
            completion(json!({"content": null, "tool_calls": calls}), "tool_calls")
        };
        match before % 4 {
            _ if request.is_probe() => text_completion("yes"),
            0 => calls(vec![call("check_inbox", r#"{"card": {"success": true}}"#)]),
            1 => calls(vec![call("wait", r#"{"card": "#)]),
            2 => {
                calls((0..10).map(|n| call("quote", &format!(r#"{{"quantity": {n}}}"#))).collect())
            }
            _ => completion(json!({"content": "", "refusal": null}), "content_filter"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let summary =
        run(&study(&server, &["agent.reply_mode=text", "env.max_steps=8"]), folder.path());
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0), "{:?}", summary.failed);
    assert!(
        server
            .requests_of_runs()
            .iter()
            .all(|request| request.body["tools"][0]["function"]["name"].is_string())
    );
    let kinds: Vec<Option<String>> = rows(folder.path())
        .into_iter()
        .map(|row| row.parse_failure.map(|failure| failure.kind))
        .collect();
    let expected = [None, Some("schema_mismatch"), Some("several_calls"), Some("no_call")];
    assert_eq!(kinds[..4], expected.map(|kind| kind.map(str::to_string)));
    assert_eq!(replay_all(&Store::open(folder.path()).unwrap()).unwrap().len(), 1);
}

#[test]
fn cancellation_ends_a_request_in_flight() {
    let server = Server::start(|request, before| match request.is_probe() {
        true => healthy_reply(request, before),
        false => Action::Hang(Duration::from_secs(30)),
    });
    let config = study(&server, &[]);
    let (folder, begun) = (tempfile::tempdir().unwrap(), Instant::now());
    let started = std::sync::OnceLock::new();
    let note = |event: &RunEvent| {
        if matches!(event, RunEvent::RunStarted { .. }) {
            let _ = started.set(Instant::now());
        }
    };
    let stop =
        || started.get().is_some_and(|at: &Instant| at.elapsed() > Duration::from_millis(200));
    let summary =
        run_experiment(&config, &NoModels, &folder_options(folder.path(), 1), &note, &stop)
            .unwrap();
    assert!(
        summary.interrupted && begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(summary.failed.len(), 0);
}

#[test]
fn provider_settings_are_checked() {
    let problem = |text: &str| {
        let config = Config::parse(text, "x", &[]);
        config.unwrap_err().to_string()
    };
    assert!(problem("provider: {kind: openai}").contains("expected the server's address"));
    assert!(problem("provider: {kind: openai, base_url: 'localhost:1'}").contains("http://"));
    assert!(
        problem("provider: {base_url: 'http://localhost:1/v1'}")
            .contains("provider.kind is engine")
    );
    for model in ["chat_template: a.jinja", "kv_dtype: int8"] {
        let served = "provider: {kind: openai, base_url: 'http://localhost:1/v1'}";
        let text = problem(&format!("{served}\nmodel: {{{model}}}"));
        assert!(text.contains("the server decides this"), "{text}");
    }
    assert!(problem("provider: {kind: openia}").contains("engine, openai"));
    assert!(problem("provider: {retrys: 3}").contains("did you mean provider.retries"));
    assert!(problem("provider: {retries: -1}").contains("from 0 to 1000"));
    assert!(problem("grid: {provider.kind: [engine, openai]}").contains("cannot be a factor"));
}

/// The part of a request that asks for thinking.
fn asked(request: &RecordedRequest) -> Value {
    let fields = ["chat_template_kwargs", "thinking_budget", "reasoning_effort"];
    let of = |name: &&str| request.body.get(*name).map(|value| (name.to_string(), value.clone()));
    Value::Object(fields.iter().filter_map(of).collect())
}

#[test]
fn thinking_is_asked_for_as_a_server_understands_it() {
    let refusing = |names: &'static [&'static str]| {
        Server::start(move |request, before| {
            match names.iter().find(|name| request.body.get(**name).is_some()) {
                Some(name) => error(400, "", &format!("unknown parameter {name}")),
                None => healthy_reply(request, before),
            }
        })
    };
    let variables = |on: bool| json!({"chat_template_kwargs": {"enable_thinking": on}});
    let mut limited = variables(true);
    limited["thinking_budget"] = json!(9);
    let kwargs = &["chat_template_kwargs"][..];
    let both = &["chat_template_kwargs", "reasoning_effort"][..];
    for (names, thinking, expected) in [
        (&[][..], "off", variables(false)),
        (&[], "on", variables(true)),
        (&[], "{budget: 9}", limited),
        (kwargs, "off", json!({"reasoning_effort": "none"})),
        (kwargs, "on", json!({"reasoning_effort": "medium"})),
        (both, "off", json!({})),
    ] {
        let (server, folder) = (refusing(names), tempfile::tempdir().unwrap());
        let set = format!("model.thinking={thinking}");
        assert_eq!(run(&study(&server, &[&set]), folder.path()).done_now, 1);
        let requests = server.requests_of_runs();
        assert!(requests.iter().all(|request| asked(request) == expected), "{names:?} {thinking}");
    }
    for (names, thinking, part) in [
        (both, "on", "takes neither chat_template_kwargs nor reasoning_effort"),
        (kwargs, "{budget: 9}", "reasoning_effort, which has no budget"),
    ] {
        let (server, folder) = (refusing(names), tempfile::tempdir().unwrap());
        let sets = [format!("model.thinking={thinking}"), "experiment.retries=0".to_string()];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let summary = run(&study(&server, &sets), folder.path());
        let [failed] = &summary.failed[..] else { panic!("{:?}", summary.failed) };
        let text = format!("{failed:?}");
        assert!(text.contains(part) && text.contains("served-model"), "{text}");
    }
}

#[test]
fn the_thinking_of_a_server_is_kept_in_its_own_field() {
    for name in ["reasoning_content", "reasoning"] {
        let server = Server::start(move |request, before| {
            let text = if before.is_multiple_of(2) { INBOX } else { WAIT };
            match request.is_probe() {
                true => text_completion(text),
                false => completion(json!({"content": text, name: "I look."}), "stop"),
            }
        });
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&study(&server, &["model.thinking=on"]), folder.path()).done_now, 1);
        assert_eq!(replay_all(&Store::open(folder.path()).unwrap()).unwrap()[0].steps, 12);
        for row in rows(folder.path()) {
            assert_eq!((row.reasoning.as_deref(), row.action.is_some()), (Some("I look."), true));
        }
        let sent = server.requests_of_runs().pop().unwrap().body.to_string();
        assert!(!sent.contains("I look."), "the thinking is not sent back");
    }
}
