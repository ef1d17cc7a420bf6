//! Tests that block tables, reference counts, prefix cache and counters agree after every step of
//! the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::toy_model::{EOS, Toy, expected, options, pool, workload};
use crate::engine::core::EngineCore;
use crate::engine::lifecycle::EngineState;
use crate::engine::response::{ResponseOutput, channel};
use crate::engine::{EngineOptions, Request, ResponseEvent, ResponseHandle};
use crate::sampling::SeenTokens;
use crate::scheduler::{GenerationState, Sequence, StopConditions, Task};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Steps an engine core directly and cancels some requests. Checks the accounting after every
    /// step, and that every response is correct.
    #[test]
    fn accounting_holds_after_every_step(
        seed: u64, running_max in 1usize..12, step_tokens in 1usize..200, logits_rows_max in 1usize..9, spare in 0usize..12,
        canceled in proptest::collection::vec((0usize..20, 0usize..60), 0..8),
    ) {
        let requests = workload(seed, 20);
        let mut toy = Toy::new(12 + spare);
        toy.limits.logits_rows_max = logits_rows_max;
        let options = EngineOptions { running_max, step_tokens, mask_threads: 0, ..options() };
        let mut core = EngineCore::new(toy, pool(12 + spare), &options, Arc::new(EngineState::default())).expect("a core");
        let mut handles: Vec<Option<ResponseHandle>> = Vec::new();
        let mut step = 0;
        loop {
            // Adds two more requests before every step.
            for request in requests.iter().skip(handles.len()).take(2) {
                let (sequence, handle) = sequence(handles.len() as u64, request);
                core.state.queued.fetch_add(1, Ordering::SeqCst);
                core.scheduler.add(sequence);
                handles.push(Some(handle));
            }
            for &(number, _) in canceled.iter().filter(|&&(_, at)| at == step) {
                handles.get_mut(number).map(Option::take);
            }
            core.step();
            step += 1;
            let running = core.scheduler.running();
            core.kv_cache.check(running.iter().map(|sequence| &sequence.table)).map_err(TestCaseError::fail)?;
            prop_assert!(running.len() <= running_max);
            prop_assert!(running.is_sorted_by_key(|sequence| sequence.seq_id));
            if handles.len() == requests.len() && core.scheduler.is_idle() {
                break;
            }
            prop_assert!(step < 200_000, "the requests do not end");
        }
        let usage = core.kv_cache.usage();
        prop_assert_eq!(usage.free + usage.cached, 12 + spare);
        prop_assert_eq!(core.state.queued.load(Ordering::SeqCst), 0);
        for (request, handle) in requests.iter().zip(handles).filter_map(|(request, handle)| Some((request, handle?))) {
            let mut event = handle.try_next().expect("no fatal error").expect("an event");
            while let ResponseEvent::Delta(_) = event {
                event = handle.try_next().expect("no fatal error").expect("an event");
            }
            let ResponseEvent::Completion(completion) = event else { unreachable!("deltas are over") };
            prop_assert_eq!((completion.reply.tokens, completion.reason), expected(request));
        }
    }
}

fn sequence(seq_id: u64, request: &Request) -> (Sequence<ResponseOutput>, ResponseHandle) {
    let (sender, handle) = channel(None);
    let mut seen = SeenTokens::default();
    seen.extend(&request.prompt);
    let stop = StopConditions {
        max_new_tokens: request.max_new_tokens,
        eos: if request.ignore_eos { Vec::new() } else { vec![EOS] },
        stop_tokens: request.stop_tokens.clone(),
    };
    let generation = GenerationState::new(request.sampling, seen, stop, None);
    let output = ResponseOutput::new(sender).with_text(None, Vec::new(), false);
    let task = Task::Generate(Box::new(generation));
    (Sequence::new(seq_id, request.prompt.clone(), task, output), handle)
}
