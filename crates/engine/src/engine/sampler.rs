//! Choosing tokens for many rows at a time.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device::pool::Pool;

use super::reply::Reply;
use crate::grammar::TokenMask;
use crate::models::ForwardError;
use crate::sampling::{SampleBuffers, SampleError, SampleInput, SampledToken, sample};

/// Rows of logits, `[vocab]`, and the reply that goes on from them.
pub(super) struct Job<'a> {
    /// Of the reply's end and of the ends of a draft's parts.
    pub rows: Vec<&'a mut [f32]>,
    pub reply: &'a Reply,
    /// Position of the first token to sample.
    pub position: usize,
    /// As many as are known, at least the first; `None`: all is allowed.
    pub masks: Option<&'a [TokenMask]>,
    pub parts: &'a [Vec<u32>],
}

/// What was chosen, row after row. An error is the last of them.
type Choices = Vec<Result<SampledToken, SampleError>>;

/// The threads that sample: those of the model, which have nothing to do between passes.
pub(super) struct Sampler {
    pool: Option<Arc<Pool>>,
    /// As many as ever chose at the same time.
    buffers: Mutex<Vec<SampleBuffers>>,
}

impl Sampler {
    pub fn new(pool: Option<Arc<Pool>>) -> Self {
        Sampler { pool, buffers: Mutex::default() }
    }

    /// Choices for each job, in their order: one from its first row, and one from each further row
    /// while all guesses before it were right. They depend on their own job alone, not on the
    /// thread.
    ///
    /// # Errors
    /// If a thread panicked.
    pub fn sample(&self, jobs: Vec<Job>) -> Result<Vec<Choices>, ForwardError> {
        let Some(pool) = self.pool.as_ref().filter(|_| jobs.len() > 1) else {
            return Ok(jobs.into_iter().map(|mut job| self.choose_for(&mut job)).collect());
        };
        let slots: Vec<_> = jobs.into_iter().map(|job| Mutex::new((job, None))).collect();
        pool.run(slots.len(), &|index, _| {
            let (job, choices) = &mut *locked(&slots[index]);
            *choices = Some(self.choose_for(job));
        })?;
        let choices = slots
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1);
        // The pool calls once for every slot or says that it did not.
        Ok(choices.flatten().collect())
    }

    fn choose_for(&self, job: &mut Job) -> Choices {
        let mut buffers = locked(&self.buffers).pop().unwrap_or_default();
        let choices = job.sample(&mut buffers);
        locked(&self.buffers).push(buffers);
        choices
    }
}

impl Job<'_> {
    fn sample(&mut self, buffers: &mut SampleBuffers) -> Choices {
        let Job { rows, reply, position, masks, parts } = self;
        let (sampling, logprob) = (&reply.sampling, reply.limits.logprobs);
        let (mut position, mut seen, mut choices) =
            (*position, Cow::Borrowed(&reply.seen), Vec::new());
        let known = masks.map_or(rows.len(), <[TokenMask]>::len);
        for (place, row) in rows.iter_mut().take(known).enumerate() {
            let allowed = masks.map(|masks| masks[place].allowed());
            let draw = SampleInput { sampling, allowed, seen: Some(&seen), position, logprob };
            let choice = sample(row, &draw, buffers);
            let token = choice.as_ref().ok().map(|choice| choice.token);
            choices.push(choice);
            match parts.get(place) {
                Some(part) if Some(part[0]) == token => {
                    position += part.len();
                    if sampling.repetition_penalty != 1.0 {
                        seen.to_mut().extend(part);
                    }
                }
                _ => break,
            }
        }
        choices
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
