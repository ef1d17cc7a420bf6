//! Errors of composing a model and of a forward pass.

use device::DeviceError;
use device::cuda::CudaError;
use error_kind::{ErrorKind, HasKind};

use crate::batch::BatchError;
use crate::kv::KvLayout;
use crate::layers::LayerError;
use crate::weights::{ExpertError, WeightError};

/// A model that cannot be built from its checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CompositionError {
    #[error(
        "{class_name}: {what} is not supported yet; supported are Llama, Mistral, Qwen2, Qwen3, OLMo2, Phi and Phi-3 models, \
         and the mixtures of experts Mixtral, OLMoE, Qwen2-MoE, Qwen3-MoE and gpt-oss"
    )]
    Unsupported {
        class_name: String,
        /// The part of the architecture that is not implemented.
        what: &'static str,
    },
    #[error("{class_name}: no GPU kernel computes {what}; plan again, which places it on the CPU")]
    NoGpuKernel {
        class_name: String,
        /// The part of the architecture that only the CPU computes.
        what: &'static str,
    },
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl HasKind for CompositionError {
    fn kind(&self) -> ErrorKind {
        match self {
            CompositionError::Unsupported { .. } | CompositionError::NoGpuKernel { .. } => {
                ErrorKind::BadInput
            }
            CompositionError::Weight(cause) => cause.kind(),
        }
    }
}

/// A forward pass that failed. The KV blocks that the batch writes to may be partly written; other
/// sequences are unaffected.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The batch is invalid; nothing was computed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(
        "the KV pool is {found:?}, but this model keeps {expected:?}; use the pool that came with it"
    )]
    Pool { expected: KvLayout, found: KvLayout },
    #[error(
        "the KV pool keeps layer {layer} on another device than the model; use the pool that came with it"
    )]
    Cache { layer: usize },
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Weights of the disk tier could not be read.
    #[error("the disk tier: {cause}")]
    Disk { kind: ErrorKind, cause: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the disk tier: {module} did not arrive within {limit_s} s; the disk or the mount does not answer"
    )]
    DiskTimeout { module: String, limit_s: u64 },
}

impl ForwardError {
    pub(crate) fn disk(cause: impl HasKind + Send + Sync + 'static) -> Self {
        ForwardError::Disk { kind: cause.kind(), cause: Box::new(cause) }
    }

    /// Whether every later pass would fail too: a GPU that is lost or hangs does not recover within
    /// this process, nor does a file of the disk tier that was truncated or replaced.
    pub fn is_final(&self) -> bool {
        match self {
            ForwardError::Device(DeviceError::Cuda(cause)) => {
                matches!(cause, CudaError::Lost { .. } | CudaError::Timeout { .. })
            }
            ForwardError::Disk { kind, .. } => *kind == ErrorKind::BadInput,
            _ => false,
        }
    }
}

impl From<LayerError> for ForwardError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Device(cause) => ForwardError::Device(cause),
            LayerError::Experts(ExpertError::Failed { kind, cause }) => {
                ForwardError::Disk { kind, cause }
            }
            LayerError::Experts(ExpertError::Timeout { layer, limit_s }) => {
                ForwardError::DiskTimeout { module: format!("an expert of layer {layer}"), limit_s }
            }
        }
    }
}

impl HasKind for ForwardError {
    fn kind(&self) -> ErrorKind {
        match self {
            ForwardError::Batch(
                BatchError::Position { .. } | BatchError::Token { .. } | BatchError::Empty,
            ) => ErrorKind::Usage,
            ForwardError::Batch(_) | ForwardError::Pool { .. } | ForwardError::Cache { .. } => {
                ErrorKind::Bug
            }
            ForwardError::Device(cause) => cause.kind(),
            ForwardError::Disk { kind, .. } => *kind,
            ForwardError::DiskTimeout { .. } => ErrorKind::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ForwardError;
    use crate::weights::ShardError;

    #[test]
    fn a_replaced_file_ends_the_engine_and_a_failed_read_does_not() {
        let path = std::path::PathBuf::from("model.safetensors");
        let (expected, found) = ("inode 1".to_owned(), "inode 2".to_owned());
        let replaced = ShardError::Replaced { path: path.clone(), expected, found };
        assert!(ForwardError::disk(replaced).is_final());
        let failed = ShardError::io(&path, "read of w", 0, std::io::Error::other("EIO"));
        assert!(!ForwardError::disk(failed).is_final());
    }
}
