use error_kind::{ErrorKind, HasKind};
use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong with memory, threads and kernels.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// An arena's hard limit would be passed.
    #[error(
        "the arena holds {used_bytes} of at most {limit_bytes} bytes and cannot take {requested_bytes} more; \
         raise the host's memory budget or place fewer layers on it"
    )]
    ArenaFull {
        /// Bytes asked for.
        requested_bytes: usize,
        /// Bytes handed out so far.
        used_bytes: usize,
        /// The arena's limit.
        limit_bytes: usize,
    },

    /// The operating system refused address space or memory.
    #[error(
        "the operating system refused {bytes} bytes of memory ({source}); free memory, or lower the budget"
    )]
    MemoryRefused {
        /// Bytes asked for.
        bytes: usize,
        /// Its reason.
        source: std::io::Error,
    },

    /// A region was finished before every part of it was filled.
    #[error(
        "{filled_bytes} of {expected_bytes} bytes were filled; fill every part before finishing the region"
    )]
    Unfilled {
        /// Bytes whose fill function succeeded.
        filled_bytes: usize,
        /// Bytes of the region.
        expected_bytes: usize,
    },

    /// A byte range lies outside of what it is taken from.
    #[error("bytes {start}..{end} were asked of {what}, which has {bytes} bytes")]
    OutOfRange {
        /// What the range is taken from.
        what: String,
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes there are.
        bytes: u64,
    },

    /// A read, map or open failed.
    #[error("{}: {action} at byte {offset}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Where in the file.
        offset: u64,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A file ended before the bytes that its headers promise.
    #[error(
        "{}: the file ends at byte {end} but {expected_bytes} bytes were expected from byte {offset}; it was truncated or replaced \
         while being read: fetch it again", path.display()
    )]
    FileEnded {
        /// The file.
        path: PathBuf,
        /// Where the read began.
        offset: u64,
        /// Bytes wanted from there.
        expected_bytes: u64,
        /// Where the file ended.
        end: u64,
    },

    /// A worker of the pool panicked. Its part of the result is not valid.
    #[error("a worker thread panicked: {message}; this is a defect, please report it")]
    WorkerPanicked {
        /// The panic's message.
        message: String,
    },

    /// The pool's threads could not be started.
    #[error(
        "thread {index} of {threads} could not be started ({source}); raise the limit on threads or ask for fewer"
    )]
    ThreadRefused {
        /// Which one.
        index: usize,
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A kernel was called with operands whose shapes do not agree.
    #[error("{what}: expected {expected}, found {found}; this is a defect, please report it")]
    Shape {
        /// The operation and its operand.
        what: &'static str,
        /// The size it should have.
        expected: usize,
        /// The size it has.
        found: usize,
    },

    /// An index (of a token id, position or KV block) is past the end of its table.
    #[error("{what} {index} is past the end of a table of {len}")]
    Index {
        /// What is indexed.
        what: &'static str,
        /// The index.
        index: usize,
        /// The table's length.
        len: usize,
    },

    /// No kernel multiplies or reads this dtype.
    #[error(
        "no kernel computes with {dtype} weights; convert the checkpoint to bf16, f16, f32 or a supported GGUF type"
    )]
    DtypeUnsupported {
        /// The dtype's name.
        dtype: &'static str,
    },

    /// Activations were not packed in the dtype that a weight needs.
    #[error(
        "the activations are not packed as {activations}, which {dtype} weights need; \
         add the dtype to the ActivationDtypes they are packed with"
    )]
    ActivationDtypeMissing {
        /// The missing activation dtype.
        activations: &'static str,
        /// The weights' dtype.
        dtype: &'static str,
    },

    /// Something about a GPU or its driver.
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),

    /// `VENDOMINI_KERNELS` names no kernel set.
    #[error("VENDOMINI_KERNELS is {found:?}; it must be one of scalar, avx2, avx512, avx512bf16")]
    KernelSetUnknown {
        /// What it is.
        found: String,
    },

    /// This CPU lacks instructions of the kernel set asked for.
    #[error("this CPU cannot run the {set} kernels (it lacks {missing}); its best set is {best}")]
    KernelSetUnavailable {
        /// The set asked for.
        set: &'static str,
        /// The missing feature.
        missing: &'static str,
        /// The best one.
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
            Self::KernelSetUnavailable { .. } | Self::ThreadRefused { .. } => {
                ErrorKind::Unavailable
            }
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
