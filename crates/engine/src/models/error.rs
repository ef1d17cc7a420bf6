//! Why a pass ended without logits.

use device::DeviceError;
use device::cuda::CudaError;
use error_kind::{ErrorKind, HasKind};

use crate::batch::BatchError;
use crate::kv::KvLayout;
use crate::load::LoadError;

/// A pass that failed. The pool's blocks of the batch may be half written; other sequences are
/// untouched.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The batch cannot be computed; nothing was.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The pool was made for another model.
    #[error(
        "the KV pool is {found:?}, but this model keeps {expected:?}; use the pool that came with it"
    )]
    Pool {
        /// What the model keeps.
        expected: KvLayout,
        /// What the pool holds.
        found: KvLayout,
    },
    /// The pool keeps a layer elsewhere than where it is computed.
    #[error(
        "the KV pool keeps layer {layer} on another device than the model; use the pool that came with it"
    )]
    Cache {
        /// The layer.
        layer: usize,
    },
    /// A kernel or a GPU said no.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A block that lives on the disk could not be read.
    #[error("the disk tier: {0}")]
    Disk(#[source] Box<LoadError>),
    /// A block that lives on the disk did not come in time.
    #[error(
        "the disk tier: {item} did not arrive within {limit_s} s; the disk or the mount does not answer"
    )]
    DiskTimeout {
        /// What was waited for.
        item: String,
        /// The limit, in seconds.
        limit_s: u64,
    },
}

impl ForwardError {
    /// Whether every later pass would fail as well: a GPU that is lost, or that hangs, comes back
    /// with another process at best.
    pub fn is_final(&self) -> bool {
        let ForwardError::Device(DeviceError::Cuda(cause)) = self else { return false };
        matches!(cause, CudaError::Lost { .. } | CudaError::Timeout { .. })
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
            ForwardError::Disk(cause) => cause.kind(),
            ForwardError::DiskTimeout { .. } => ErrorKind::Timeout,
        }
    }
}
