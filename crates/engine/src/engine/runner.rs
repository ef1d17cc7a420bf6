//! The trait [`Forward`], through which the engine uses a model, and its implementation for a
//! loaded model.

use std::sync::Arc;

use device::pool::Pool;

use crate::batch::{Batch, Logits};
use crate::kv::KvPool;
use crate::models::{ForwardError, ForwardScratch, Model};
use crate::weights::ExpertCacheStats;

/// Limits of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    pub vocab: usize,
    /// Maximum number of positions of a sequence.
    pub context: usize,
    /// Maximum number of rows of one pass.
    pub rows_max: usize,
    /// Maximum number of rows of one pass whose logits or hidden states are returned.
    pub logits_rows_max: usize,
}

/// A batch-invariant model: the results of a row depend only on the tokens of the row's sequence.
pub trait Forward: Send + 'static {
    /// The limits of a forward pass; always the same for one model.
    fn limits(&self) -> ForwardLimits;

    /// The model's thread pool, which the engine uses between passes; `None` if the model has none.
    fn pool(&self) -> Option<Arc<Pool>> {
        None
    }

    /// As [`Model::expert_cache`].
    fn expert_cache(&self) -> Option<ExpertCacheStats> {
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

/// A loaded model with the buffers of its forward pass.
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

    fn expert_cache(&self) -> Option<ExpertCacheStats> {
        self.model.expert_cache()
    }

    fn forward(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<Logits<'_>, ForwardError> {
        self.model.forward(batch, kv, &mut self.scratch)
    }

    fn hidden(&mut self, batch: &Batch, kv: &mut KvPool) -> Result<&[f32], ForwardError> {
        self.model.hidden(batch, kv, &mut self.scratch)
    }
}
