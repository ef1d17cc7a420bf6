//! The program as a stranger would run it: exit codes, words, and numbers against transformers.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("vendomini-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// A copy of a golden checkpoint, to be broken.
    fn of_golden(name: &str) -> Folder {
        let folder = Folder::new(name);
        for entry in std::fs::read_dir(golden("llama-gqa")).expect("golden data") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.0.join(entry.file_name())).expect("a copy");
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn vendomini(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program; it must end with this code and say these words.
fn ends(arguments: &[&str], code: i32, words: &[&str]) {
    let output = vendomini(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} should say {word:?}: {said}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?}: stdout stays clean on an error");
}

#[test]
fn what_is_not_there_is_66_and_says_where_it_looked() {
    ends(&["plan", "/no/such/model"], 66, &["/no/such/model", "fetch"]);
    let folder = Folder::new("empty");
    ends(&["load", folder.0.to_str().expect("UTF-8")], 66, &["config.json"]);
    ends(&["run", "--config", "/no/such.yaml"], 66, &["/no/such.yaml"]);
    ends(&["fetch", "nobody/nothing", "--source", "pip"], 66, &["nobody/nothing"]);
}

#[test]
fn a_wrong_command_line_is_2_and_says_what_was_meant() {
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    ends(&["score", model, "--tokens", "1,x"], 2, &["1,2,3", "x"]);
    ends(&["plan", model, "--dtype", "int9"], 2, &["int8", "int9"]);
    ends(&["plan", model, "--max-memory", "0=lots"], 2, &["GiB", "0=lots"]);
    ends(&["plan", model, "--context", "0"], 2, &["--context"]);
    ends(&["nonsense"], 2, &["nonsense"]);
}

#[test]
fn bad_checkpoints_are_65_and_name_the_file() {
    let truncated = Folder::of_golden("truncated");
    let file = truncated.0.join("model.safetensors");
    let bytes = std::fs::read(&file).expect("weights");
    std::fs::write(&file, &bytes[..bytes.len() - 10]).expect("a shorter file");
    ends(&["load", truncated.0.to_str().expect("UTF-8")], 65, &["model.safetensors", "truncated"]);
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        .expect("a pointer");
    ends(&["load", truncated.0.to_str().expect("UTF-8")], 65, &["LFS"]);
    let config = truncated.0.join("config.json");
    let text = std::fs::read_to_string(&config)
        .expect("a configuration")
        .replace("LlamaForCausalLM", "WhaleForCausalLM");
    std::fs::write(&config, text).expect("another class");
    ends(
        &["load", truncated.0.to_str().expect("UTF-8")],
        65,
        &["WhaleForCausalLM", "LlamaForCausalLM"],
    );
}

#[test]
fn a_configuration_with_an_unknown_key_is_2_and_names_it() {
    let folder = Folder::new("config");
    let file = folder.0.join("x.yaml");
    std::fs::write(&file, "experiment:\n  name: x\n  replicatoins: 2\n").expect("a file");
    ends(&["run", "--config", file.to_str().expect("UTF-8")], 2, &["replicatoins", "replications"]);
}

#[test]
fn scores_agree_with_transformers() {
    let model = golden("llama-gqa");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(model.join("expected.json")).expect("expectations"))
            .expect("JSON");
    let tokens: Vec<String> =
        expected["tokens"].as_array().expect("tokens").iter().map(Value::to_string).collect();
    let model = model.to_str().expect("UTF-8");
    let output =
        vendomini(&["score", model, "--tokens", &tokens.join(","), "--dtype", "f32", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for words in
        ["Loading checkpoint shards 1/1", "load returned", "LlamaForCausalLM", "smoke test:"]
    {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let score: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(score["schema_version"], 1);
    let (ours, theirs) = (
        score["logprobs"].as_array().expect("a list"),
        expected["logprobs"].as_array().expect("a list"),
    );
    assert_eq!(ours.len(), theirs.len());
    assert!(ours[0].is_null());
    for (a, b) in ours.iter().zip(theirs).skip(1) {
        let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
        assert!((a - b).abs() < 1e-3, "{a} against {b}");
    }
}

#[test]
fn a_plan_names_every_module_and_a_load_returns_it() {
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    for command in ["plan", "load"] {
        let output = vendomini(&[command, model, "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let map = document["device_map"].as_object().expect("a map");
        assert_eq!(map["model.embed_tokens"], "cpu");
        assert!(
            map.contains_key("model.layers.0")
                && map.contains_key("model.norm")
                && map.contains_key("lm_head")
        );
    }
}

#[test]
fn what_does_not_fit_is_71_and_says_by_how_much() {
    let folder = Folder::new("small");
    let file = folder.0.join("machine.yaml");
    std::fs::write(&file, "host: { memory: 100MiB }\n").expect("a file");
    let (model, machine) = (golden("llama-gqa"), file.to_str().expect("UTF-8").to_owned());
    ends(&["plan", model.to_str().expect("UTF-8"), "--machine", &machine], 71, &["short", "cpu"]);
}

#[test]
fn a_plan_is_told_to_people_and_maps_are_checked() {
    let folder = Folder::new("maps");
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    let file = folder.0.join("map.json");
    let file = file.to_str().expect("UTF-8").to_owned();
    std::fs::write(&file, r#"{"": "cpu", "model.layer.0": "disk"}"#).expect("a file");
    ends(
        &["plan", model, "--device-map", &file],
        2,
        &["model.layer.0", "did you mean model.layers.0?"],
    );
    ends(&["plan", model, "--device-map", "balance"], 2, &["did you mean balanced?"]);
    ends(&["plan", model, "--device-map", "/no/such.json"], 2, &["/no/such.json"]);
    std::fs::write(&file, r#"{"": "cpu", "model.layers.0": "disk"}"#).expect("a file");
    let output = vendomini(&["plan", model, "--device-map", &file, "--max-memory", "cpu=1GB"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for words in [
        "max_memory: cpu=1GB is 1000000000 bytes (1.00 GB, 0.93 GiB)",
        "weights may take",
        "device map (explicit):",
        "disk: model.layers.0 (1 module",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("device map (explicit):"),
        "a pipe gets the plan too"
    );
}

#[test]
fn an_experiment_runs_resumes_and_replays() {
    let folder = Folder::new("run");
    let out = folder.0.to_str().expect("UTF-8");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/local_test.yaml");
    let config = config.to_str().expect("UTF-8");
    let run = ["run", "--config", config, "--set", "agent.policy=careful", "--out", out];
    let said = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let limited: Vec<&str> = run.into_iter().chain(["--max-runs", "1"]).collect();
    assert!(said(vendomini(&limited)).contains("1 of 4 runs are done"));
    assert!(said(vendomini(&run)).contains("all 4 runs are done (3 now, 1 before)"));
    assert!(said(vendomini(&run)).contains("all 4 runs are done (0 now, 4 before)"));
    let root = folder.0.join("local_test");
    let replayed = vendomini(&["replay", root.to_str().expect("UTF-8")]);
    assert_eq!(String::from_utf8_lossy(&replayed.stdout).lines().count(), 4);
}

#[test]
fn an_audit_that_finds_a_dead_factor_is_2_and_names_it() {
    let folder = Folder::new("audit");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("dead.yaml");
    let text = "agent: {policy: careful}\nenv: {max_steps: 30}\ngrid:\n  model.temperature: [0.1, 0.9]\n  env.complexity_level: [0, 1]\n";
    std::fs::write(&file, text).expect("a file");
    let audit = vendomini(&["audit", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(audit.status.code(), Some(2), "{}", String::from_utf8_lossy(&audit.stderr));
    let said = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(said.contains("dead: model.temperature") && !said.contains("dead: env"), "{said}");
    std::fs::write(
        &file,
        text.replace("model.temperature: [0.1, 0.9]", "env.pressure_level: [low, high]"),
    )
    .expect("a file");
    assert_eq!(
        vendomini(&["audit", "--config", file.to_str().expect("UTF-8")]).status.code(),
        Some(0)
    );
}

#[test]
fn a_pipe_in_place_of_a_shard_never_hangs() {
    let folder = Folder::of_golden("fifo");
    let file = folder.0.join("model.safetensors");
    std::fs::remove_file(&file).expect("the shard goes");
    let made = Command::new("mkfifo").arg(&file).status().expect("mkfifo");
    assert!(made.success());
    let since = Instant::now();
    ends(&["load", folder.0.to_str().expect("UTF-8")], 65, &["model.safetensors"]);
    assert!(since.elapsed() < Duration::from_secs(10));
}
