//! Errors of weights ([`WeightError`]) and of the files that contain them ([`ShardError`]).

use std::path::{Path, PathBuf};

use device::DeviceError;
use error_kind::{ErrorKind, HasKind};

/// A tensor that is missing, whose shape or dtype does not fit the model, or that a device cannot
/// use.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    #[error("tensor {tensor} is not in the checkpoint, but its configuration requires it")]
    Missing { tensor: String },
    #[error("tensor {tensor}: shape {expected:?} expected from config.json, {found:?} found")]
    Shape {
        tensor: String,
        /// The shape that the model requires: `[out_features, in_features]` or `[features]`.
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    #[error(
        "tensor {tensor} is stored as {found}, which cannot be used here; convert the checkpoint to bf16, f16 or f32"
    )]
    Dtype { tensor: String, found: &'static str },
    #[error("tensor {tensor}: {cause}")]
    Device { tensor: String, cause: DeviceError },
}

impl HasKind for WeightError {
    fn kind(&self) -> ErrorKind {
        match self {
            WeightError::Missing { .. } | WeightError::Shape { .. } | WeightError::Dtype { .. } => {
                ErrorKind::BadInput
            }
            WeightError::Device { cause, .. } => cause.kind(),
        }
    }
}

/// A shard that could not be read, or is no longer the file whose header was read.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("interrupted while reading")]
    Canceled,
    #[error("{}: {expected} bytes expected, {found} found while reading tensor {tensor} at offset {offset}; the file was truncated: fetch it again", path.display())]
    Truncated {
        path: PathBuf,
        tensor: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// Size of the file in bytes when its header was read.
        expected: u64,
        /// Size of the file in bytes now.
        found: u64,
    },
    #[error("{}: replaced or written to while it was being loaded (headers were read from {expected}, now it is {found}); load again once no process writes to it", path.display())]
    Replaced { path: PathBuf, expected: String, found: String },
    #[error("{}: {doing} at offset {offset}: {cause}; check the disk or the mount and try again", path.display())]
    Io {
        path: PathBuf,
        /// The action that failed: for example `read of TENSOR` or `checking its identity`.
        doing: String,
        /// Offset in the file, in bytes.
        offset: u64,
        cause: std::io::Error,
    },
    #[error("the shard of tensor {tensor} is not open; please report this")]
    NotOpen { tensor: String },
    #[error("{what}: {cause}")]
    Device {
        /// What the device was used for.
        what: String,
        cause: DeviceError,
    },
}

impl ShardError {
    pub(crate) fn io(
        path: &Path,
        doing: impl Into<String>,
        offset: u64,
        cause: std::io::Error,
    ) -> Self {
        ShardError::Io { path: path.to_owned(), doing: doing.into(), offset, cause }
    }
}

impl HasKind for ShardError {
    fn kind(&self) -> ErrorKind {
        match self {
            ShardError::Canceled => ErrorKind::Interrupted,
            ShardError::Truncated { .. } | ShardError::Replaced { .. } => ErrorKind::BadInput,
            ShardError::Io { .. } => ErrorKind::Io,
            ShardError::NotOpen { .. } => ErrorKind::Bug,
            ShardError::Device { cause, .. } => cause.kind(),
        }
    }
}
