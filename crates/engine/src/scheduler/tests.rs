//! Tests of the scheduler alone, without a model, threads or a clock.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use placement::KvDtype;

use super::*;
use crate::kv::{BLOCK_TOKENS, KvLayout, KvPool};
use crate::sampling::{SampledToken, SamplingParams, SeenTokens};

const EOS: u32 = 0;

/// A sequence output that a test can cancel, and that counts deliveries.
#[derive(Clone, Default)]
struct TestOutput {
    canceled: Rc<Cell<bool>>,
    delivered: Rc<Cell<usize>>,
}

impl SequenceOutput for TestOutput {
    fn is_canceled(&self) -> bool {
        self.canceled.get()
    }

    fn push(&mut self, _token: u32, _logprob: Option<f32>) {}

    fn push_text(&mut self, _token: u32, _section: ReplySection) -> Option<FinishReason> {
        None
    }

    fn deliver(&mut self) {
        self.delivered.set(self.delivered.get() + 1);
    }
}

/// A scheduler with a KV cache and a time that the test sets.
struct Harness {
    scheduler: Scheduler<TestOutput>,
    kv: KvCacheManager,
    now: Instant,
}

impl Harness {
    fn new(blocks: usize, step_tokens: usize) -> Self {
        let layout =
            KvLayout { layers: 1, kv_heads: 1, head_dim: 4, latent_dim: None, dtype: KvDtype::F32 };
        let pool = KvPool::new(layout, blocks).expect("a small pool");
        let config = SchedulerConfig {
            step_tokens,
            running_max: 8,
            logits_rows_max: 8,
            prompt_lookup: false,
        };
        Harness {
            scheduler: Scheduler::new(config),
            kv: KvCacheManager::new(pool, true),
            now: Instant::now(),
        }
    }

    fn add(&mut self, seq_id: u64, prompt: Vec<u32>) -> TestOutput {
        let stop = StopConditions { max_new_tokens: 100, eos: vec![EOS], stop_tokens: Vec::new() };
        let generation =
            GenerationState::new(SamplingParams::greedy(), SeenTokens::default(), stop, None);
        let output = TestOutput::default();
        let task = Task::Generate(Box::new(generation));
        self.scheduler.add(Sequence::new(seq_id, prompt, task, output.clone()));
        output
    }

    fn schedule(&mut self) -> SchedulerOutput {
        self.scheduler.schedule(&mut self.kv, self.now)
    }

    /// Runs a step that samples `token` for each target; returns `(seq_id, rows)` of each scheduled
    /// sequence.
    fn step(&mut self, token: u32) -> Vec<(u64, usize)> {
        let scheduled = self.schedule();
        let rows = rows(&scheduled);
        let sampled = |_: &SampleTarget| vec![Ok(SampledToken { token, logprob: None })];
        let sampled = scheduled.targets.iter().map(sampled).collect();
        self.scheduler.update(scheduled, sampled, &mut self.kv);
        let tables = self.scheduler.running().iter().map(|sequence| &sequence.table);
        self.kv.check(tables).expect("the blocks are accounted for");
        rows
    }

    fn running(&self) -> Vec<u64> {
        self.scheduler.running().iter().map(|sequence| sequence.seq_id).collect()
    }

    fn finished(&mut self) -> Vec<(u64, FinishReason)> {
        let finished = self.scheduler.take_finished();
        finished.into_iter().map(|ended| (ended.sequence.seq_id, ended.reason)).collect()
    }
}

fn rows(scheduled: &SchedulerOutput) -> Vec<(u64, usize)> {
    scheduled.sequences.iter().map(|scheduled| (scheduled.seq_id, scheduled.rows)).collect()
}

/// A prompt that shares no block with the prompt of another seed.
fn prompt(tokens: usize, seed: u32) -> Vec<u32> {
    (0..tokens as u32).map(|index| 1 + seed * 1000 + index).collect()
}

#[test]
fn a_prompt_is_computed_in_chunks_of_the_token_budget() {
    let mut harness = Harness::new(20, 10);
    harness.add(0, prompt(8, 0));
    harness.add(1, prompt(8, 1));
    let scheduled = harness.schedule();
    assert_eq!(rows(&scheduled), [(0, 8), (1, 2)]);
    let targets: Vec<u64> = scheduled.targets.iter().map(|target| target.seq_id).collect();
    assert_eq!(targets, [0], "only a whole prompt gets a token");
}

#[test]
fn decodes_leave_an_eighth_of_the_budget_to_prompts() {
    let mut harness = Harness::new(40, 8);
    for seq_id in 0..8 {
        harness.add(seq_id, prompt(1, seq_id as u32));
    }
    harness.step(7);
    harness.scheduler.config.running_max = 9;
    harness.add(8, prompt(30, 8));
    let scheduled = harness.step(7);
    assert_eq!(scheduled.len(), 8);
    assert_eq!(scheduled[7], (8, 1), "seven decodes and a chunk of the prompt");
    let scheduled = harness.step(7);
    assert_eq!(scheduled[6], (7, 1), "the decode that waited longest comes first");
}

#[test]
fn the_youngest_sequence_is_preempted_and_readmitted() {
    let mut harness = Harness::new(3, 512);
    harness.add(0, prompt(BLOCK_TOKENS - 1, 0));
    harness.step(7);
    harness.add(1, prompt(4, 1));
    assert_eq!(harness.step(7).len(), 2);
    while harness.scheduler.stats.preemptions == 0 {
        harness.step(7);
    }
    assert_eq!(harness.running(), [0]);
    harness.step(EOS);
    assert_eq!(harness.finished(), [(0, FinishReason::Eos)]);
    assert_eq!(harness.step(7), [(1, 1)], "the prefix cache still has its full block");
    assert_eq!(harness.running(), [1]);
}

#[test]
fn a_sequence_waits_for_the_block_that_another_one_computes() {
    let mut harness = Harness::new(20, 512);
    let shared = prompt(2 * BLOCK_TOKENS, 0);
    harness.add(0, [&shared[..], &[5]].concat());
    harness.add(1, [&shared[..], &[6]].concat());
    assert_eq!(harness.step(7), [(0, 2 * BLOCK_TOKENS + 1)]);
    assert_eq!(harness.step(7), [(0, 1), (1, 1)], "the shared blocks are taken from the cache");
    assert_eq!(harness.scheduler.stats.prefix_hit_tokens, 2 * BLOCK_TOKENS as u64);
}

#[test]
fn later_sequences_wait_behind_one_that_lacks_blocks() {
    let mut harness = Harness::new(4, 512);
    harness.add(0, prompt(2 * BLOCK_TOKENS + 1, 0));
    harness.step(7);
    harness.add(1, prompt(2 * BLOCK_TOKENS, 1));
    harness.add(2, prompt(1, 2));
    harness.step(7);
    assert_eq!(harness.running(), [0], "one block is left, which the third would fit into");
    harness.step(EOS);
    harness.step(7);
    assert_eq!(harness.running(), [1, 2]);
}

#[test]
fn deadlines_and_cancellations_end_sequences_at_the_given_time() {
    let mut harness = Harness::new(20, 512);
    let canceled = harness.add(0, prompt(3, 0));
    harness.add(1, prompt(3, 1));
    harness.step(7);
    let deadline = harness.now + Duration::from_secs(5);
    harness.scheduler.running[1].deadline = Some(deadline);
    harness.step(7);
    assert_eq!((harness.finished(), canceled.delivered.get()), (Vec::new(), 2));
    canceled.canceled.set(true);
    harness.now = deadline;
    assert!(harness.step(7).is_empty());
    let mut finished = harness.finished();
    finished.sort_by_key(|&(seq_id, _)| seq_id);
    assert_eq!(finished, [(0, FinishReason::Canceled), (1, FinishReason::Deadline)]);
    assert!(harness.scheduler.is_idle());
}

#[test]
fn sampled_tokens_are_accepted_up_to_the_first_rejected_draft_token() {
    let mut harness = Harness::new(20, 512);
    harness.scheduler.config.prompt_lookup = true;
    harness.add(0, vec![1, 2, 3, 4, 1, 2]);
    let scheduled = harness.schedule();
    assert_eq!(scheduled.targets[0].draft.segments, [[3], [4], [1], [2]]);
    assert_eq!(harness.scheduler.batch(&scheduled).view().logits_for, [5, 6, 7, 8, 9]);
    let sampled = [3, 4, 9].map(|token| Ok(SampledToken { token, logprob: None }));
    harness.scheduler.update(scheduled, vec![sampled.into()], &mut harness.kv);
    let sequence = &harness.scheduler.running()[0];
    assert_eq!(sequence.tokens, [1, 2, 3, 4, 1, 2, 3, 4, 9]);
    assert_eq!(sequence.computed, 8, "the accepted draft tokens are computed, the last is not");
    assert_eq!(harness.scheduler.stats.accepted_draft_tokens, 2);
}
