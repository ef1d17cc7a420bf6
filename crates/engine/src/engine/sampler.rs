//! Samples the tokens of a step on the model's threads, which are idle between forward passes.

use base::unpoisoned;
use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use device::pool::Pool;

use super::RequestError;
use super::masks::TargetMasks;
use super::response::ResponseOutput;
use crate::batch::Logits;
use crate::grammar::TokenMask;
use crate::models::ForwardError;
use crate::sampling::{SampleBuffers, SampleInput, SampledToken, sample};
use crate::scheduler::{SampleTarget, SampledTokens, Scheduler, Sequence};

/// Samples the next tokens of all targets of a step.
pub(super) struct Sampler {
    pool: Option<Arc<Pool>>,
    /// Buffers that no thread is using; at most one for each thread.
    buffers: Mutex<Vec<SampleBuffers>>,
}

/// One sample target with its rows of logits.
struct SampleJob<'a> {
    /// Logits after the sequence's last token and after each draft segment, `[vocab]` each.
    rows: Vec<&'a mut [f32]>,
    sequence: Option<&'a Sequence<ResponseOutput>>,
    masks: &'a TargetMasks,
    segments: &'a [Vec<u32>],
}

impl Sampler {
    pub fn new(pool: Option<Arc<Pool>>) -> Self {
        Sampler { pool, buffers: Mutex::default() }
    }

    /// The sampled tokens of each target. They depend on the target's own rows and sequence, not on
    /// the thread or on other targets.
    ///
    /// # Errors
    /// If a thread panicked.
    pub fn sample(
        &self,
        mut logits: Logits,
        masks: &[TargetMasks],
        targets: &[SampleTarget],
        scheduler: &Scheduler<ResponseOutput>,
    ) -> Result<Vec<SampledTokens>, ForwardError> {
        let mut rows = logits.rows_mut();
        let mut jobs = Vec::with_capacity(targets.len());
        for (target, masks) in targets.iter().zip(masks) {
            jobs.push(SampleJob {
                rows: rows.by_ref().take(target.logits_rows()).collect(),
                sequence: scheduler.get(target.seq_id),
                masks,
                segments: &target.draft.segments,
            });
        }
        self.run(jobs)
    }

    fn run(&self, jobs: Vec<SampleJob>) -> Result<Vec<SampledTokens>, ForwardError> {
        let Some(pool) = self.pool.as_ref().filter(|_| jobs.len() > 1) else {
            return Ok(jobs.into_iter().map(|mut job| self.run_one(&mut job)).collect());
        };
        let slots: Vec<_> = jobs.into_iter().map(|job| Mutex::new((job, None))).collect();
        pool.run(slots.len(), &|index, _| {
            let (job, sampled) = &mut *unpoisoned(slots[index].lock());
            *sampled = Some(self.run_one(job));
        })?;
        let sampled = slots.into_iter().map(|slot| unpoisoned(slot.into_inner()).1);
        // The pool has run every slot, or returned an error above.
        Ok(sampled.flatten().collect())
    }

    fn run_one(&self, job: &mut SampleJob) -> SampledTokens {
        let mut buffers = unpoisoned(self.buffers.lock()).pop().unwrap_or_default();
        let sampled = job.run(&mut buffers);
        unpoisoned(self.buffers.lock()).push(buffers);
        sampled
    }
}

impl SampleJob<'_> {
    /// Samples a token from each row, up to and including the first token that differs from the
    /// draft.
    fn run(&mut self, buffers: &mut SampleBuffers) -> SampledTokens {
        let Some(sequence) = self.sequence else { return Vec::new() };
        let Some(generation) = sequence.generation() else { return Vec::new() };
        let masks: Option<&[TokenMask]> = match self.masks {
            TargetMasks::Unconstrained | TargetMasks::Pending => None,
            TargetMasks::Ready(masks) => Some(masks),
            TargetMasks::Failed(cause) => return vec![Err(cause.clone().into())],
        };
        let sampling = &generation.sampling;
        let mut position = sequence.tokens.len();
        let (mut seen, mut sampled) = (Cow::Borrowed(&generation.seen), Vec::new());
        // Masks may be missing for the draft's last segments, which are then not verified.
        let known = masks.map_or(self.rows.len(), <[TokenMask]>::len);
        for (index, logits) in self.rows.iter_mut().take(known).enumerate() {
            let input = SampleInput {
                sampling,
                allowed: masks.map(|masks| masks[index].allowed()),
                seen: Some(&seen),
                position,
                logprob: generation.logprobs,
            };
            let result = sample(logits, &input, buffers).map_err(RequestError::from);
            let token = result.as_ref().ok().map(|&SampledToken { token, .. }| token);
            sampled.push(result);
            match self.segments.get(index) {
                Some(segment) if Some(segment[0]) == token => {
                    position += segment.len();
                    if sampling.repetition_penalty != 1.0 {
                        seen.to_mut().extend(segment);
                    }
                }
                _ => break,
            }
        }
        sampled
    }
}
