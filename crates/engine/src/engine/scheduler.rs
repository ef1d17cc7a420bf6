//! What the engine's thread knows, and the order in which it does things.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::forward::{Forward, ForwardLimits};
use super::lifecycle::EngineState;
use super::memory::KvCacheManager;
use super::metrics::{EngineStats, Rates};
use super::queue::Queue;
use super::sampler::Sampler;
use super::sequence::Sequence;
use super::{EngineOptions, FatalError, FinishReason, RequestError};
use crate::grammar::{GrammarError, MaskPool};
use crate::kv::KvPool;

/// How often those that wait are looked through for deadlines and cancellations.
const SWEEP: Duration = Duration::from_millis(20);
/// How often the figures are published.
const PUBLISH: Duration = Duration::from_millis(50);

/// A model, its memory and the requests that share them.
pub(super) struct Scheduler<F> {
    pub model: F,
    pub limits: ForwardLimits,
    pub memory: KvCacheManager,
    pub queue: Queue,
    /// In order of seq_id.
    pub running: Vec<Sequence>,
    pub masks: MaskPool,
    pub sampler: Sampler,
    pub life: Arc<EngineState>,
    pub step_tokens: usize,
    pub running_max: usize,
    pub prompt_lookup: bool,
    pub stats: EngineStats,
    pub rates: Rates,
    swept: Option<Instant>,
    published: Option<Instant>,
    /// Why no pass can succeed any more, once that is so.
    pub death: Option<FatalError>,
}

impl<F: Forward> Scheduler<F> {
    pub fn new(
        model: F,
        pool: KvPool,
        options: &EngineOptions,
        life: Arc<EngineState>,
    ) -> Result<Self, GrammarError> {
        let (limits, sampler) = (model.limits(), Sampler::new(model.pool()));
        let stats = EngineStats {
            kv_blocks: pool.blocks(),
            kv_bytes: pool.bytes(),
            ..EngineStats::default()
        };
        Ok(Scheduler {
            model,
            limits,
            memory: KvCacheManager::new(pool, options.prefix_cache),
            queue: Queue::default(),
            running: Vec::new(),
            masks: MaskPool::new(options.mask_threads)?,
            sampler,
            life,
            step_tokens: options.step_tokens.clamp(1, limits.rows_max),
            running_max: options.running_max.max(1),
            prompt_lookup: options.prompt_lookup,
            stats,
            rates: Rates::default(),
            swept: None,
            published: None,
            death: None,
        })
    }

    /// Whether there is anything to do.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// Takes a request in.
    pub fn take_in(&mut self, sequence: Sequence) {
        self.queue.put(sequence);
    }

    /// One step: ends what has to end, plans, computes, chooses.
    pub fn step(&mut self) {
        let since = Instant::now();
        self.sweep();
        let shares = self.plan();
        let computed = !shares.is_empty();
        if computed {
            self.compute(&shares);
        }
        if !self.embed() && !computed && !self.running.is_empty() {
            // Cannot be: the oldest gets the blocks of all others. A clear end is better than a
            // thread that spins.
            let blocks = self.memory.pool.blocks();
            self.end(0, FinishReason::Error(RequestError::Stuck { blocks }));
        }
        self.stats.step_s += since.elapsed().as_secs_f64();
        self.publish(false);
    }

    /// Ends what is canceled or out of time.
    fn sweep(&mut self) {
        let now = Instant::now();
        for index in (0..self.running.len()).rev() {
            if let Some(reason) = self.running[index].must_end(now) {
                self.end(index, reason);
            }
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            for (sequence, reason) in self.queue.take_if(|sequence| sequence.must_end(now)) {
                self.finish(sequence, reason);
            }
        }
    }

    /// Ends everything.
    pub fn end_all(&mut self, reason: &FinishReason) {
        for index in (0..self.running.len()).rev() {
            self.end(index, reason.clone());
        }
        for (sequence, reason) in self.queue.take_if(|_| Some(reason.clone())) {
            self.finish(sequence, reason);
        }
    }

    /// Says to all tickets that the engine is gone.
    pub fn die(&mut self, death: &FatalError) {
        let waiting = self.queue.take_if(|_| Some(())).into_iter().map(|(sequence, ())| sequence);
        for sequence in std::mem::take(&mut self.running).into_iter().chain(waiting) {
            sequence.outbox.die(death);
        }
    }

    pub fn running_index(&self, seq_id: u64) -> Option<usize> {
        self.running.binary_search_by_key(&seq_id, |sequence| sequence.seq_id).ok()
    }

    /// Takes a running sequence's blocks; it starts again when there is room.
    pub fn preempt(&mut self, index: usize) {
        let mut sequence = self.running.remove(index);
        self.memory.release(&mut sequence.table);
        sequence.start_over();
        self.stats.preemptions += 1;
        self.queue.put(sequence);
    }

    /// Ends a running sequence.
    pub fn end(&mut self, index: usize, reason: FinishReason) {
        let mut sequence = self.running.remove(index);
        self.memory.release(&mut sequence.table);
        self.finish(sequence, reason);
    }

    /// Ends the first of those that wait.
    pub fn end_first(&mut self, reason: FinishReason) {
        if let Some(sequence) = self.queue.take() {
            self.finish(sequence, reason);
        }
    }

    fn finish(&mut self, sequence: Sequence, reason: FinishReason) {
        if sequence.started.is_none() {
            self.life.queued.fetch_sub(1, Ordering::SeqCst);
        }
        *self.stats.finished.entry(reason.name()).or_default() += 1;
        // Whoever hears of the end finds it in the figures.
        self.publish(true);
        sequence.finish(reason);
    }

    /// Puts the figures where everyone can read them, from time to time or `now`.
    pub fn publish(&mut self, now: bool) {
        let time = Instant::now();
        if !now && self.published.is_some_and(|published| time.duration_since(published) < PUBLISH)
        {
            return;
        }
        self.published = Some(time);
        let usage = self.memory.usage();
        let stats = &mut self.stats;
        (stats.kv_blocks_free, stats.kv_blocks_cached) = (usage.free, usage.cached);
        stats.kv_blocks_used = usage.blocks - usage.free - usage.cached;
        (stats.running, stats.queued) =
            (self.running.len(), self.life.queued.load(Ordering::SeqCst));
        stats.evictions = self.memory.evictions;
        (stats.prefill_tok_s, stats.reply_tok_s) = self.rates.rates(time);
        self.life.publish(stats.clone());
    }
}
