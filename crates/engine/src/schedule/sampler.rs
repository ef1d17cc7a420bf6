//! Choosing tokens for many rows at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use device::pool::Pool;

use crate::models::ForwardError;
use crate::sample::{Choice, Draw, SampleBuffers, SampleError, choose};

/// A row of logits, `[vocab]`, and how a token is chosen from it.
pub(super) struct Job<'a> {
    pub row: &'a mut [f32],
    pub draw: Draw<'a>,
}

/// The threads that choose: those of the model, which have nothing to do between passes.
pub(super) struct Sampler {
    pool: Option<Arc<Pool>>,
    /// As many as ever chose at the same time.
    buffers: Mutex<Vec<SampleBuffers>>,
}

impl Sampler {
    pub fn new(pool: Option<Arc<Pool>>) -> Self {
        Sampler { pool, buffers: Mutex::default() }
    }

    /// A choice for each job, in their order. It depends on its own job alone, not on the thread.
    ///
    /// # Errors
    /// If a thread panicked.
    pub fn choose(&self, jobs: Vec<Job>) -> Result<Vec<Result<Choice, SampleError>>, ForwardError> {
        let Some(pool) = self.pool.as_ref().filter(|_| jobs.len() > 1) else {
            return Ok(jobs.into_iter().map(|job| self.choose_one(job.row, &job.draw)).collect());
        };
        let slots: Vec<_> = jobs.into_iter().map(|job| Mutex::new((job, None))).collect();
        pool.run(slots.len(), &|index, _| {
            let (job, choice) = &mut *locked(&slots[index]);
            *choice = Some(self.choose_one(job.row, &job.draw));
        })?;
        let choices = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1);
        // The pool calls once for every slot or says that it did not.
        Ok(choices.flatten().collect())
    }

    fn choose_one(&self, row: &mut [f32], draw: &Draw) -> Result<Choice, SampleError> {
        let mut buffers = locked(&self.buffers).pop().unwrap_or_default();
        let choice = choose(row, draw, &mut buffers);
        locked(&self.buffers).push(buffers);
        choice
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
