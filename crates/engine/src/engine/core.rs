//! The engine's step: schedule, start masks, forward, sample, update. Corresponds to vLLM's
//! `EngineCore`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::lifecycle::{EngineState, FatalError};
use super::masks::StepMasks;
use super::metrics::MetricsRecorder;
use super::response::ResponseOutput;
use super::runner::Forward;
use super::sampler::Sampler;
use super::{EngineOptions, FinishReason, RequestError};
use crate::batch::Batch;
use crate::grammar::{GrammarError, MaskPool};
use crate::kv::{KvCacheManager, KvPool};
use crate::models::ForwardError;
use crate::scheduler::{
    FinishedSequence, SampledTokens, Scheduler, SchedulerConfig, SchedulerOutput, Sequence,
};

/// How long a step waits for its grammar masks after its forward pass.
const MASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A model, its KV cache, and the sequences that share them.
pub(super) struct EngineCore<F> {
    model: F,
    pub kv_cache: KvCacheManager,
    pub scheduler: Scheduler<ResponseOutput>,
    mask_pool: MaskPool,
    sampler: Sampler,
    metrics: MetricsRecorder,
    pub state: Arc<EngineState>,
    /// Set when a forward pass fails in such a way that no later pass can succeed.
    pub fatal_error: Option<FatalError>,
}

impl<F: Forward> EngineCore<F> {
    pub fn new(
        model: F,
        pool: KvPool,
        options: &EngineOptions,
        state: Arc<EngineState>,
    ) -> Result<Self, GrammarError> {
        let limits = model.limits();
        let config = SchedulerConfig {
            step_tokens: options.step_tokens.clamp(1, limits.rows_max),
            running_max: options.running_max.max(1),
            logits_rows_max: limits.logits_rows_max,
            prompt_lookup: options.prompt_lookup,
        };
        Ok(EngineCore {
            sampler: Sampler::new(model.pool()),
            model,
            metrics: MetricsRecorder::new(&pool),
            kv_cache: KvCacheManager::new(pool, options.prefix_cache),
            scheduler: Scheduler::new(config),
            mask_pool: MaskPool::new(options.mask_threads)?,
            state,
            fatal_error: None,
        })
    }

    /// Computes the next tokens of all scheduled sequences, and one chunk of one embedding request.
    pub fn step(&mut self) {
        let began = Instant::now();
        let mut scheduled = self.scheduler.schedule(&mut self.kv_cache, began);
        self.state.queued.fetch_sub(scheduled.started, Ordering::SeqCst);
        self.complete_finished();
        let generates = !scheduled.sequences.is_empty();
        if generates {
            match self.execute(&mut scheduled) {
                Ok(sampled) => self.update(scheduled, sampled),
                Err(cause) => self.fail(&scheduled, cause),
            }
        }
        let embeds = self.embed();
        if !generates && !embeds {
            // Cannot happen, because the oldest sequence can preempt all others. If it does, an
            // error is better than an endless loop.
            let blocks = self.kv_cache.pool.blocks();
            let reason = FinishReason::Error(RequestError::Stuck { blocks });
            self.scheduler.finish_oldest(reason, &mut self.kv_cache);
        }
        self.complete_finished();
        self.metrics.add_step(began.elapsed());
        self.publish(false);
    }

    /// Computes the scheduled tokens while mask threads compute the grammar masks, then samples the
    /// next tokens of the targets.
    fn execute(
        &mut self,
        scheduled: &mut SchedulerOutput,
    ) -> Result<Vec<SampledTokens>, ForwardError> {
        let metrics = &mut self.metrics;
        let masks =
            StepMasks::start(&mut self.mask_pool, &mut self.scheduler, &mut scheduled.targets);
        let began = Instant::now();
        let batch = self.scheduler.batch(scheduled);
        let logits = self.model.forward(&batch.view(), &mut self.kv_cache.pool);
        let computed = metrics.add_forward(began);
        let logits = logits?;
        let masks = masks.wait(MASK_TIMEOUT, &mut self.scheduler);
        let masked = metrics.add_mask_wait(computed);
        let sampled = self.sampler.sample(logits, &masks, &scheduled.targets, &self.scheduler);
        metrics.add_sampling(masked);
        sampled
    }

    fn update(&mut self, scheduled: SchedulerOutput, sampled: Vec<SampledTokens>) {
        let before = self.scheduler.stats;
        self.scheduler.update(scheduled, sampled, &mut self.kv_cache);
        self.metrics.add_tokens(&before, &self.scheduler.stats);
    }

    fn fail(&mut self, scheduled: &SchedulerOutput, cause: ForwardError) {
        self.fatal_error = FatalError::from_forward(&cause);
        self.scheduler.fail(scheduled, &cause.into(), &mut self.kv_cache);
    }

    /// Computes the next chunk of the oldest embedding request; false if there is no such request
    /// or there are too few KV blocks.
    fn embed(&mut self) -> bool {
        let Some(scheduled) = self.scheduler.schedule_embedding(&mut self.kv_cache) else {
            return false;
        };
        let Some(sequence) = self.scheduler.get(scheduled.seq_id) else { return false };
        let (tokens, span) = sequence.next_span(scheduled.rows);
        let logits_for: Vec<usize> = (0..scheduled.rows).collect();
        let batch = Batch { tokens, sequences: &[span], logits_for: &logits_for };
        let hidden = self.model.hidden(&batch, &mut self.kv_cache.pool).map_err(|cause| {
            self.fatal_error = self.fatal_error.take().or(FatalError::from_forward(&cause));
            RequestError::from(cause)
        });
        self.scheduler.update_embedding(scheduled, hidden, &mut self.kv_cache);
        true
    }

    /// Ends all requests.
    pub fn finish_all(&mut self, reason: &FinishReason) {
        self.scheduler.finish_all(reason, &mut self.kv_cache);
        self.complete_finished();
    }

    /// Sends the completions of the sequences that ended. The statistics are published first, so
    /// that a client that has received its completion finds the request counted in them.
    fn complete_finished(&mut self) {
        let finished = self.scheduler.take_finished();
        if finished.is_empty() {
            return;
        }
        for FinishedSequence { sequence, reason } in &finished {
            if sequence.started.is_none() {
                self.state.queued.fetch_sub(1, Ordering::SeqCst);
            }
            self.metrics.add_finished(reason);
        }
        self.publish(true);
        for FinishedSequence { sequence, reason } in finished {
            ResponseOutput::complete(sequence, reason);
        }
    }

    /// Reports a fatal error to all requests that have not ended.
    pub fn fail_all(&mut self, error: &FatalError) {
        self.complete_finished();
        for Sequence { output, .. } in self.scheduler.take_all() {
            output.fail(error);
        }
    }

    /// Publishes the statistics if the interval has passed or `now` is true.
    pub fn publish(&mut self, now: bool) {
        if let Some(stats) = self.metrics.due(now) {
            stats.running = self.scheduler.running().len();
            stats.queued = self.state.queued.load(Ordering::SeqCst);
            stats.set_scheduler(&self.scheduler.stats);
            stats.expert_cache = self.model.expert_cache();
            stats.set_kv_cache(&self.kv_cache.usage(), self.kv_cache.evictions);
            self.state.publish(stats.clone());
        }
    }

    /// Number of forward passes so far.
    pub fn steps(&self) -> u64 {
        self.scheduler.stats.steps
    }
}
