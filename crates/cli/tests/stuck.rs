//! Tests a read that never returns and cannot be killed, on a FUSE file system with direct I/O that
//! does not answer. The worker stays in the kernel even after SIGKILL; the supervisor must still
//! print its message and exit with the right code.
//!
//! The test needs `/dev/fuse` and the right to mount (root, or `fusermount3`). Without them it
//! prints SKIPPED.

mod common;

use common::fuse::{Reads, SlowMount};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Writes a checkpoint of three shards. The second shard is so large that reading its header does
/// not reach the offset at which reads get stuck.
fn checkpoint(folder: &Path) -> PathBuf {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
        "vocab_size": 4000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2}"#;
    std::fs::write(folder.join("shape.json"), config).expect("a file");
    let (like, model) = (folder.join("shape.json"), folder.join("model"));
    let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["synth", "--shards", "3", "--random", "7", "--like"])
        .args([&like, &model])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    model
}

#[test]
fn a_worker_stuck_in_a_read_is_reported_and_left_behind() {
    let shard = "model-00002-of-00003.safetensors";
    let source = tempfile::tempdir().expect("a folder");
    let mount = SlowMount::of(&checkpoint(source.path()), Reads::StuckAt(shard, 4 << 20));
    let Some(mount) = mount else { return };
    let since = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args([
            "load",
            mount.path().to_str().expect("UTF-8"),
            "--stall-timeout",
            "2",
            "--dtype",
            "int8",
        ])
        .output()
        .expect("the program starts");
    let (took, stderr) = (since.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned());
    drop(mount);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    for text in ["stalled in stage read", shard, "is stuck in the kernel and could not be reaped"] {
        assert!(stderr.contains(text), "{text:?} is not in: {stderr}");
    }
    assert!(took < Duration::from_secs(10), "{took:?}");
}
