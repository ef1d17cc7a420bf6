//! Tests that `doctor --for` and `submit` report what an experiment lacks before anything runs.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama-gqa")
}

/// A temporary folder with a configuration. The program runs in it and finds no model caches and no
/// executables elsewhere.
struct Node(tempfile::TempDir);

impl Node {
    fn new(config: &str) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("experiment.yaml"), config).expect("a configuration");
        Node(folder)
    }

    fn vendomini(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", self.0.path())
            .env("HOME", self.0.path())
            .output()
            .expect("the program starts")
    }

    fn copy_of_golden(&self, at: &str, without: &[&str]) {
        let to = self.0.path().join(at);
        std::fs::create_dir_all(&to).expect("a folder");
        for entry in std::fs::read_dir(golden()).expect("golden data") {
            let entry = entry.expect("an entry");
            if !without.iter().any(|name| entry.file_name().to_string_lossy().contains(name)) {
                std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_missing_model_is_named_with_its_remedy() {
    let node = Node::new("grid: {model.name: [org/one, org/two]}\n");
    let site = "hf_home: /shared/hf\n";
    std::fs::write(node.0.path().join("site.yaml"), site).expect("a site");
    let arguments = ["doctor", "--for", "experiment.yaml", "--site", "site.yaml"];
    let output = node.vendomini(&arguments);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    for expected in
        ["HF_HOME=/shared/hf vendomini fetch org/one", "vendomini fetch org/two", "/shared/hf/hub"]
    {
        assert!(text(&output).contains(expected), "{expected}: {}", text(&output));
    }
    let output = node.vendomini(&[
        "submit",
        "--config",
        "experiment.yaml",
        "--site",
        "site.yaml",
        "--dry-run",
    ]);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    assert!(
        text(&output).contains("org/one") && text(&output).contains("org/two"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_sites_cache_is_searched_and_an_incomplete_model_is_refused() {
    let node = Node::new("model: {name: org/one, context_length: 128, max_tokens_per_call: 8}\n");
    let home = node.0.path().join("hf");
    std::fs::write(node.0.path().join("site.yaml"), format!("hf_home: {}\n", home.display()))
        .expect("a site");
    let doctor = |site: &[&str]| {
        node.vendomini(&[&["doctor", "--json", "--for", "experiment.yaml"], site].concat())
    };
    let site: &[&str] = &["--site", "site.yaml"];
    node.copy_of_golden("hf/org--one", &["tokenizer"]);
    let output = doctor(site);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    assert!(text(&output).contains("expected a tokenizer"), "{}", text(&output));
    assert_eq!(doctor(&[]).status.code(), Some(66), "without the site's file its cache is unknown");
    assert!(text(&doctor(&[])).contains("vendomini fetch org/one"));
    let weights = home.join("org--one/model.safetensors");
    let bytes = std::fs::read(&weights).expect("weights");
    std::fs::write(&weights, &bytes[..bytes.len() - 10]).expect("a shorter file");
    let output = doctor(site);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output));
    assert!(text(&output).contains("model.safetensors"), "{}", text(&output));
}

#[test]
fn a_servers_key_must_be_set() {
    let node = Node::new(
        "model: {name: served}\nprovider: {kind: openai, base_url: \"http://localhost:1/v1\", api_key_env: NO_SUCH_KEY}\n",
    );
    let output = node.vendomini(&["doctor", "--for", "experiment.yaml"]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("export NO_SUCH_KEY"), "{}", text(&output));
}

#[test]
fn scripted_operators_need_no_model() {
    let node = Node::new("agent: {policy: careful}\n");
    let output = node.vendomini(&["doctor", "--json", "--for", "experiment.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["needs"], serde_json::json!([]));
}

#[test]
fn each_model_is_planned_for_each_machine_even_if_it_is_absent() {
    let node = Node::new(
        "grid: {model.name: [Qwen/Qwen3-32B, openai/gpt-oss-20b, org/unknown]}\nmodel: {context_length: 4096}\n",
    );
    let machines = node.0.path().join("machines");
    std::fs::create_dir(&machines).expect("a folder");
    let gpu = |gib: u64| {
        format!("gpus: [{{name: GPU, memory: {gib}GiB}}]\nhost: {{memory: 48GiB, cores: 8}}\n")
    };
    std::fs::write(machines.join("large.yaml"), gpu(80)).expect("a machine");
    std::fs::write(machines.join("small.yaml"), gpu(24)).expect("a machine");
    let arguments = ["doctor", "--for", "experiment.yaml", "--machine", "machines"];
    let output = node.vendomini(&arguments);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    for expected in [
        "vendomini fetch Qwen/Qwen3-32B",
        "  absent      planned below from its published shape",
        "  machines/large.yaml: fits on 1 GPU, with ",
        "  machines/small.yaml: runs on 1 GPU and the CPU, ",
        "  this machine: ",
    ] {
        assert!(text(&output).contains(expected), "{expected}: {}", text(&output));
    }
    let output = node.vendomini(&[&arguments[..], &["--json"]].concat());
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let fits = |model: usize| -> Vec<&str> {
        let machines = document["needs"][model]["machines"].as_array();
        machines.into_iter().flatten().filter_map(|machine| machine["fit"].as_str()).collect()
    };
    assert_eq!(fits(0)[1..], ["gpus", "spills"]);
    assert_eq!(fits(1).len(), 3, "{document}");
    assert!(fits(2).is_empty(), "an unknown shape cannot be planned");
    assert_eq!(document["needs"][0]["available"], false);

    std::fs::write(machines.join("tiny.yaml"), "host: {memory: 2GiB, cores: 2}\n").expect("one");
    let output = node.vendomini(&arguments);
    assert!(text(&output).contains("machines/tiny.yaml: does not fit: "), "{}", text(&output));
    let empty = node.0.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    let output = node.vendomini(&["doctor", "--for", "experiment.yaml", "--machine", "empty"]);
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    assert!(text(&output).contains("expected machine files (*.yaml)"), "{}", text(&output));
}
