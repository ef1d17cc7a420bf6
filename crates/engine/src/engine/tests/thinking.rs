//! Tests of thinking before the answer: with the toy model, whose only correct response is computed
//! without an engine, and under a schema with a tiny Llama.

use std::sync::Arc;

use serde_json::{Value, json};
use text::thinking::{ThinkingMarks, ThinkingStart};

use super::tiny_llama;
use super::toy_model::{EOS, TestRng, Toy, VOCAB, WAIT, engine, expected, options, pool, workload};
use crate::engine::{
    Completion, Engine, EngineOptions, FinishReason, Request, RequestError, ResponseEvent,
    SubmitError, Thinking,
};
use crate::grammar::Constraint;
use crate::grammar::tests::tokenizers::{bytes, tiny_model};
use crate::kv::BLOCK_TOKENS;
use crate::sampling::SamplingParams;

/// Marks of the toy model: the end is a single token, which the model samples every few tokens.
fn marks() -> ThinkingMarks {
    ThinkingMarks {
        begin: vec![41],
        end: vec![42],
        at_start: Vec::new(),
        within: Vec::new(),
        before_end: vec![43],
        behind_end: vec![44, 45],
    }
}

fn thinking(budget: Option<usize>) -> Thinking {
    Thinking { marks: Arc::new(marks()), start: ThinkingStart::Opened, budget }
}

fn run(engine: &Engine, requests: &[Request]) -> Vec<Completion> {
    let handles: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("accepted")).collect();
    handles.iter().map(|handle| handle.wait(WAIT).expect("a reply")).collect()
}

/// The only correct response: tokens, reason and the number of tokens of thinking. It is made of
/// the responses to two prompts, of which the first one ends at the end of the thinking.
fn expected_thinking(request: &Request) -> (Vec<u32>, FinishReason, usize) {
    let Thinking { marks, budget, .. } = request.thinking.clone().expect("thinking");
    let limit = request.max_new_tokens;
    let budget = budget.unwrap_or(limit);
    let mut first = Request { thinking: None, ..request.clone() };
    first.stop_tokens.push(marks.end[0]);
    let (mut tokens, mut reason) = (Vec::new(), FinishReason::Length);
    if budget > 0 {
        first.max_new_tokens = budget.min(limit);
        (tokens, reason) = expected(&first);
    }
    // Whether the model itself ended the thinking: it is the one stop token that goes on.
    let count = tokens.len();
    let is_end = reason == FinishReason::Stop && next_is_end(&first, &tokens);
    match reason {
        FinishReason::Stop if is_end => tokens.extend(&marks.end),
        FinishReason::Length if count < limit => {
            tokens.extend([&marks.before_end[..], &marks.end, &marks.behind_end].concat());
        }
        other => return (tokens, other, count),
    }
    if tokens.len() >= limit {
        tokens.truncate(limit);
        return (tokens, FinishReason::Length, count);
    }
    let mut second = Request { thinking: None, ..request.clone() };
    second.prompt.extend(&tokens);
    second.max_new_tokens = limit - tokens.len();
    let (answer, reason) = expected(&second);
    tokens.extend(answer);
    (tokens, reason, count)
}

/// Whether the token behind `tokens` is the end of the thinking, and not another stop token.
fn next_is_end(request: &Request, tokens: &[u32]) -> bool {
    let end = *request.stop_tokens.last().expect("the end");
    let mut longer = request.clone();
    longer.stop_tokens.retain(|&token| token != end);
    longer.max_new_tokens = tokens.len() + 1;
    expected(&longer).0.get(tokens.len()) == Some(&end)
}

fn thinking_workload(seed: u64, count: usize) -> Vec<Request> {
    let mut numbers = TestRng(seed);
    let mut requests = workload(seed, count);
    for request in &mut requests {
        let budget = [None, Some(0), Some(1), Some(7), Some(30)][numbers.below(5)];
        request.thinking = Some(thinking(budget));
    }
    requests
}

#[test]
fn thinking_is_the_same_alone_and_in_any_batch() {
    let requests = thinking_workload(11, 80);
    let expected: Vec<_> = requests.iter().map(expected_thinking).collect();
    let longest = requests.iter().map(|request| request.prompt.len() + request.max_new_tokens + 1);
    let fewest = longest.max().unwrap_or(1).div_ceil(BLOCK_TOKENS);
    let mut preemptions = 0;
    for (blocks, running_max, step_tokens, prompt_lookup) in [
        (400, 1, 512, false),
        (400, 32, 512, true),
        (400, 7, 13, true),
        (fewest, 32, 64, true),
        (fewest + 2, 7, 200, true),
    ] {
        let options = EngineOptions { running_max, step_tokens, prompt_lookup, ..options() };
        let engine = engine(blocks, options);
        for (completion, expected) in run(&engine, &requests).iter().zip(&expected) {
            let found = (&completion.reply.tokens, &completion.reason, completion.reasoning_tokens);
            assert_eq!(found, (&expected.0, &expected.1, expected.2));
        }
        preemptions += engine.stats().preemptions;
    }
    let ended = requests.iter().zip(&expected).filter(|(request, (tokens, ..))| {
        request.thinking.as_ref().is_some_and(|t| t.budget.is_none()) && tokens.contains(&42)
    });
    assert!(ended.count() > 3 && preemptions > 0, "too easy a test");
}

#[test]
fn the_length_limit_and_an_end_token_hold_within_thinking() {
    let engine = engine(100, options());
    let mut request = Request::new(vec![5, 6, 7], 4);
    (request.thinking, request.ignore_eos) = (Some(thinking(Some(4))), true);
    let completion = engine.submit(request.clone()).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!(completion.reason, FinishReason::Length);
    assert!(completion.reply.tokens.len() == 4 && completion.reasoning_tokens <= 4);
    // The mark is cut off at the limit.
    request.thinking = Some(thinking(Some(0)));
    request.max_new_tokens = 2;
    let completion = engine.submit(request.clone()).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!((completion.reply.tokens, completion.reason), (vec![43, 42], FinishReason::Length));
    // A prompt after which the toy model ends its reply within the thinking.
    let ends = |prompt: &Vec<u32>| {
        let (tokens, reason) = expected(&Request::new(prompt.clone(), 20));
        reason == FinishReason::Eos && !tokens.contains(&42)
    };
    let prompt = (1..40).flat_map(|a| (1..40).map(move |b| vec![a, b])).find(ends).expect("one");
    let mut request = Request::new(prompt, 20);
    request.thinking = Some(thinking(None));
    let completion = engine.submit(request).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!((completion.reason, completion.stop_token), (FinishReason::Eos, Some(EOS)));
    assert_eq!(completion.reasoning_tokens, completion.reply.tokens.len());
}

#[test]
fn forced_marks_cost_no_pass_of_their_own() {
    let engine = engine(100, options());
    let mut request = Request::new(vec![5, 6, 7], 1 + 4 + 3);
    (request.thinking, request.ignore_eos) = (Some(thinking(Some(1))), true);
    let marks = thinking(None).marks;
    // The toy model's first token must not be the end itself.
    assert_ne!(expected(&Request::new(vec![5, 6, 7], 1)).0, marks.end);
    let completion = engine.submit(request).expect("accepted").wait(WAIT).expect("a reply");
    assert_eq!((completion.forced_tokens, completion.reply.tokens.len()), (4, 8));
    assert_eq!(engine.stats().steps, 4, "one of thinking, three of the answer");
}

#[test]
fn marks_beyond_the_vocabulary_are_refused() {
    let engine = Engine::start(Toy::new(9), pool(9), options()).expect("an engine");
    let mut request = Request::new(vec![1], 5);
    request.thinking = Some(Thinking {
        marks: Arc::new(ThinkingMarks { end: vec![999], ..marks() }),
        ..thinking(None)
    });
    let refused = engine.submit(request).expect_err("no such token");
    let expected = RequestError::ThinkingMark { token: 999, vocab: VOCAB };
    assert_eq!(refused, SubmitError::Request(expected));
}

fn schema() -> Constraint {
    Constraint::JsonSchema(json!({
        "type": "object",
        "properties": {"tool": {"enum": ["order", "wait"]}, "sure": {"type": "boolean"}},
        "required": ["tool", "sure"],
        "additionalProperties": false
    }))
}

/// Constrained requests that think, with and without a budget, and some that end the thinking by an
/// end token. The marks are tokens of text, which must not reach the text.
fn constrained() -> Vec<Request> {
    let tokenizer = bytes();
    let ids = |text: &str| tokenizer.encode(text, false).expect("ids");
    let marks = Arc::new(ThinkingMarks {
        begin: ids("~"),
        end: ids("^"),
        at_start: Vec::new(),
        within: Vec::new(),
        before_end: ids("\n"),
        behind_end: ids("\n\n"),
    });
    let request = |seed: u64| {
        let start =
            if seed.is_multiple_of(3) { ThinkingStart::ByModel } else { ThinkingStart::Opened };
        let budget = Some(seed as usize % 40);
        Request {
            thinking: Some(Thinking { marks: Arc::clone(&marks), start, budget }),
            sampling: SamplingParams::at(1.0, seed),
            constraint: Some(schema()),
            ..Request::new(vec![1, 40, 50, 60, 1, 40, 50, 60, seed as u32 % 7], 200)
        }
    };
    (0..60).map(request).collect()
}

#[test]
fn a_schema_binds_when_the_thinking_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = tiny_model(folder.path());
    let requests = constrained();
    let slow = EngineOptions {
        running_max: 1,
        mask_threads: 0,
        prompt_lookup: false,
        ..tiny_llama::options()
    };
    let alone = run(&tiny_llama::engine(&checkpoint, 256, 1, slow), &requests);
    for (request, completion) in requests.iter().zip(&alone) {
        let reply = &completion.reply;
        let value: Value = serde_json::from_str(&reply.text).expect("JSON");
        assert!(value["sure"].is_boolean() && reply.text.starts_with('{'), "{reply:?}");
        let budget = request.thinking.as_ref().and_then(|thinking| thinking.budget);
        assert!(completion.reasoning_tokens <= budget.expect("a budget"));
        assert!(reply.reasoning.is_empty() || completion.reasoning_tokens > 0, "{reply:?}");
        assert!(!reply.reasoning.contains(['^']) && !reply.text.contains(['~', '^']));
    }
    let lengths = alone.iter().map(|completion| completion.reasoning_tokens).sum::<usize>();
    assert!(lengths > 600, "{lengths} tokens of thinking: too easy a test");
    for (running_max, mask_threads, concurrency) in [(60, 1, 60), (7, 3, 2)] {
        let options = EngineOptions { running_max, mask_threads, ..tiny_llama::options() };
        let engine = tiny_llama::engine(&checkpoint, 256, concurrency, options);
        for (alone, among) in alone.iter().zip(run(&engine, &requests)) {
            assert_eq!((&alone.reply, &alone.reason), (&among.reply, &among.reason));
            assert_eq!(alone.reasoning_tokens, among.reasoning_tokens);
        }
    }
}

#[test]
fn deltas_hold_reasoning_and_answer_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = tiny_llama::engine(&tiny_model(folder.path()), 256, 1, tiny_llama::options());
    let request = constrained().swap_remove(32);
    let handle = engine.submit(request).expect("accepted");
    let (mut reasoning, mut text) = (String::new(), String::new());
    let completion = loop {
        match handle.next(WAIT).expect("an event") {
            ResponseEvent::Delta(delta) => {
                assert!(text.is_empty() || delta.reasoning.is_empty(), "reasoning comes first");
                reasoning.push_str(&delta.reasoning);
                text.push_str(&delta.text);
            }
            ResponseEvent::Completion(completion) => break completion,
        }
    };
    assert!(!reasoning.is_empty());
    assert_eq!((reasoning, text), (completion.reply.reasoning, completion.reply.text));
}
