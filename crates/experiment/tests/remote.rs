//! An OpenAI-compatible server as the provider, over real sockets: what it does wrong is never data
//! and never a crash.

mod common;
#[path = "common/server.rs"]
mod server;

use common::{folder_options, quiet, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::{Config, ExperimentSummary, NoModels, RunEvent, replay_all, run_experiment};
use results::{StepRow, Store};
use serde_json::{Value, json};
use server::{Asked, Does, Server, answers, fails, says};
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
    let options = folder_options(config, folder, 2);
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

fn talks(_: &Asked, before: usize) -> Does {
    says(if before.is_multiple_of(2) { INBOX } else { WAIT })
}

#[test]
fn a_study_runs_on_a_server_and_replays() {
    let (server, folder) = (Server::start(talks), tempfile::tempdir().unwrap());
    let summary = run(
        &study(&server, &["provider.api_key_env=CARGO_PKG_NAME", "experiment.seed=4"]),
        folder.path(),
    );
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0));
    assert_eq!(replay_all(&Store::open(folder.path()).unwrap()).unwrap()[0].steps, 12);
    let (asked, rows) = (server.asked_by_runs(), rows(folder.path()));
    assert_eq!((asked.len(), rows.len()), (12, 12));
    for (asked, row) in asked.iter().zip(&rows) {
        assert_eq!(asked.path, "/v1/chat/completions");
        assert_eq!(
            asked.authorization.as_deref(),
            Some("Bearer experiment"),
            "the variable's value"
        );
        assert_eq!(
            (&asked.body["model"], &asked.body["max_tokens"]),
            (&json!("served-model"), &json!(100))
        );
        assert_eq!(asked.body["seed"], json!(row.sampling_seed));
        assert_eq!(asked.body["response_format"]["type"], "json_schema");
        assert!(
            asked.body["response_format"]["json_schema"]["schema"]["$defs"]["card"].is_object()
        );
        assert_eq!((row.prompt_tokens, row.reply_tokens), (700, 20));
    }
    assert_eq!(asked[11].body["messages"].as_array().unwrap().len(), 24, "the whole conversation");
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    assert_eq!(
        (record.model_identity.as_str(), record.kernel_set.as_str()),
        ("openai-compatible served-model", "server json_schema tools")
    );
    assert_eq!(record.timing.cached_prompt_tokens, 12 * 512);
}

#[test]
fn what_a_server_does_wrong_is_tried_again_and_never_data() {
    let (calm, undisturbed) = (Server::start(talks), tempfile::tempdir().unwrap());
    run(&study(&calm, &[]), undisturbed.path());
    // Every second request goes wrong, each time otherwise.
    let stormy = Server::start(|asked, before| match (asked.is_probe(), before) {
        (true, _) => says(WAIT),
        (_, before) if before % 2 == 1 => talks(asked, before / 2),
        (_, 0) => fails(429, "retry-after: 0.2\r\n", "slow down"),
        (_, 2) => fails(500, "", "engine died"),
        (_, 4) => fails(503, "retry-after: 0\r\n", "loading"),
        (_, 6) => Does::CutsOff,
        (_, 8) => Does::Closes,
        (_, 10) => Does::Babbles,
        (_, 12) => Does::Answers(200, "", "<html>It works!</html>".into()),
        (_, 14) => Does::Answers(200, "", "{\"choices\": []}".into()),
        (_, 16) => Does::Answers(200, "", "{\"choices\": [{\"message\": {\"content\": ".into()),
        (_, 18) => answers(json!({"role": "assistant", "content": INBOX}), "abort"),
        (_, 20) => fails(200, "", "quota"),
        _ => Does::Hangs(Duration::from_secs(2)),
    });
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&study(&stormy, &["provider.attempt_timeout_s=0.5"]), folder.path());
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0), "{:?}", summary.failed);
    assert_eq!(stormy.asked_by_runs().len(), 24);
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
}

#[test]
fn a_server_that_hangs_makes_the_run_failed_in_time_and_done_later() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = Server::start(|asked, before| match asked.is_probe() || before < 5 {
        true => talks(asked, before),
        false => Does::Hangs(Duration::from_secs(30)),
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
    assert_eq!((summary.done_now, summary.failed.len(), summary.exit_code()), (0, 1, 1));
    assert!(summary.failed[0].1.contains("timeout"), "{:?}", summary.failed);
    // Another port: the run goes on from its five rows all the same.
    let healthy = Server::start(|asked, before| talks(asked, before + 5));
    assert_eq!(run(&study(&healthy, &[]), folder.path()).done_now, 1);
    assert_eq!(healthy.asked_by_runs().len(), 7);
    assert!(rows(folder.path()).iter().all(|row| row.parse_failure.is_none()));
}

#[test]
fn a_long_retry_after_ends_the_wait_at_once() {
    let server = Server::start(|asked, before| match asked.is_probe() {
        true => talks(asked, before),
        false => fails(429, "retry-after: 3600\r\n", "come back in an hour"),
    });
    let (folder, begun) = (tempfile::tempdir().unwrap(), Instant::now());
    let summary = run(&study(&server, &["experiment.retries=0"]), folder.path());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(summary.failed[0].1.contains("come back in an hour"), "{:?}", summary.failed);
}

#[test]
fn refusals_are_passed_on_without_the_key() {
    for (status, words) in [
        (401, "refuses the key"),
        (404, "no such model"),
        (302, "elsewhere"),
        (400, "plain request"),
    ] {
        let server = Server::start(move |_, _| {
            fails(status, "location: http://127.0.0.1:1/\r\n", "says the server")
        });
        let config = study(&server, &["provider.api_key_env=CARGO_MANIFEST_DIR"]);
        let folder = tempfile::tempdir().unwrap();
        let options = folder_options(&config, folder.path(), 1);
        let error = run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{text}");
        assert!(text.contains(words) && text.contains("says the server"), "{status}: {text}");
        assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "the key is in {text}");
        assert!(server.asked.lock().unwrap().len() <= 2, "asked again in vain");
    }
}

#[test]
fn what_a_server_does_not_offer_is_left_out() {
    let has = |asked: &Asked, key: &str| asked.body.get(key).is_some();
    let plain =
        Server::start(move |asked, before| match asked.body["response_format"]["type"].as_str() {
            _ if has(asked, "max_tokens") => {
                fails(400, "", "unsupported parameter: use max_completion_tokens")
            }
            Some("json_schema") => fails(
                400,
                "",
                "response_format.json_schema: anyOf at the top level is not permitted",
            ),
            _ if has(asked, "tools") => fails(422, "", "tool choice requires a parser"),
            _ => talks(asked, before),
        });
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&study(&plain, &[]), folder.path()).done_now, 1);
    assert!(
        plain
            .asked_by_runs()
            .iter()
            .all(|asked| asked.body["response_format"] == json!({"type": "json_object"}))
    );
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    assert_eq!(record.kernel_set, "server json_object");
    // All is done: a server that offers more is not even asked.
    let more = Server::start(talks);
    assert_eq!(run(&study(&more, &[]), folder.path()).done_before, 1);
    assert!(more.asked.lock().unwrap().is_empty());
}

#[test]
fn free_text_takes_the_servers_own_tool_calls() {
    let server = Server::start(|asked, before| {
        let call = |name: &str, arguments: &str| json!({"function": {"name": name, "arguments": arguments}});
        let calls = |calls: Vec<Value>| {
            answers(json!({"content": null, "tool_calls": calls}), "tool_calls")
        };
        match before % 4 {
            _ if asked.is_probe() => says("yes"),
            0 => calls(vec![call("check_inbox", r#"{"card": {"success": true}}"#)]),
            1 => calls(vec![call("wait", r#"{"card": "#)]),
            2 => {
                calls((0..10).map(|n| call("quote", &format!(r#"{{"quantity": {n}}}"#))).collect())
            }
            _ => answers(json!({"content": "", "refusal": null}), "content_filter"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let summary =
        run(&study(&server, &["agent.reply_mode=text", "env.max_steps=8"]), folder.path());
    assert_eq!((summary.done_now, summary.failed.len()), (1, 0), "{:?}", summary.failed);
    assert!(
        server
            .asked_by_runs()
            .iter()
            .all(|asked| asked.body["tools"][0]["function"]["name"].is_string())
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
fn a_request_in_flight_is_given_up_when_somebody_asks_to_stop() {
    let server = Server::start(|asked, before| match asked.is_probe() {
        true => talks(asked, before),
        false => Does::Hangs(Duration::from_secs(30)),
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
    let summary = run_experiment(
        &config,
        &NoModels,
        &folder_options(&config, folder.path(), 1),
        &note,
        &stop,
    )
    .unwrap();
    assert!(
        summary.interrupted && begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(summary.failed.len(), 0);
}

#[test]
fn a_provider_is_configured_strictly() {
    let problem = |text: &str| {
        let config = Config::parse(text, "x", &[]);
        config.and_then(|config| Ok(config.check()?)).unwrap_err().to_string()
    };
    assert!(problem("provider: {kind: openai}").contains("expected the server's address"));
    assert!(problem("provider: {kind: openai, base_url: 'localhost:1'}").contains("http://"));
    assert!(
        problem("provider: {base_url: 'http://localhost:1/v1'}")
            .contains("provider.kind is engine")
    );
    assert!(problem("provider: {kind: openia}").contains("engine, openai"));
    assert!(problem("provider: {retrys: 3}").contains("did you mean provider.retries"));
    assert!(problem("provider: {retries: -1}").contains("from 0 to 1000"));
    assert!(problem("grid: {provider.kind: [engine, openai]}").contains("cannot be a factor"));
}
