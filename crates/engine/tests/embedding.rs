//! Tests that a text's embedding is the mean of the hidden states that transformers computes
//! (`tests/golden/embeddings.json`).
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use error_kind::{ErrorKind, HasKind};
use std::path::Path;
use std::time::Duration;

use common::TestLoad;
use engine::{EmbedError, Engine, EngineOptions, RequestError, SubmitError};
use placement::DtypeChoice;
use serde_json::Value;
use watch::Watch;

const WAIT: Duration = Duration::from_secs(60);

fn engine(name: &str, dtype: DtypeChoice, step_tokens: usize) -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    let loaded =
        TestLoad { dtype, context: 56, ..TestLoad::default() }.load(&folder).expect("it loads");
    let options = EngineOptions { step_tokens, ..EngineOptions::new(Watch::silent()) };
    Engine::start_loaded(loaded, options).expect("an engine")
}

fn values(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    errors.fold(0.0, |worst, error| if error.is_nan() { f32::NAN } else { error.max(worst) })
}

#[test]
fn embeddings_are_those_of_transformers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/embeddings.json");
    let golden: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("a file")).expect("JSON");
    let models =
        golden.as_object().expect("an object").iter().filter(|(name, _)| *name != "made_by");
    let mut seen = 0;
    for (name, expected) in models {
        let tokens: Vec<u32> =
            values(&expected["tokens"]).into_iter().map(|id| id as u32).collect();
        let exact = values(&expected["f32"]);
        let embed = |dtype, step_tokens| {
            engine(name, dtype, step_tokens).embed(tokens.clone(), WAIT).expect("a mean")
        };
        let found = embed(DtypeChoice::F32, 512);
        let error = worst(&found, &exact);
        assert!(error < 2e-5, "{name}: {error} from transformers in float32");
        // The error is about that of transformers' own run in bf16. It may be 1.5 times as large,
        // since the largest of some 50 rounding errors is a matter of chance.
        let (ours, theirs) = (
            worst(&embed(DtypeChoice::Auto, 512), &exact),
            worst(&values(&expected["bf16"]), &exact),
        );
        eprintln!("{name}: off by {error:e} in f32, {ours:e} in bf16 (transformers {theirs:e})");
        assert!(ours <= 1.5 * theirs, "{name}: {ours} from float32, transformers' bf16 {theirs}");
        assert_eq!(embed(DtypeChoice::F32, 11), found, "{name}: cut into passes of 11");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_text_that_cannot_be_embedded_says_why() {
    let engine = engine("llama-gqa", DtypeChoice::F32, 512);
    let refused = |tokens| match engine.embed(tokens, WAIT) {
        Err(EmbedError::Submit(SubmitError::Request(cause))) => cause,
        other => panic!("expected a refusal, found {other:?}"),
    };
    assert_eq!(refused(Vec::new()), RequestError::EmptyPrompt);
    assert_eq!(refused(vec![128]), RequestError::Token { token: 128, position: 0, vocab: 128 });
    assert!(matches!(refused(vec![1; 100]), RequestError::PromptTooLong { tokens: 100, .. }));
    let late = engine.embed(vec![5; 50], Duration::ZERO).expect_err("no time at all");
    assert_eq!(
        (late.clone(), late.kind()),
        (EmbedError::Late { limit_s: 0.0 }, ErrorKind::Timeout)
    );
    assert_eq!(engine.embed(vec![5; 50], WAIT).expect("a mean").len(), 64);
}
