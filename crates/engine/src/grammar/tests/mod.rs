//! Tests of grammars with two small tokenizers: byte-level BPE (as in GPT-2) and SentencePiece with
//! byte fallback (as in Llama 2).

pub(crate) mod tokenizers;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema_limits::{MEMBERS_MAX, REF_DEPTH_MAX};
use super::*;
use crate::sampling::{SampleBuffers, SampleInput, SamplingParams, sample, uniform};
use text::Tokenizer;
use tokenizers::{END, bytes, pieces};

fn schema() -> Value {
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

/// Samples a response from random logits; returns its tokens, and the forced tokens among these.
fn generate(
    tokenizer: &Tokenizer,
    matcher: &mut GrammarMatcher,
    seed: u64,
) -> (Vec<u32>, Vec<u32>) {
    let (mut tokens, mut all_forced) = (Vec::new(), Vec::new());
    let sampling = SamplingParams::at(1.0, seed);
    for position in 0..2000 {
        let forced = matcher.take_forced().expect("forced tokens");
        all_forced.extend(&forced);
        tokens.extend(forced);
        if matcher.is_complete() {
            return (tokens, all_forced);
        }
        let mask = matcher.compute_mask().expect("a mask");
        let mut logits: Vec<f32> = (0..tokenizer.vocab_size() as u64)
            .map(|id| uniform(seed, position << 20 | id) as f32 * 4.0)
            .collect();
        let input = SampleInput {
            sampling: &sampling,
            allowed: Some(mask.allowed()),
            seen: None,
            position: position as usize,
            logprob: false,
        };
        let token =
            sample(&mut logits, &input, &mut SampleBuffers::default()).expect("a token").token;
        if token == END {
            return (tokens, all_forced);
        }
        matcher.accept(token).expect("an allowed token");
        tokens.push(token);
    }
    panic!("a response of a bounded schema did not end: {tokens:?}")
}

fn text_of(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let bytes = tokens
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id).expect("no special token in a reply"))
        .collect();
    String::from_utf8(bytes).expect("whole characters")
}

fn check_conforms(text: &str) {
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
fn every_response_conforms_to_the_schema() {
    for tokenizer in [bytes(), pieces()] {
        for settings in [
            GrammarSettings::default(),
            GrammarSettings { whitespace: Whitespace::Spaced, ..GrammarSettings::default() },
            GrammarSettings { canonical_tokens: false, ..GrammarSettings::default() },
        ] {
            let compiler = GrammarCompiler::new(&tokenizer, &[END], settings).expect("a compiler");
            for seed in 0..100 {
                let mut matcher = compiler
                    .compile(&Constraint::JsonSchema(schema()))
                    .expect("a schema")
                    .matcher();
                let (tokens, forced) = generate(&tokenizer, &mut matcher, seed);
                let text = text_of(&tokenizer, &tokens);
                check_conforms(&text);
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
fn forced_text_is_tokenized_as_by_the_tokenizer() {
    for tokenizer in [bytes(), pieces()] {
        let compiler = GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default())
            .expect("a compiler");
        let constant = json!({"const": {"tool": "order", "true": [true, "a b"]}});
        let mut matcher =
            compiler.compile(&Constraint::JsonSchema(constant)).expect("a schema").matcher();
        let forced = matcher.take_forced().expect("forced tokens");
        assert!(matcher.is_complete());
        let text = r#"{"tool":"order","true":[true,"a b"]}"#;
        assert_eq!(text_of(&tokenizer, &forced), text);
        // The forced tokens must equal the tokenization of the text after a newline, which is
        // always a separate token.
        let expected = tokenizer.encode(&format!("\n{text}"), false).expect("tokens");
        assert!(expected.ends_with(&forced), "{expected:?} {forced:?}");
        assert!(forced.len() < text.len(), "merged tokens are used");
    }
}

#[test]
fn schemas_that_cannot_be_enforced_are_errors() {
    let compiler =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("a compiler");
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
        match compiler.compile(&Constraint::JsonSchema(schema.clone())) {
            Err(GrammarError::Schema { cause }) => {
                assert!(cause.len() > 10 && !cause.contains("panic"), "{schema}: {cause}")
            }
            Err(other) => panic!("{schema}: {other}"),
            Ok(_) => panic!("{schema} was compiled"),
        }
    }
}

#[test]
fn deep_schemas_are_compiled_up_to_the_limit_on_references() {
    let compiler =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("a compiler");
    type Nest = fn(Value) -> Value;
    let forms: [Nest; 5] = [
        |inner| json!({"type": "object", "properties": {"a": inner}, "required": ["a"]}),
        |inner| json!({"type": "array", "items": inner}),
        |inner| json!({"anyOf": [inner, {"type": "null"}]}),
        |inner| json!({"type": "object", "additionalProperties": inner}),
        |inner| json!({"type": "array", "prefixItems": [{"anyOf": [{"type": "object", "properties": {"b": inner}}]}]}),
    ];
    for nest in forms {
        let chain = |links: usize| {
            let reference = |i: usize| json!({"$ref": format!("#/$defs/d{i}")});
            let mut definitions: serde_json::Map<String, Value> =
                (0..links).map(|i| (format!("d{i}"), nest(reference(i + 1)))).collect();
            definitions.insert(format!("d{links}"), json!({"type": "integer"}));
            Constraint::JsonSchema(json!({"$ref": "#/$defs/d0", "$defs": definitions}))
        };
        for links in [250, REF_DEPTH_MAX] {
            let compiled = compiler.compile(&chain(links)).expect("within the limit");
            compiled.matcher().compute_mask().expect("a mask");
        }
        for links in [REF_DEPTH_MAX + 1, 20_000] {
            let error = compiler.compile(&chain(links)).err();
            assert_eq!(error, Some(GrammarError::Refs { limit: REF_DEPTH_MAX }));
        }
    }
}

#[test]
fn large_schemas_are_compiled_in_time_or_refused_with_the_limit() {
    let compiler =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("a compiler");
    let object = |count: usize| {
        let members: serde_json::Map<String, Value> =
            (0..count).map(|i| (format!("p{i}"), json!({"type": "integer"}))).collect();
        Constraint::JsonSchema(json!({"type": "object", "properties": members}))
    };
    assert!(compiler.compile(&object(MEMBERS_MAX)).is_ok());
    let error = compiler.compile(&object(MEMBERS_MAX + 1)).err();
    assert_eq!(error, Some(GrammarError::Members { found: MEMBERS_MAX + 1, limit: MEMBERS_MAX }));
    let choices = json!({"anyOf": vec![json!({"type": "integer"}); 60_000]});
    let error = compiler.compile(&Constraint::JsonSchema(choices)).err();
    assert_eq!(error, Some(GrammarError::Subschemas { limit: 50_000 }));
}

#[test]
fn text_cannot_spell_special_tokens() {
    let tokenizer = bytes();
    let compiler =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("a compiler");
    // The name of a special token in a constant is generated as text, never as the special token.
    let schema = json!({"const": "<|end|>"});
    let mut matcher =
        compiler.compile(&Constraint::JsonSchema(schema)).expect("a schema").matcher();
    let (tokens, _) = generate(&tokenizer, &mut matcher, 1);
    assert!(!tokens.contains(&END));
    assert_eq!(text_of(&tokenizer, &tokens), "\"<|end|>\"");
}

#[test]
fn a_matcher_rejects_tokens_outside_its_mask() {
    let tokenizer = bytes();
    let compiler =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("a compiler");
    let mut matcher = compiler.compile(&Constraint::JsonObject).expect("a schema").matcher();
    let mask = matcher.compute_mask().expect("a mask");
    let wrong = tokenizer.token_to_id("x").expect("a byte");
    assert!(!mask.allowed().has(wrong));
    assert!(matches!(matcher.accept(wrong), Err(GrammarError::Step { .. })));
    assert!(matches!(matcher.compute_mask(), Err(GrammarError::Step { .. })));
    assert!(!matcher.is_complete());
}

#[test]
fn end_tokens_must_exist() {
    let error = GrammarCompiler::new(&bytes(), &[9999], GrammarSettings::default())
        .expect_err("no such token");
    assert!(matches!(error, GrammarError::End { token: 9999, .. }));
}

#[test]
fn masks_are_the_same_with_and_without_threads() {
    let compiler =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("a compiler");
    let matcher = || {
        Box::new(compiler.compile(&Constraint::JsonSchema(schema())).expect("a schema").matcher())
    };
    let expected: Vec<u32> =
        matcher().compute_mask().expect("a mask").allowed().tokens(1000).collect();
    for threads in [0, 1, 3] {
        let mut pool = MaskPool::new(threads).expect("threads");
        (0..20).for_each(|seq_id| pool.start(seq_id, matcher(), None).expect("a thread takes it"));
        let mut seq_ids: Vec<u64> = (0..20)
            .map(|_| {
                let result = pool.next(std::time::Duration::from_secs(60)).expect("a mask in time");
                assert_eq!(
                    result.masks.expect("a mask")[0].allowed().tokens(1000).collect::<Vec<_>>(),
                    expected
                );
                result.seq_id
            })
            .collect();
        seq_ids.sort_unstable();
        assert_eq!(seq_ids, (0..20).collect::<Vec<_>>());
        assert!(pool.next(std::time::Duration::from_millis(5)).is_none());
    }
}

#[test]
fn masks_along_a_draft_are_those_of_a_matcher_that_accepts_it() {
    let tokenizer = bytes();
    let compiler =
        GrammarCompiler::new(&tokenizer, &[END], GrammarSettings::default()).expect("a compiler");
    let matcher =
        || compiler.compile(&Constraint::JsonSchema(schema())).expect("a schema").matcher();
    let ids = |mask: &TokenMask| mask.allowed().tokens(1000).collect::<Vec<u32>>();
    for seed in 0..20 {
        // Takes the tokens of a response as a draft and computes the mask before each token.
        let (tokens, _) = generate(&tokenizer, &mut matcher(), seed);
        let mut ahead = matcher();
        let (mut segments, mut masks) =
            (Vec::new(), vec![ids(&ahead.compute_mask().expect("a mask"))]);
        for &token in &tokens[..tokens.len() - 1] {
            ahead.accept(token).expect("its own token");
            segments.push(vec![token]);
            masks.push(ids(&ahead.compute_mask().expect("a mask")));
        }
        ahead.rollback(tokens.len() - 1).expect("as many as it took");
        assert_eq!(
            ids(&ahead.compute_mask().expect("a mask")),
            masks[0],
            "rollback restores the first state"
        );
        // A segment that the grammar does not allow ends the masks without an error.
        segments.push(vec![END]);
        let mut pool = MaskPool::new(1).expect("a thread");
        let draft = DraftPath { matcher: Box::new(ahead), segments };
        pool.start(3, Box::new(matcher()), Some(draft)).expect("a thread takes it");
        let result = pool.next(std::time::Duration::from_secs(60)).expect("masks in time");
        let found: Vec<_> = result.masks.expect("masks").iter().map(ids).collect();
        assert!(
            !found.is_empty() && masks.starts_with(&found),
            "{} of {} masks",
            found.len(),
            masks.len()
        );
    }
}

#[test]
fn a_fork_does_not_affect_its_original() {
    let compiler =
        GrammarCompiler::new(&bytes(), &[END], GrammarSettings::default()).expect("a compiler");
    let mut matcher =
        compiler.compile(&Constraint::JsonSchema(schema())).expect("a schema").matcher();
    matcher.take_forced().expect("forced tokens");
    let before: Vec<u32> = matcher.compute_mask().expect("a mask").allowed().tokens(1000).collect();
    let mut fork = matcher.fork();
    assert!(!fork.try_accept(END).expect("no parser error"), "the text is incomplete");
    assert!(fork.try_accept(before[0]).expect("no parser error"));
    fork.accept(END).expect_err("the text is incomplete");
    assert!(fork.compute_mask().is_err(), "the error stays");
    assert_eq!(
        matcher.compute_mask().expect("a mask").allowed().tokens(1000).collect::<Vec<u32>>(),
        before
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// A response does not depend on earlier uses of its compiled grammar.
    #[test]
    fn responses_do_not_depend_on_earlier_ones(seed in 0u64..1000, others in proptest::collection::vec(0u64..1000, 0..4)) {
        let tokenizer = bytes();
        let settings = GrammarSettings::default();
        let fresh = GrammarCompiler::new(&tokenizer, &[END], settings).expect("a compiler");
        let used = GrammarCompiler::new(&tokenizer, &[END], settings).expect("a compiler");
        let matcher = |compiler: &GrammarCompiler| compiler.compile(&Constraint::JsonSchema(schema())).expect("a schema").matcher();
        for other in others {
            generate(&tokenizer, &mut matcher(&used), other);
        }
        prop_assert_eq!(generate(&tokenizer, &mut matcher(&fresh), seed), generate(&tokenizer, &mut matcher(&used), seed));
    }
}
