//! Errors of memory, threads, probing and kernels.

mod cuda;

use std::path::PathBuf;

use error_kind::{ErrorKind, HasKind};
use thiserror::Error;

pub use self::cuda::CudaError;
pub(crate) use self::cuda::code;

/// An error of memory, threads, probing or kernels.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// An allocation would exceed an arena's hard limit.
    #[error(
        "the arena holds {used_bytes} of at most {limit_bytes} bytes and cannot take {requested_bytes} more; \
         raise the host's memory budget or place fewer layers on it"
    )]
    ArenaFull { requested_bytes: usize, used_bytes: usize, limit_bytes: usize },

    /// The operating system refused address space or memory.
    #[error(
        "the operating system refused {bytes} bytes of memory ({source}); free memory, or lower the budget"
    )]
    MemoryRefused { bytes: usize, source: std::io::Error },

    /// A region was finished before all of its parts were filled.
    #[error(
        "{filled_bytes} of {expected_bytes} bytes were filled; fill every part before finishing the region"
    )]
    Unfilled {
        /// Bytes whose fill function succeeded.
        filled_bytes: usize,
        /// Bytes of the region.
        expected_bytes: usize,
    },

    /// A byte range exceeds its container.
    #[error("bytes {start}..{end} of {what} were requested, which has {bytes} bytes")]
    OutOfRange {
        /// Description of the container.
        what: String,
        start: u64,
        /// End of the range, exclusive.
        end: u64,
        /// Size of the container in bytes.
        bytes: u64,
    },

    /// A file could not be read, mapped or opened.
    #[error("{}: {action} at byte {offset}: {source}", path.display())]
    Io {
        path: PathBuf,
        /// The failed operation.
        action: &'static str,
        offset: u64,
        source: std::io::Error,
    },

    /// A file is shorter than its header says.
    #[error(
        "{}: the file ends at byte {end} but {expected_bytes} bytes were expected from byte {offset}; it was truncated or replaced \
         while being read: fetch it again", path.display()
    )]
    FileEnded {
        path: PathBuf,
        /// Byte of the file at which the read starts.
        offset: u64,
        /// Number of bytes to read from `offset`.
        expected_bytes: u64,
        /// Size of the file in bytes.
        end: u64,
    },

    /// A worker of the pool panicked: its part of the result is invalid.
    #[error("a worker thread panicked: {message}; this is a defect, please report it")]
    WorkerPanicked { message: String },

    /// A thread of the pool could not be started.
    #[error(
        "thread {index} of {threads} could not be started ({source}); raise the limit on threads or request fewer"
    )]
    ThreadRefused {
        index: usize,
        /// Requested number of threads.
        threads: usize,
        source: std::io::Error,
    },

    /// Shapes of a kernel's operands disagree.
    #[error("{what}: expected {expected}, found {found}; this is a defect, please report it")]
    Shape {
        /// The operation and its operand.
        what: &'static str,
        expected: usize,
        found: usize,
    },

    /// An index (a token id, a position or a KV block id) is past the end of its table.
    #[error("{what} {index} is past the end of a table of {len}")]
    Index {
        /// What is indexed, such as a token id.
        what: &'static str,
        index: usize,
        len: usize,
    },

    /// No kernel reads weights of this dtype.
    #[error(
        "no kernel computes with {dtype} weights; convert the checkpoint to bf16, f16, f32 or a supported GGUF type"
    )]
    DtypeUnsupported { dtype: &'static str },

    /// A kind of device has no kernel for an operation.
    #[error(
        "{device} cannot compute {operation} yet; place the model on the CPU with --device-map cpu"
    )]
    OperationUnsupported { operation: &'static str, device: &'static str },

    /// Activations were not packed in the dtype that a weight needs.
    #[error(
        "the activations are not packed as {activations}, which {dtype} weights need; \
         add the dtype to the ActivationDtypes they are packed with"
    )]
    ActivationDtypeMissing {
        /// The missing activation dtype.
        activations: &'static str,
        /// Dtype of the weights.
        dtype: &'static str,
    },

    /// An error of a GPU or its driver.
    #[error(transparent)]
    Cuda(#[from] CudaError),

    /// `VENDOMINI_KERNELS` names no kernel set.
    #[error("VENDOMINI_KERNELS is {found:?}; it must be one of scalar, avx2, avx512, avx512bf16")]
    KernelSetUnknown {
        /// Value of the variable.
        found: String,
    },

    /// The CPU lacks instructions of the requested kernel set.
    #[error("this CPU cannot run the {set} kernels (it lacks {missing}); its best set is {best}")]
    KernelSetUnavailable {
        set: &'static str,
        /// The first missing CPU feature.
        missing: &'static str,
        /// The best available set.
        best: &'static str,
    },
}

impl HasKind for DeviceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Cuda(error) => error.kind(),
            Self::KernelSetUnknown { .. } => ErrorKind::Usage,
            Self::DtypeUnsupported { .. } | Self::FileEnded { .. } | Self::OutOfRange { .. } => {
                ErrorKind::BadInput
            }
            Self::KernelSetUnavailable { .. }
            | Self::ThreadRefused { .. }
            | Self::OperationUnsupported { .. } => ErrorKind::Unavailable,
            Self::ArenaFull { .. } | Self::MemoryRefused { .. } => ErrorKind::OutOfMemory,
            Self::Io { .. } => ErrorKind::Io,
            Self::Unfilled { .. }
            | Self::WorkerPanicked { .. }
            | Self::Shape { .. }
            | Self::Index { .. }
            | Self::ActivationDtypeMissing { .. } => ErrorKind::Bug,
        }
    }
}
