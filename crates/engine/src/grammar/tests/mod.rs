//! Constraints over two small tokenizers: bytes with merges (as GPT-2) and SentencePiece with byte
//! fallback (as Llama 2).

pub(crate) mod tokenizers;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sampling::{SampleBuffers, SampleInput, SamplingParams, sample, uniform};
use text::Tokenizer;
use tokenizers::{END, bytes, pieces};

fn gpu() -> Value {
    json!({
        "type": "object",
        "properties": {
            "tool": {"enum": ["order", "wait"]},
            "arguments": {
                "type": "object",
                "properties": {"sku": {"type": "string", "maxLength": 6}, "quantity": {"type": "integer", "minimum": 1, "maximum": 500}},
                "required": ["sku", "quantity"],
                "additionalProperties": false
            },
            "success": {"type": "boolean"}
        },
        "required": ["tool", "arguments", "success"],
        "additionalProperties": false
    })
}

/// A reply of random logits that have no idea of JSON; its tokens, and which of them were forced.
fn reply(tokenizer: &Tokenizer, guide: &mut GrammarMatcher, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let (mut tokens, mut all_forced) = (Vec::new(), Vec::new());
    let sampling = SamplingParams::at(1.0, seed);
    for position in 0..2000 {
        let forced = guide.forced().expect("forced tokens");
        all_forced.extend(&forced);
        tokens.extend(forced);
        if guide.finished() {
            return (tokens, all_forced);
        }
        let mask = guide.mask().expect("a mask");
        let mut logits: Vec<f32> = (0..tokenizer.vocab_size() as u64)
            .map(|id| uniform(seed, position << 20 | id) as f32 * 4.0)
            .collect();
        let draw = SampleInput {
            sampling: &sampling,
            allowed: Some(mask.allowed()),
            seen: None,
            position: position as usize,
            logprob: false,
        };
        let token =
            sample(&mut logits, &draw, &mut SampleBuffers::default()).expect("a token").token;
        if token == END {
            return (tokens, all_forced);
        }
        guide.advance(token).expect("an allowed token");
        tokens.push(token);
    }
    panic!("a reply of a bounded schema did not end: {tokens:?}")
}

fn text_of(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let bytes = tokens
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id).expect("no special token in a reply"))
        .collect();
    String::from_utf8(bytes).expect("whole characters")
}

fn check_gpu(text: &str) {
    let value: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["tool", "arguments", "success"]);
    assert!(["order", "wait"].contains(&value["tool"].as_str().expect("a tool")));
    assert!(value["success"].is_boolean());
    assert!(
        (1..=500).contains(&value["arguments"]["quantity"].as_i64().expect("a whole number")),
        "{text}"
    );
    assert!(value["arguments"]["sku"].as_str().expect("a text").chars().count() <= 6);
    assert_eq!(value["arguments"].as_object().expect("an object").len(), 2);
}

#[test]
fn every_reply_is_under_the_schema() {
    for tokenizer in [bytes(), pieces()] {
        for settings in [
            GrammarSettings::default(),
            GrammarSettings { whitespace: Whitespace::Spaced, ..GrammarSettings::default() },
            GrammarSettings { canonical_tokens: false, ..GrammarSettings::default() },
        ] {
            let grammars = GrammarCompiler::new(&tokenizer, &[END], settings).expect("grammars");
            for seed in 0..100 {
                let mut guide =
                    grammars.compile(&Constraint::JsonSchema(gpu())).expect("a schema").guide();
                let (tokens, forced) = reply(&tokenizer, &mut guide, seed);
                let text = text_of(&tokenizer, &tokens);
                check_gpu(&text);
                assert_eq!(
                    text.starts_with("{\"tool\": \""),
                    settings.whitespace == Whitespace::Spaced,
                    "{text}"
                );
                assert_eq!(forced.is_empty(), !settings.canonical_tokens);
            }
        }
    }
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer() {
    for tokenizer in [bytes(), pieces()] {
        let grammars =
            GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("grammars");
        let constant = json!({"const": {"tool": "order", "true": [true, "a b"]}});
        let mut guide =
            grammars.compile(&Constraint::JsonSchema(constant)).expect("a schema").guide();
        let forced = guide.forced().expect("forced tokens");
        assert!(guide.finished());
        let text = r#"{"tool":"order","true":[true,"a b"]}"#;
        assert_eq!(text_of(&tokenizer, &forced), text);
        // As the tokenizer cuts it, after any character that stands alone.
        let cut = tokenizer.encode(&format!("\n{text}"), false).expect("tokens");
        assert!(cut.ends_with(&forced), "{cut:?} {forced:?}");
        assert!(forced.len() < text.len(), "merged tokens are used");
    }
}

#[test]
fn a_schema_that_cannot_be_met_says_so() {
    let grammars =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("grammars");
    for schema in [
        json!({"type": "integer", "minimum": 5, "maximum": 3}),
        json!(false),
        json!({"type": "string", "pattern": "("}),
        json!({"$ref": "#/nowhere"}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        json!({"type": "nonsense"}),
        json!(7),
    ] {
        match grammars.compile(&Constraint::JsonSchema(schema.clone())) {
            Err(GrammarError::Schema { cause }) => {
                assert!(cause.len() > 10 && !cause.contains("panic"), "{schema}: {cause}")
            }
            Err(other) => panic!("{schema}: {other}"),
            Ok(_) => panic!("{schema} was compiled"),
        }
    }
}

#[test]
fn special_tokens_cannot_be_spelled() {
    let tokenizer = bytes();
    let grammars =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("grammars");
    // The text of a special token inside a constant is text, never the token.
    let schema = json!({"const": "<|end|>"});
    let mut guide = grammars.compile(&Constraint::JsonSchema(schema)).expect("a schema").guide();
    let (tokens, _) = reply(&tokenizer, &mut guide, 1);
    assert!(!tokens.contains(&END));
    assert_eq!(text_of(&tokenizer, &tokens), "\"<|end|>\"");
}

#[test]
fn a_guide_refuses_what_its_mask_does_not_allow() {
    let tokenizer = bytes();
    let grammars =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("grammars");
    let mut guide = grammars.compile(&Constraint::JsonObject).expect("a schema").guide();
    let mask = guide.mask().expect("a mask");
    let wrong = tokenizer.token_to_id("x").expect("a byte");
    assert!(!mask.allowed().has(wrong));
    assert!(matches!(guide.advance(wrong), Err(GrammarError::Step { .. })));
    assert!(matches!(guide.mask(), Err(GrammarError::Step { .. })));
    assert!(!guide.finished());
}

#[test]
fn end_tokens_must_exist() {
    let error = GrammarCompiler::new(&bytes(), &[9999], GrammarSettings::default())
        .expect_err("no such token");
    assert!(matches!(error, GrammarError::End { token: 9999, .. }));
}

#[test]
fn masks_come_from_threads_as_they_come_without() {
    let grammars =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("grammars");
    let guide =
        || Box::new(grammars.compile(&Constraint::JsonSchema(gpu())).expect("a schema").guide());
    let expected: Vec<u32> = guide().mask().expect("a mask").allowed().tokens(1000).collect();
    for threads in [0, 1, 3] {
        let mut pool = MaskPool::new(threads).expect("threads");
        (0..20).for_each(|owner| pool.start(owner, guide(), None).expect("work taken"));
        let mut owners: Vec<u64> = (0..20)
            .map(|_| {
                let done = pool.next(std::time::Duration::from_secs(60)).expect("a mask in time");
                assert_eq!(
                    done.masks.expect("a mask")[0].allowed().tokens(1000).collect::<Vec<_>>(),
                    expected
                );
                done.owner
            })
            .collect();
        owners.sort_unstable();
        assert_eq!(owners, (0..20).collect::<Vec<_>>());
        assert!(pool.next(std::time::Duration::from_millis(5)).is_none());
    }
}

#[test]
fn masks_along_a_path_are_those_of_the_guide_that_goes_it() {
    let tokenizer = bytes();
    let grammars =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("grammars");
    let guide = || grammars.compile(&Constraint::JsonSchema(gpu())).expect("a schema").guide();
    let ids = |mask: &TokenMask| mask.allowed().tokens(1000).collect::<Vec<u32>>();
    for seed in 0..20 {
        // The way of a reply, token by token, and the mask before each.
        let (tokens, _) = reply(&tokenizer, &mut guide(), seed);
        let mut way = guide();
        let (mut parts, mut masks) = (Vec::new(), vec![ids(&way.mask().expect("a mask"))]);
        for &token in &tokens[..tokens.len() - 1] {
            way.advance(token).expect("its own token");
            parts.push(vec![token]);
            masks.push(ids(&way.mask().expect("a mask")));
        }
        way.go_back(tokens.len() - 1).expect("as many as it took");
        assert_eq!(ids(&way.mask().expect("a mask")), masks[0], "back where it began");
        // A part that the grammar does not have ends the path, and is no error.
        parts.push(vec![END]);
        let mut pool = MaskPool::new(1).expect("a thread");
        let path = DraftPath { guide: Box::new(way), parts };
        pool.start(3, Box::new(guide()), Some(path)).expect("work taken");
        let done = pool.next(std::time::Duration::from_secs(60)).expect("masks in time");
        let found: Vec<_> = done.masks.expect("masks").iter().map(ids).collect();
        assert!(
            !found.is_empty() && masks.starts_with(&found),
            "{} of {} masks",
            found.len(),
            masks.len()
        );
    }
}

#[test]
fn a_fork_goes_its_own_way() {
    let grammars =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("grammars");
    let mut guide = grammars.compile(&Constraint::JsonSchema(gpu())).expect("a schema").guide();
    guide.forced().expect("forced tokens");
    let before: Vec<u32> = guide.mask().expect("a mask").allowed().tokens(1000).collect();
    let mut fork = guide.fork();
    assert!(!fork.advance_if_allowed(END).expect("a guide that lives"), "it cannot end here");
    assert!(fork.advance_if_allowed(before[0]).expect("a guide that lives"));
    fork.advance(END).expect_err("it cannot end here either");
    assert!(fork.mask().is_err(), "it gave up");
    assert_eq!(guide.mask().expect("a mask").allowed().tokens(1000).collect::<Vec<u32>>(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// A reply does not depend on what the grammar was used for before.
    #[test]
    fn replies_are_their_own(seed in 0u64..1000, others in proptest::collection::vec(0u64..1000, 0..4)) {
        let tokenizer = bytes();
        let settings = GrammarSettings::default();
        let fresh = GrammarCompiler::new(&tokenizer, &[END], settings).expect("grammars");
        let used = GrammarCompiler::new(&tokenizer, &[END], settings).expect("grammars");
        let guide = |grammars: &GrammarCompiler| grammars.compile(&Constraint::JsonSchema(gpu())).expect("a schema").guide();
        for other in others {
            reply(&tokenizer, &mut guide(&used), other);
        }
        prop_assert_eq!(reply(&tokenizer, &mut guide(&fresh), seed), reply(&tokenizer, &mut guide(&used), seed));
    }
}
