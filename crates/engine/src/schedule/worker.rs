use super::engine::Stats;
use super::prefix::PrefixCache;
use super::request::{Finish, Refused};
use super::sequence::Sequence;
use crate::batch::{Batch, SequenceSpan};
use crate::kv::{BLOCK_TOKENS, KvPool};
use crate::load::Loaded;
use crate::models::{Model, Scratch};
use crate::sample::{Allowed, Draw, SampleBuffers, choose};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use watch::{Stage, Watch};

/// How long an idle engine sleeps before it looks round.
const IDLE: Duration = Duration::from_millis(100);

/// The engine's thread: owns the model, and turns its queue into passes.
pub(super) struct Worker {
    model: Model,
    kv: KvPool,
    scratch: Scratch,
    requests: Receiver<Sequence>,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    running_max: usize,
    prefixes: PrefixCache,
    buffers: SampleBuffers,
    stats: Arc<Stats>,
    watch: Watch,
    closed: bool,
}

/// Rows of one sequence in the pass that is being made.
struct Part {
    sequence: usize,
    rows: std::ops::Range<usize>,
    /// Index among the logits, if its last row reaches the end of the sequence.
    logits: Option<usize>,
}

impl Worker {
    pub fn new(
        loaded: Loaded,
        requests: Receiver<Sequence>,
        running_max: usize,
        stats: Arc<Stats>,
        watch: Watch,
    ) -> Self {
        let Loaded { model, kv, scratch, .. } = loaded;
        let (waiting, running) = (VecDeque::new(), Vec::new());
        let (prefixes, buffers) = (PrefixCache::default(), SampleBuffers::default());
        Worker {
            model,
            kv,
            scratch,
            requests,
            waiting,
            running,
            running_max,
            prefixes,
            buffers,
            stats,
            watch,
            closed: false,
        }
    }

    /// Works until nobody can hand in requests any more and all are done.
    pub fn run(mut self) {
        let seat = self.watch.seat("engine");
        loop {
            self.receive();
            self.end_early();
            self.admit();
            if self.running.is_empty() {
                // Waiting for work is no stall.
                self.watch.beat();
                if self.closed && self.waiting.is_empty() {
                    return;
                }
                continue;
            }
            seat.at(
                Stage::Generate,
                &format!("{} sequences", self.running.len()),
                self.stats.passes.load(Ordering::Relaxed),
            );
            self.pass();
            seat.advance(0);
        }
    }

    fn receive(&mut self) {
        let timeout = if self.running.is_empty() && self.waiting.is_empty() { IDLE } else { Duration::ZERO };
        let mut next = self.requests.recv_timeout(timeout);
        loop {
            match next {
                Ok(sequence) => self.waiting.push_back(sequence),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
            next = self.requests.recv_timeout(Duration::ZERO);
        }
    }

    fn end_early(&mut self) {
        let stats = &self.stats;
        self.waiting.retain(|sequence| match sequence.ended_early() {
            Some(finish) => {
                stats.waiting.fetch_sub(1, Ordering::Relaxed);
                sequence.finish(finish);
                false
            }
            None => true,
        });
        for at in (0..self.running.len()).rev() {
            if let Some(finish) = self.running[at].ended_early() {
                self.leave(at, Ok(finish));
            }
        }
    }

    /// Lets requests in, oldest first, while their longest outcome fits.
    fn admit(&mut self) {
        while self.running.len() < self.running_max {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let longest = sequence.request.prompt.len() + sequence.request.max_new_tokens;
            let blocks = longest.div_ceil(BLOCK_TOKENS);
            let shared = self.prefixes.find(&sequence.tokens, &mut self.kv);
            let wanted = blocks - shared.len();
            self.prefixes.make_room(wanted, &mut self.kv);
            let Ok(own) = self.kv.alloc_many(wanted) else {
                for block in shared {
                    self.kv.release(block);
                }
                if self.running.is_empty() {
                    self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
                    sequence.fail(Refused::TooLong { tokens: longest, context: self.kv.blocks() * BLOCK_TOKENS });
                    continue;
                }
                self.waiting.push_front(sequence);
                return;
            };
            sequence.computed = shared.len() * BLOCK_TOKENS;
            sequence.cached = sequence.computed;
            sequence.table = shared.into_iter().chain(own).collect();
            self.stats.tokens_cached.fetch_add(sequence.cached as u64, Ordering::Relaxed);
            self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
            self.running.push(sequence);
            self.stats.running.store(self.running.len(), Ordering::Relaxed);
        }
    }

    /// One forward pass: those that decode first, then chunks of prompts.
    fn pass(&mut self) {
        let parts = self.parts();
        let mut tokens = Vec::new();
        for part in &parts {
            let sequence = &self.running[part.sequence];
            tokens.extend_from_slice(&sequence.tokens[sequence.computed..][..part.rows.len()]);
        }
        let spans: Vec<SequenceSpan> = parts
            .iter()
            .map(|part| {
                let sequence = &self.running[part.sequence];
                SequenceSpan {
                    rows: part.rows.clone(),
                    first_position: sequence.computed,
                    block_table: &sequence.table,
                }
            })
            .collect();
        let logits_for: Vec<usize> = parts.iter().filter(|p| p.logits.is_some()).map(|p| p.rows.end - 1).collect();
        let batch = Batch { tokens: &tokens, sequences: &spans, logits_for: &logits_for };
        let mut logits = match self.model.forward(&batch, &mut self.kv, &mut self.scratch) {
            Ok(logits) => logits,
            Err(error) => {
                let why = error.to_string();
                drop(spans);
                (0..self.running.len()).rev().for_each(|at| self.leave(at, Err(Refused::Failed(why.clone()))));
                return;
            }
        };
        drop(spans);
        self.stats.passes.fetch_add(1, Ordering::Relaxed);
        self.stats.tokens_computed.fetch_add(tokens.len() as u64, Ordering::Relaxed);
        let mut ends = Vec::new();
        for part in parts {
            let sequence = &mut self.running[part.sequence];
            sequence.computed += part.rows.len();
            let Some(row) = part.logits else { continue };
            let before = sequence.tokens.len();
            if let Some(end) = advance(sequence, logits.row_mut(row), &mut self.buffers).transpose() {
                ends.push((part.sequence, end));
            }
            self.stats.tokens_out.fetch_add((sequence.tokens.len() - before) as u64, Ordering::Relaxed);
        }
        ends.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        ends.into_iter().for_each(|(at, end)| self.leave(at, end));
    }

    fn parts(&self) -> Vec<Part> {
        let (rows_max, logits_max) = (self.scratch.rows_max(), self.scratch.logits_rows_max());
        let (mut rows, mut logits) = (0, 0);
        let mut parts = Vec::new();
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by_key(|at| self.running[*at].pending() > 1);
        for at in order {
            let take = self.running[at].pending().min(rows_max - rows);
            let reaches_end = take == self.running[at].pending();
            if take == 0 || (reaches_end && logits == logits_max) {
                break;
            }
            parts.push(Part { sequence: at, rows: rows..rows + take, logits: reaches_end.then_some(logits) });
            rows += take;
            logits += usize::from(reaches_end);
        }
        parts
    }

    /// Takes a sequence out, keeps its full blocks for others, and tells its end.
    fn leave(&mut self, at: usize, end: Result<Finish, Refused>) {
        let sequence = self.running.remove(at);
        if end.is_ok() {
            self.prefixes.keep(&sequence.tokens[..sequence.computed], &sequence.table, &mut self.kv);
        }
        for block in &sequence.table {
            self.kv.release(*block);
        }
        self.stats.running.store(self.running.len(), Ordering::Relaxed);
        match end {
            Ok(finish) => sequence.finish(finish),
            Err(why) => sequence.fail(why),
        }
    }
}

/// Chooses the next token of a sequence, and takes what can only follow it. `Some` is its end.
fn advance(
    sequence: &mut Sequence,
    logits: &mut [f32],
    buffers: &mut SampleBuffers,
) -> Result<Option<Finish>, Refused> {
    let invalid = |e: crate::constrain::GrammarError| Refused::Invalid(e.to_string());
    let mask = sequence.constraint.as_mut().map(|c| c.mask().map_err(invalid)).transpose()?;
    let draw = Draw {
        sampling: &sequence.request.sampling,
        allowed: mask.as_ref().map(|mask| Allowed::new(mask.as_slice())),
        seen: Some(&sequence.seen),
        position: sequence.tokens.len(),
        logprob: false,
    };
    let token = choose(logits, &draw, buffers).map_err(|e| Refused::Failed(e.to_string()))?.token;
    if sequence.request.stop_tokens.contains(&token) {
        return Ok(Some(Finish::Stop));
    }
    let mut new = vec![token];
    if let Some(constraint) = &mut sequence.constraint {
        constraint.take(token).map_err(invalid)?;
        new.extend(constraint.forced());
    }
    let at_limit = sequence.extend(&new);
    let complete = sequence.constraint.as_ref().is_some_and(crate::constrain::Constraint::is_finished);
    Ok(match (complete, at_limit) {
        (true, _) => Some(Finish::Stop),
        (false, true) => Some(Finish::Length),
        (false, false) => None,
    })
}
