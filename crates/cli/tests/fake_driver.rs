//! Tests with the fake CUDA driver: which GPUs the program finds, plans for and reports.

#[path = "../../../tests/fake_driver/library.rs"]
mod library;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs the program with the fake CUDA driver, which the variables configure.
fn vendomini(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vendomini"));
    command.env("LD_LIBRARY_PATH", library::folder()).env_remove("CUDA_VISIBLE_DEVICES");
    command.envs(variables.iter().copied()).args(arguments).output().expect("the program starts")
}

fn output_text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama-gqa");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn doctor_lists_gpus_and_says_why_others_are_not_used() {
    let variables = [("FAKE_GPUS", "2GiB,1GiB@7.0,3GiB")];
    let output = vendomini(&variables, &["doctor"]);
    let words = output_text(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let lines: Vec<&str> = words.lines().filter(|line| line.starts_with("GPU ")).collect();
    assert_eq!(lines.len(), 2, "{words}");
    assert!(
        lines[0].contains("Fake GPU: ") && lines[0].contains("compute 8.0, reaches 1 2"),
        "{words}"
    );
    assert!(
        words.contains("CUDA device 1 (Fake GPU) is not used: its compute capability is 7.0"),
        "{words}"
    );
    let document: Value =
        serde_json::from_slice(&vendomini(&variables, &["doctor", "--json"]).stdout).expect("JSON");
    let gpus = &document["machine"]["gpus"];
    assert_eq!(
        (&gpus[0]["ordinal"], &gpus[1]["ordinal"]),
        (&Value::from(0), &Value::from(2)),
        "{gpus}"
    );
    assert_eq!(
        (&gpus[1]["memory"], &gpus[1]["virtual"]),
        (&Value::from(3u64 << 30), &Value::from(false)),
        "{gpus}"
    );
}

#[test]
fn what_a_job_was_given_is_compared_with_what_is_found() {
    let job =
        [("FAKE_GPUS", "2GiB,2GiB"), ("SLURM_JOB_GPUS", "0,1"), ("CUDA_VISIBLE_DEVICES", "0,1")];
    let words = output_text(&vendomini(&job, &["doctor"]));
    assert!(words.contains("allotted    0,1") && !words.contains("problem"), "{words}");
    let less = [("FAKE_GPUS", "2GiB"), job[1], job[2]];
    let words = output_text(&vendomini(&less, &["doctor"]));
    assert!(words.contains("2 GPUs were allotted, and 1 can be used"), "{words}");
    let hidden =
        [("FAKE_GPUS", "2GiB"), ("SLURM_JOB_GPUS", "0"), ("CUDA_VISIBLE_DEVICES", "NoDevFiles")];
    let words = output_text(&vendomini(&hidden, &["doctor"]));
    assert!(words.contains("hides every GPU") && !words.contains("GPU  "), "{words}");
}

#[test]
fn a_driver_that_cannot_be_used_is_a_note_and_the_cpu_goes_on() {
    for (fault, word) in [
        ("cuDriverGetVersion:1:olddriver", "supports CUDA 12.2, and 12.4 is needed"),
        ("cuInit:1:nodevice", "the CUDA driver finds no GPU"),
        ("cuInit:1:803", "have different versions"),
    ] {
        let output = vendomini(&[("FAKE_GPU_FAULT", fault)], &["plan", &model(), "--json"]);
        let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (output.status.code(), &plan["device_map"]["lm_head"]),
            (Some(0), &Value::from("cpu")),
            "{plan}"
        );
        let words = output_text(&vendomini(&[("FAKE_GPU_FAULT", fault)], &["doctor"]));
        assert!(words.contains("no GPU is used") && words.contains(word), "{fault}: {words}");
    }
}

#[test]
fn plans_are_made_for_the_gpus_that_are_found() {
    let output = vendomini(&[("FAKE_GPUS", "2GiB")], &["plan", &model(), "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["device_map"]["lm_head"], 0, "{plan}");
}

#[test]
fn routed_experts_stay_on_the_cpu_and_a_load_follows_the_plan() {
    let model = model().replace("llama-gqa", "qwen3-moe");
    let gpu = [("FAKE_GPUS", "2GiB")];
    let document = |arguments: &[&str]| -> Value {
        let output = vendomini(&gpu, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", output_text(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let plan = document(&["plan", &model, "--json"]);
    let map = &plan["device_map"];
    assert_eq!(
        (&map["model.layers.1"], &map["model.layers.1.mlp.experts"]),
        (&Value::from(0), &Value::from("cpu")),
        "{plan}"
    );
    let load = document(&["load", &model, "--json"]);
    assert_eq!(&load["device_map"], map, "{load}");
    let folder = tempfile::tempdir().expect("a folder");
    let map = folder.path().join("map.json");
    std::fs::write(&map, r#"{"": 0}"#).expect("a file");
    let map = map.to_str().expect("UTF-8");
    let output = vendomini(&gpu, &["load", &model, "--device-map", map]);
    let words = output_text(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(
        words.contains("model.layers.0.mlp.experts") && words.contains("no GPU kernel computes"),
        "{words}"
    );
}

#[test]
fn a_driver_that_never_starts_is_ended_by_name() {
    let started = Instant::now();
    let arguments = ["load", &model(), "--stall-timeout", "2"];
    let output = vendomini(&[("FAKE_GPU_FAULT", "cuInit:1:hang")], &arguments);
    let words = output_text(&output);
    assert_eq!(output.status.code(), Some(75), "{words}");
    assert!(words.contains("probe") && started.elapsed() < Duration::from_secs(30), "{words}");
}
