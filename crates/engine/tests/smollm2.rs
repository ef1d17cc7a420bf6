//! The real model against transformers: a committed text's log-probabilities and the first greedy
//! ids, from the sharded form and from the GGUF file (`tests/golden/smollm2_expected.py`).

mod common;

use std::path::{Path, PathBuf};

use checkpoint::Checkpoint;
use common::expected::Expected;
use common::{Wish, logits_in_chunks, smollm2};
use engine::Loaded;
use placement::{DtypeChoice, KvDtype};
use serde_json::Value;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/smollm2.json")
}

/// The first ids, each the likeliest.
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

/// Checks one form in both modes. `low` says whether the fast mode is held against transformers'
/// own bf16 run.
fn check(folder: &Path, form: &str, low: bool) {
    let golden: Value =
        serde_json::from_slice(&std::fs::read(committed()).expect("smollm2.json")).expect("JSON");
    let expected = Expected::read(&committed(), Some(form));
    let theirs = expected.low_precision().expect("transformers' bf16 run");
    for dtype in [DtypeChoice::F32, DtypeChoice::Auto] {
        let mut loaded =
            Wish { dtype, concurrency: 1, ..Wish::default() }.load(folder).expect("it loads");
        let found = expected.distance(&mut loaded);
        eprintln!("{form} {dtype:?}: {found:?}; transformers in bf16: {theirs:?}");
        if dtype == DtypeChoice::F32 {
            assert!(found.max_abs_error <= 1e-3, "{form}: {found:?}");
        } else {
            assert!(found.mean_kl < 5e-4, "{form}: {found:?}");
            if low {
                assert!(found.mean_kl <= theirs.mean_kl, "{form}: {found:?} against {theirs:?}");
                assert!(
                    found.max_abs_error <= theirs.max_abs_error,
                    "{form}: {found:?} against {theirs:?}"
                );
            }
        }
        if dtype == DtypeChoice::Auto {
            let kv_dtype = Some(KvDtype::Int8);
            let mut int8 = Wish { dtype, kv_dtype, concurrency: 1, ..Wish::default() }
                .load(folder)
                .expect("it loads");
            let with_int8 = expected.distance(&mut int8);
            eprintln!("{form}, with keys and values in int8: {with_int8:?}");
            assert!(
                with_int8.max_abs_error != found.max_abs_error,
                "{form}: int8 changes nothing?"
            );
            assert!(with_int8.mean_kl < theirs.mean_kl, "{form}: {with_int8:?} against {theirs:?}");
            assert!(
                with_int8.max_abs_error < theirs.max_abs_error,
                "{form}: {with_int8:?} against {theirs:?}"
            );
        }
        let first = greedy(&mut loaded, &ids(&golden["prompt_tokens"]), 10);
        assert_eq!(first, ids(&golden[form]["greedy"]), "{form} {dtype:?}: greedy ids");
    }
}

#[test]
fn smollm2_sharded_is_transformers() {
    let Some(gguf) = smollm2::gguf("smollm2_sharded_is_transformers") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    smollm2::sharded(&gguf, folder.path());
    assert!(Checkpoint::open(folder.path()).expect("sound").inventory.shards.len() > 2);
    check(folder.path(), "bf16", true);
}

#[test]
fn smollm2_from_its_gguf_is_transformers() {
    let Some(gguf) = smollm2::gguf("smollm2_from_its_gguf_is_transformers") else { return };
    check(&gguf, "gguf", false);
}
