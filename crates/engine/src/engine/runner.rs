//! The model as the engine needs it: a trait, and its implementation over a loaded model.

use std::sync::Arc;

use device::pool::Pool;

use crate::batch::{Batch, Logits};
use crate::kv::KvPool;
use crate::models::{ForwardError, ForwardScratch, Model};

/// Limits of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    pub vocab: usize,
    /// Positions of a sequence.
    pub context: usize,
    /// Rows of one pass.
    pub rows_max: usize,
    /// Rows of one pass whose logits or hidden states are returned.
    pub logits_rows_max: usize,
}

/// A batch-invariant model: the results of a row depend on its sequence's tokens alone.
pub trait Forward: Send + 'static {
    /// The limits, which do not change.
    fn limits(&self) -> ForwardLimits;

    /// The model's threads, for work between passes; `None` if it has none.
    fn pool(&self) -> Option<Arc<Pool>> {
        None
    }

    /// As [`Model::forward`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    fn forward(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<Logits<'_>, ForwardError>;

    /// As [`Model::hidden`].
    ///
    /// # Errors
    /// As [`Model::hidden`].
    fn hidden(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<&[f32], ForwardError>;
}

/// A loaded model with its buffers.
#[derive(Debug)]
pub struct ModelRunner {
    pub model: Model,
    pub scratch: ForwardScratch,
}

impl Forward for ModelRunner {
    fn limits(&self) -> ForwardLimits {
        ForwardLimits {
            vocab: self.model.config().vocab_size,
            context: self.model.context(),
            rows_max: self.scratch.rows_max(),
            logits_rows_max: self.scratch.logits_rows_max(),
        }
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        Some(Arc::clone(self.model.pool()))
    }

    fn forward(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<Logits<'_>, ForwardError> {
        self.model.forward(batch, kv, &mut self.scratch)
    }

    fn hidden(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<&[f32], ForwardError> {
        self.model.hidden(batch, kv, &mut self.scratch)
    }
}
