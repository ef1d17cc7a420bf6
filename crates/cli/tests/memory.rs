//! Tests of memory limits that the kernel enforces: a control group that is smaller than the
//! checkpoint, and one whose limit is lowered during a load.
//!
//! The tests need the right to create control groups, on most machines as root. Without that right
//! they print SKIPPED.

mod common;

use common::cgroup::Cgroup;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A model of 0.4 GB of bf16 weights in 16 layers.
const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 8000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 8,
    "num_key_value_heads": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;
/// A mixture of experts of 0.3 GB, of which 0.28 GB are routed experts.
const EXPERTS_CONFIG: &str = r#"{
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "moe_intermediate_size": 768, "num_experts": 30,
    "num_experts_per_tok": 4, "norm_topk_prob": true, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;
const MIB: u64 = 1 << 20;
/// Tolerated difference between peak memory and plan.
const SLACK_BYTES: u64 = 64 * MIB;
const LIMIT: Duration = Duration::from_secs(120);

struct TestBench {
    folder: tempfile::TempDir,
}

impl TestBench {
    fn new() -> Self {
        Self::of(CONFIG)
    }

    fn of(config_text: &str) -> Self {
        let bench = TestBench { folder: tempfile::tempdir().expect("a folder") };
        let config = bench.path("shape.json");
        std::fs::write(&config, config_text).expect("a file");
        let mut synth = Command::new(env!("CARGO_BIN_EXE_vendomini"));
        synth
            .args(["synth", "--like"])
            .arg(&config)
            .args(["--shards", "2", "--random", "7"])
            .arg(bench.model());
        let done = synth.output().expect("the program starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    fn load(&self, options: &[&str]) -> Command {
        let mut load = Command::new(env!("CARGO_BIN_EXE_vendomini"));
        load.arg("load").arg(self.model()).args(["--json", "--context", "256"]).args(options);
        load.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        load
    }

    fn interposer(&self) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/interpose.c");
        let library = self.path("interpose.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        let compiled = cc.output().expect("a C compiler, which building the program takes too");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        library
    }
}

fn document(done: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{:?}: {stderr}", done.status);
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

fn tier_bytes(load: &Value, tier: &str) -> u64 {
    let tiers = load["tiers"].as_array().expect("tiers");
    tiers
        .iter()
        .find(|t| t["tier"] == tier)
        .map_or(0, |t| t["weights_bytes"].as_u64().expect("bytes"))
}

/// Peak memory is at most 64 MiB above the plan for each way to load the weights.
#[test]
fn peak_memory_is_at_most_as_planned() {
    let bench = TestBench::new();
    let option_sets: [&[&str]; 5] = [
        &[],
        &["--dtype", "int8"],
        &["--dtype", "f32"],
        &["--device-map", "disk"],
        &["--devices", "virtual:200MiB,200MiB"],
    ];
    for options in option_sets {
        let load = document(&bench.load(options).output().expect("the program starts"));
        let number = |key: &str| {
            load[key].as_u64().unwrap_or_else(|| panic!("{options:?}: no {key}: {load}"))
        };
        let (peak, planned) = (number("peak_resident_bytes"), number("planned_resident_bytes"));
        assert!(
            peak <= planned + SLACK_BYTES,
            "{options:?}: {peak} bytes at the peak, {planned} planned"
        );
        // The reported peak must be measured: it is plausible and differs from the planned value.
        assert!(peak > 32 * MIB && peak != planned, "{options:?}: {peak}");
    }
}

/// A cache of experts on disk takes the limit on host memory and no more, and is used.
#[test]
fn a_cache_of_experts_is_as_large_as_planned() {
    let bench = TestBench::of(EXPERTS_CONFIG);
    let options = ["--device-map", "disk", "--max-memory", "cpu=100MiB"];
    let load = document(&bench.load(&options).output().expect("the program starts"));
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{load}"));
    let cache = &load["expert_cache"];
    let (planned, used) = (number(&cache["planned_bytes"]), number(&cache["used_bytes"]));
    // Embedding and head stay in memory and share the limit with the cache.
    let weights = number(&load["tiers"][0]["weights_planned_bytes"]);
    assert_eq!(planned + weights, 100 * MIB, "{load}");
    assert!(used <= planned && used > planned * 9 / 10, "{load}");
    let rate = cache["hit_rate"].as_f64().expect("a rate");
    assert!(rate > 0.0 && rate < 1.0, "{load}");
    let peak = number(&load["peak_resident_bytes"]);
    assert!(peak <= number(&load["planned_resident_bytes"]) + SLACK_BYTES, "{load}");
}

#[test]
fn a_control_group_smaller_than_the_checkpoint_gets_the_disk_tier() {
    let bench = TestBench::new();
    let Some(group) = Cgroup::with_limit("small", 380 * MIB) else { return };
    let load = document(&group.run(bench.load(&["--fallback", "keep"]), LIMIT));
    assert_eq!(load["rung"], "disk-tier", "{load}");
    assert!(tier_bytes(&load, "disk") > 50 * MIB, "{load}");
    assert_eq!((tier_bytes(&load, "disk") + tier_bytes(&load, "cpu")) >> 20, 391, "{load}");
    assert_eq!(group.oom_kills(), 0);
    let peak = load["peak_resident_bytes"].as_u64().expect("bytes");
    assert!(peak < 380 * MIB, "{peak}");
}

#[test]
fn a_limit_lowered_in_mid_load_leads_to_the_next_rung() {
    let bench = TestBench::new();
    let interposer = bench.interposer();
    for (fallback, exit) in [("auto", 0), ("none", 71)] {
        let Some(group) = Cgroup::with_limit(&format!("lowered-{fallback}"), 2048 * MIB) else {
            return;
        };
        let mut load = bench.load(&["--fallback", fallback]);
        // The first read of the second shard pauses for three seconds, in which the limit is
        // lowered.
        load.env("LD_PRELOAD", &interposer).env("FAULT", "pread,model-00002,1000000,pause");
        let mut running = group.start(load);
        let since = Instant::now();
        while group.used_bytes() < 150 * MIB && since.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        group.set_limit(380 * MIB);
        let done = running.ends(LIMIT);
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(exit), "{fallback}: {stderr}");
        assert!(group.oom_kills() > 0, "{fallback}: the limit came too late to kill: {stderr}");
        assert!(
            stderr.contains("killed for memory by the kernel") && stderr.contains("as-configured"),
            "{stderr}"
        );
        if exit == 0 {
            let load = document(&done);
            assert_eq!(load["rungs"][0]["state"], "failed", "{load}");
            assert!(
                ["int8", "disk-tier"].contains(&load["rung"].as_str().expect("a rung")),
                "{load}"
            );
            assert_eq!(load["smoke_test"]["ok"], true, "{load}");
        } else {
            assert!(stderr.contains("--fallback none"), "{stderr}");
        }
    }
}
