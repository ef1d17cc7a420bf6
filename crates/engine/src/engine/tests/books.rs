//! The books: blocks, tables, tree and counts agree after every step, whatever comes.

use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::toy::{Toy, expected, options, pool, workload};
use crate::engine::detokenizer::Detokenizer;
use crate::engine::lifecycle::EngineState;
use crate::engine::mailbox::mailbox;
use crate::engine::memory::{BlockTable, KvCacheManager};
use crate::engine::ngram_proposer::DraftLength;
use crate::engine::reply::{Limits, Reply};
use crate::engine::scheduler::Scheduler;
use crate::engine::sequence::{Sequence, Task};
use crate::engine::{Delta, DraftStats, EngineOptions, Request, ResponseEvent, ResponseHandle};
use crate::kv::BLOCK_TOKENS;

const BLOCKS: usize = 12;

/// A sequence as the memory sees it.
#[derive(Default)]
struct Holder {
    table: BlockTable,
    tokens: Vec<u32>,
    computed: usize,
}

/// What has been written to each block.
type Written = Vec<[u32; BLOCK_TOKENS]>;

impl Holder {
    /// Computes up to `end` and checks that all it would read is its own.
    fn compute(&mut self, memory: &mut KvCacheManager, end: usize, written: &mut Written) {
        if !memory.reserve(&mut self.table, end) {
            return;
        }
        for position in self.computed..end {
            let block = self.table.blocks[position / BLOCK_TOKENS];
            assert_eq!(memory.pool.references(block), 1, "written to while shared");
            written[block as usize][position % BLOCK_TOKENS] = self.tokens[position];
        }
        self.computed = end;
        memory.commit(&mut self.table, &self.tokens, end);
        for position in 0..end {
            let block = self.table.blocks[position / BLOCK_TOKENS];
            assert_eq!(
                written[block as usize][position % BLOCK_TOKENS],
                self.tokens[position],
                "position {position}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Sequences with common beginnings come, grow and go in any order.
    #[test]
    fn no_block_is_lost_or_used_twice(
        steps in proptest::collection::vec((0u8..4, 0usize..5, 1usize..150, 0u32..3), 1..120),
    ) {
        let mut memory = KvCacheManager::new(pool(BLOCKS), true);
        let mut written: Written = vec![[u32::MAX; BLOCK_TOKENS]; BLOCKS];
        let mut holders: Vec<Holder> = (0..5).map(|_| Holder::default()).collect();
        for (step, pick, amount, kind) in steps {
            let holder = &mut holders[pick];
            match step {
                // Comes: its first 64 tokens are one of three beginnings.
                0 if holder.tokens.is_empty() => {
                    holder.tokens = (0..200u32).map(|i| if i < 64 { kind } else { kind + pick as u32 * 1000 + i }).collect();
                    holder.computed = memory.adopt(&mut holder.table, &holder.tokens, 0);
                }
                // Grows.
                1 | 2 if !holder.tokens.is_empty() => {
                    holder.computed = memory.adopt(&mut holder.table, &holder.tokens, holder.computed);
                    let end = (holder.computed + amount).min(holder.tokens.len());
                    holder.compute(&mut memory, end, &mut written);
                }
                // Goes.
                3 => {
                    memory.release(&mut holder.table);
                    *holder = Holder::default();
                }
                _ => {}
            }
            memory.check(holders.iter().map(|holder| &holder.table)).map_err(TestCaseError::fail)?;
        }
        holders.iter_mut().for_each(|holder| memory.release(&mut holder.table));
        let usage = memory.usage();
        prop_assert_eq!(usage.free + usage.cached, BLOCKS, "all come back");
    }

    /// A scheduler stepped by hand: the books agree after every step, and no reply is wrong.
    #[test]
    fn the_schedulers_books_agree(
        seed: u64, running_max in 1usize..12, step_tokens in 1usize..200, logits_rows_max in 1usize..9, spare in 0usize..12,
        canceled in proptest::collection::vec((0usize..20, 0usize..60), 0..8),
    ) {
        let requests = workload(seed, 20);
        let mut toy = Toy::new(12 + spare);
        toy.limits.logits_rows_max = logits_rows_max;
        let options = EngineOptions { running_max, step_tokens, mask_threads: 0, ..options() };
        let mut scheduler = Scheduler::new(toy, pool(12 + spare), &options, Arc::new(EngineState::default())).expect("a scheduler");
        let mut tickets: Vec<Option<ResponseHandle>> = Vec::new();
        let mut step = 0;
        loop {
            // Two come with every step.
            for request in requests.iter().skip(tickets.len()).take(2) {
                let (sequence, ticket) = sequence(tickets.len() as u64, request);
                scheduler.life.queued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                scheduler.take_in(sequence);
                tickets.push(Some(ticket));
            }
            for &(number, _) in canceled.iter().filter(|&&(_, at)| at == step) {
                tickets.get_mut(number).map(Option::take);
            }
            scheduler.step();
            step += 1;
            let tables = scheduler.running.iter().map(|sequence| &sequence.table);
            scheduler.memory.check(tables).map_err(TestCaseError::fail)?;
            prop_assert!(scheduler.running.len() <= running_max);
            prop_assert!(scheduler.running.is_sorted_by_key(|sequence| sequence.seq_id));
            if tickets.len() == requests.len() && scheduler.is_idle() {
                break;
            }
            prop_assert!(step < 200_000, "it does not end");
        }
        let usage = scheduler.memory.usage();
        prop_assert_eq!(usage.free + usage.cached, 12 + spare);
        prop_assert_eq!(scheduler.life.queued.load(std::sync::atomic::Ordering::SeqCst), 0);
        for (request, ticket) in requests.iter().zip(tickets).filter_map(|(request, ticket)| Some((request, ticket?))) {
            let mut event = ticket.try_next().expect("alive").expect("an end");
            while let ResponseEvent::Delta(_) = event {
                event = ticket.try_next().expect("alive").expect("an end");
            }
            let ResponseEvent::Completion(finished) = event else { unreachable!("pieces are over") };
            prop_assert_eq!((finished.reply.tokens, finished.reason), expected(request));
        }
    }
}

fn sequence(seq_id: u64, request: &Request) -> (Sequence, ResponseHandle) {
    let (outbox, ticket) = mailbox(None);
    let mut seen = crate::sampling::SeenTokens::default();
    seen.extend(&request.prompt);
    let reply = Reply {
        sampling: request.sampling,
        seen,
        limits: Limits {
            max_new_tokens: request.max_new_tokens,
            eos: if request.ignore_eos { Vec::new() } else { vec![super::toy::EOS] },
            stop_tokens: request.stop_tokens.clone(),
            logprobs: false,
        },
        text: Detokenizer::new(None, Vec::new()),
        constrained: false,
        form: None,
        guide: None,
        cancellation: None,
        whole: Delta::default(),
        news: Delta::default(),
        forced_tokens: 0,
        ahead: DraftLength::new(),
        drafts: DraftStats::default(),
        stop_token: None,
    };
    let sequence = Sequence {
        seq_id,
        prompt_tokens: request.prompt.len(),
        tokens: request.prompt.clone(),
        computed: 0,
        table: BlockTable::default(),
        work: Task::Reply(Box::new(reply)),
        decoding: false,
        started: None,
        last_step: 0,
        cached_prompt_tokens: 0,
        preempted: false,
        outbox,
        submitted: Instant::now(),
        first_token: None,
        deadline: None,
    };
    (sequence, ticket)
}
