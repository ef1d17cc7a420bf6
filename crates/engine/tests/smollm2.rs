//! Tests SmolLM2 against transformers: log-probabilities of a committed text and the first greedy
//! tokens, for the sharded checkpoint and for the GGUF file (`tests/golden/smollm2_expected.py`).
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};

use checkpoint::Checkpoint;
use common::expected::Expected;
use common::{TestLoad, logits_in_chunks, smollm2};
use engine::Loaded;
use placement::{DtypeChoice, KvDtype};
use serde_json::Value;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/smollm2.json")
}

/// The first `count` tokens of greedy decoding.
fn greedy(loaded: &mut Loaded, prompt: &[u32], count: usize) -> Vec<u32> {
    let vocab = loaded.model.config().vocab_size;
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let logits = logits_in_chunks(loaded, &ids, &[64]);
        let last = &logits[logits.len() - vocab..];
        let best = (0..vocab).max_by(|a, b| last[*a].total_cmp(&last[*b])).expect("a token");
        ids.push(best as u32);
    }
    ids.split_off(prompt.len())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// Checks a checkpoint in f32 mode and in native mode against the results under the key `part`. If
/// `compare_bf16`, native mode must be as accurate as transformers' bf16 run.
fn check(folder: &Path, part: &str, compare_bf16: bool) {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(committed()).expect("read smollm2.json"))
            .expect("valid JSON");
    let expected = Expected::read(&committed(), Some(part));
    let theirs = expected.low_precision().expect("find transformers' bf16 run");
    for dtype in [DtypeChoice::F32, DtypeChoice::Auto] {
        let mut loaded = TestLoad { dtype, concurrency: 1, ..TestLoad::default() }
            .load(folder)
            .expect("load the model");
        let found = expected.distance(&mut loaded);
        eprintln!("{part} {dtype:?}: {found:?}; transformers in bf16: {theirs:?}");
        if dtype == DtypeChoice::F32 {
            assert!(found.max_abs_error <= 1e-3, "{part}: {found:?}");
        } else {
            assert!(found.mean_kl < 5e-4, "{part}: {found:?}");
            if compare_bf16 {
                assert!(found.mean_kl <= theirs.mean_kl, "{part}: {found:?} against {theirs:?}");
                assert!(
                    found.max_abs_error <= theirs.max_abs_error,
                    "{part}: {found:?} against {theirs:?}"
                );
            }
        }
        if dtype == DtypeChoice::Auto {
            let kv_dtype = Some(KvDtype::Int8);
            let mut int8 = TestLoad { dtype, kv_dtype, concurrency: 1, ..TestLoad::default() }
                .load(folder)
                .expect("load the model");
            let with_int8 = expected.distance(&mut int8);
            eprintln!("{part}, with keys and values in int8: {with_int8:?}");
            assert!(
                with_int8.max_abs_error != found.max_abs_error,
                "{part}: int8 changes nothing?"
            );
            assert!(with_int8.mean_kl < theirs.mean_kl, "{part}: {with_int8:?} against {theirs:?}");
            assert!(
                with_int8.max_abs_error < theirs.max_abs_error,
                "{part}: {with_int8:?} against {theirs:?}"
            );
        }
        let first = greedy(&mut loaded, &ids(&golden["prompt_tokens"]), 10);
        assert_eq!(first, ids(&golden[part]["greedy"]), "{part} {dtype:?}: greedy ids");
    }
}

#[test]
fn sharded_smollm2_matches_transformers() {
    let Some(gguf) = smollm2::gguf("sharded_smollm2_matches_transformers") else { return };
    let folder = tempfile::tempdir().expect("create a temporary folder");
    smollm2::sharded(&gguf, folder.path());
    assert!(
        Checkpoint::open(folder.path()).expect("open the checkpoint").inventory.shards.len() > 2
    );
    check(folder.path(), "bf16", true);
}

#[test]
fn gguf_smollm2_matches_transformers() {
    let Some(gguf) = smollm2::gguf("gguf_smollm2_matches_transformers") else { return };
    check(&gguf, "gguf", false);
}
