//! Tests with the fake CUDA driver (`crates/device/fake_driver`): what the program reports about
//! GPUs, and how it ends when they fail. No real GPU is used.

#[path = "../../../tests/fake_driver/library.rs"]
mod library;
#[path = "../../../tests/faults/table.rs"]
mod table;

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A model of 29 million weights: about 55 MiB in bf16.
const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// A checkpoint and the fake CUDA driver's library, with which the program is run.
struct GpuBench {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl GpuBench {
    fn new() -> Self {
        let bench =
            GpuBench { folder: tempfile::tempdir().expect("a folder"), library: library::folder() };
        let config = bench.folder.path().join("shape.json");
        std::fs::write(&config, CONFIG).expect("a file");
        let mut synth = Command::new(env!("CARGO_BIN_EXE_vendomini"));
        synth
            .args(["synth", "--shards", "3", "--random", "7", "--like"])
            .arg(config)
            .arg(bench.model());
        let synth = synth.output().expect("the program starts");
        assert!(synth.status.success(), "{}", stderr(&synth));
        bench
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    /// Runs `vendomini COMMAND MODEL OPTIONS` with two fake GPUs, into which a fault is injected.
    fn run(&self, command: &str, options: &[&str], fault: &str) -> Output {
        let mut run = Command::new(env!("CARGO_BIN_EXE_vendomini"));
        run.arg(command).arg(self.model()).args(["--context", "256", "--json"]).args(options);
        run.env("LD_LIBRARY_PATH", &self.library)
            .env("FAKE_GPUS", "1GiB,1GiB")
            .env("FAKE_GPU_FAULT", fault);
        run.env_remove("CUDA_VISIBLE_DEVICES").output().expect("the program starts")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(output));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn tier<'a>(load: &'a Value, name: &str) -> &'a Value {
    let tiers = load["tiers"].as_array().expect("tiers");
    tiers.iter().find(|tier| tier["tier"].to_string().trim_matches('"') == name).expect("the tier")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

#[test]
fn a_load_reports_each_gpu_within_a_hundredth() {
    let bench = GpuBench::new();
    for dtype in ["auto", "f32", "int8"] {
        let load =
            document(&bench.run("load", &["--device-map", "balanced", "--dtype", dtype], ""));
        assert_eq!(load["smoke_test"]["ok"], true);
        assert!(load["kernel_set"].as_str().expect("words").starts_with("cuda-sm80+"), "{load}");
        for name in ["0", "1"] {
            let gpu = tier(&load, name);
            let (planned, used) =
                (number(&gpu["weights_planned_bytes"]), number(&gpu["weights_bytes"]));
            assert!(
                planned > 10 << 20 && used.abs_diff(planned) <= planned / 100,
                "{dtype}: {gpu}"
            );
            assert_eq!(gpu["kv_bytes"], gpu["kv_planned_bytes"], "{dtype}: {gpu}");
            let (planned, activations) =
                (number(&gpu["activations_planned_bytes"]), number(&gpu["activations_bytes"]));
            assert!(activations <= planned && activations >= planned / 2, "{dtype}: {gpu}");
            let memory = &gpu["gpu"];
            let parts = used + number(&gpu["kv_bytes"]) + activations;
            assert!(
                number(&memory["allocated_bytes"]).abs_diff(parts) <= parts / 100,
                "{dtype}: {gpu}"
            );
            let (reserved, peak) =
                (number(&memory["reserved_bytes"]), number(&memory["peak_reserved_bytes"]));
            assert!(reserved <= peak && peak <= number(&memory["quota_bytes"]), "{dtype}: {gpu}");
            let planned = ["weights", "kv", "activations"]
                .map(|kind| number(&gpu[format!("{kind}_planned_bytes")]));
            assert_eq!(
                number(&memory["planned_bytes"]),
                planned.iter().sum::<u64>(),
                "{dtype}: {gpu}"
            );
        }
    }
}

#[test]
fn the_same_text_scores_alike_wherever_it_is_computed() {
    let bench = GpuBench::new();
    let scores = |options: &[&str]| {
        let tokens: Vec<String> = (0..40).map(|i| (i * 97 % 4000).to_string()).collect();
        let score = document(&bench.run(
            "score",
            &[&["--tokens", &tokens.join(","), "--dtype", "f32"], options].concat(),
            "",
        ));
        let logprobs = score["logprobs"].as_array().expect("log-probabilities").clone();
        logprobs.iter().filter_map(Value::as_f64).collect::<Vec<f64>>()
    };
    let expected = scores(&["--device-map", "cpu"]);
    assert_eq!(expected.len(), 39);
    for options in [
        &["--device-map", "auto"][..],
        &["--max-memory", "0=20MiB,1=20MiB"],
        &["--device-map", "balanced"],
    ] {
        let found = scores(options);
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == 39 && worst < 1e-4, "{options:?}: {worst}");
    }
}

/// The row's name in `docs/faults.md`, the program's options, and the fault for the fake CUDA
/// driver.
const FAULTS: [(&str, &[&str], &str); 14] = [
    ("two GPUs that work", &[], ""),
    ("a driver that is too old", &[], "cuDriverGetVersion:1:olddriver"),
    ("a driver that never starts", STALL, "cuInit:1:hang"),
    ("a context that never comes", STALL, "cuDevicePrimaryCtxRetain:3:hang"),
    ("kernels that are never compiled", STALL, "cuModuleLoadDataEx:1:hang"),
    ("an allocation that never returns", STALL, "cuMemAlloc_v2:7:hang"),
    ("pinned memory that never comes", STALL, "cuMemHostAlloc:20:hang"),
    ("a copy between GPUs that never ends", &["--stall-timeout", "20"], "cuMemcpyPeerAsync:1:hang"),
    ("a copy of weights that never ends", STALL, "cuMemcpyHtoDAsync_v2:12:hang"),
    ("a kernel that never ends", STALL, "cuLaunchKernel:40:hang"),
    ("a GPU that refuses its weights", &["--fallback", "keep"], "cuMemAlloc_v2:7:oom"),
    ("the same, and no fallback", &["--fallback", "none"], "cuMemAlloc_v2:7:oom"),
    (
        "a GPU that is lost while weights arrive",
        &["--stall-timeout", "20"],
        "cuMemcpyHtoDAsync_v2:12:lost",
    ),
    ("a GPU that is lost in the smoke test", &["--stall-timeout", "20"], "cuLaunchKernel:40:lost"),
];

const STALL: &[&str] = &["--stall-timeout", "2"];

#[test]
fn every_fault_ends_as_the_table_says() {
    let bench = GpuBench::new();
    let rows = table::rows("On GPUs");
    assert_eq!(rows.len(), FAULTS.len(), "docs/faults.md has another number of faults");
    let mut wrong = Vec::new();
    for (name, options, fault) in FAULTS {
        let row = rows
            .iter()
            .find(|row| row.fault == name)
            .unwrap_or_else(|| panic!("docs/faults.md: no row for {name:?}"));
        let done = bench.run("load", &[&["--device-map", "balanced"], options].concat(), fault);
        let text = stderr(&done);
        let lacking: Vec<&String> =
            row.words.iter().filter(|word| !text.contains(word.as_str())).collect();
        if done.status.code() != Some(i32::from(row.exit))
            || !lacking.is_empty()
            || text.contains("panicked")
        {
            wrong.push(format!(
                "{name}: expected {}, found {:?}, lacking {lacking:?}: {text}",
                row.exit, done.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
}

#[test]
fn a_gpu_that_refused_its_weights_gets_less_of_them() {
    let bench = GpuBench::new();
    let load = document(&bench.run("load", &["--fallback", "keep"], "cuMemAlloc_v2:3:oom"));
    assert_eq!(
        (&load["rungs"][0]["state"], &load["rung"]),
        (&"failed".into(), &"disk-tier".into()),
        "{load}"
    );
    let why = load["rungs"][0]["why"].as_str().expect("words");
    assert!(
        why.contains("memory for weights on GPU 0")
            && why.contains("CUDA device 0 is out of memory"),
        "{why}"
    );
    // The dtype is unchanged: that GPU gets fewer weights, and the others are placed on tiers with
    // free memory.
    assert_eq!(load["dtype"], "auto");
    assert_eq!(number(&tier(&load, "disk")["weights_bytes"]), 0, "{load}");
}

#[test]
fn doctor_says_what_has_not_run_on_a_gpu() {
    let mut run = Command::new(env!("CARGO_BIN_EXE_vendomini"));
    run.arg("doctor").env("LD_LIBRARY_PATH", library::folder()).env("FAKE_GPUS", "64MiB");
    let output = run.env_remove("CUDA_VISIBLE_DEVICES").output().expect("the program starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("vendomini selftest --device cuda:0"));
}
