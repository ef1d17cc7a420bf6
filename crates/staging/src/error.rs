//! Errors of staging.

use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

/// Why a checkpoint was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The local disk has too little space, also without the unused copies of other checkpoints.
    #[error(
        "{}: {needed_bytes} bytes are needed ({reserve_bytes} of them stay free), {free_bytes} are \
         free: {} short. Free disk space, or give another folder",
        .folder.display(), .needed_bytes.saturating_sub(*.free_bytes)
    )]
    NoSpace {
        folder: PathBuf,
        /// Bytes still to copy, plus the reserve.
        needed_bytes: u64,
        reserve_bytes: u64,
        /// Free bytes that an unprivileged user may use.
        free_bytes: u64,
    },
    /// Reading or writing the local disk failed.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    Local {
        path: PathBuf,
        /// The operation, in the infinitive.
        doing: &'static str,
        source: std::io::Error,
    },
    /// The local disk returns other bytes than were written.
    #[error(
        "{}: other bytes were read at offset {offset} than had been written, twice. Check this disk",
        .file.display()
    )]
    BadDisk { file: PathBuf, offset: u64 },
    /// The folder of staged checkpoints is not the user's own.
    #[error("{}: expected a folder of user {user}, found {found}. Remove it, or give another folder", .folder.display())]
    Foreign { folder: PathBuf, user: u32, found: String },
    /// A file of the checkpoint could not be read.
    #[error("{}: cannot {doing}: {source}", .file.display())]
    Source { file: PathBuf, doing: &'static str, source: std::io::Error },
    /// The checkpoint's folder holds something that is not copied.
    #[error("{}: expected a regular file, found {found}", .file.display())]
    NotPlain { file: PathBuf, found: &'static str },
    /// Another task copies the checkpoint, and its copy does not grow.
    #[error("{}: another task of this node copies the checkpoint, and has not gone on for {seconds} s", .folder.display())]
    Held { folder: PathBuf, seconds: u64 },
    /// The checkpoint is not the one whose headers were read.
    #[error(
        "{}: expected the file whose header was read, found that it was {how} in the meantime. Run \
         again when nothing writes to the checkpoint", .file.display()
    )]
    Changed {
        file: PathBuf,
        /// What happened to the file: "replaced", "removed", "written to", "truncated".
        how: &'static str,
    },
    /// The bytes of a file in the hub's cache are not those that its name promises.
    #[error(
        "{}: expected SHA-256 {expected} (its name in the hub's cache), found {found}. Run `vendomini \
         fetch --verify` for the model, remove this file and fetch it again", .file.display()
    )]
    Damaged { file: PathBuf, expected: String, found: String },
    /// A staged file does not have the bytes that were copied.
    #[error(
        "{}: expected the bytes that were copied, found others at offset {offset}. `vendomini stage \
         --clean` removes the copy", .file.display()
    )]
    Corrupted { file: PathBuf, offset: u64 },
    /// The user interrupted the command.
    #[error("interrupted; what was copied is kept, and the same command continues from there")]
    Canceled,
}

impl HasKind for StagingError {
    fn kind(&self) -> ErrorKind {
        match self {
            StagingError::NoSpace { .. } => ErrorKind::OutOfMemory,
            StagingError::Local { .. }
            | StagingError::BadDisk { .. }
            | StagingError::Foreign { .. }
            | StagingError::Source { .. }
            | StagingError::Corrupted { .. } => ErrorKind::Io,
            StagingError::NotPlain { .. }
            | StagingError::Changed { .. }
            | StagingError::Damaged { .. } => ErrorKind::BadInput,
            StagingError::Held { .. } => ErrorKind::Timeout,
            StagingError::Canceled => ErrorKind::Interrupted,
        }
    }
}

impl StagingError {
    /// Whether the checkpoint itself may be intact, so that it can be loaded from where it is.
    pub fn leaves_source(&self) -> bool {
        !matches!(
            self,
            StagingError::Changed { .. } | StagingError::Damaged { .. } | StagingError::Canceled
        )
    }

    /// Whether the files that were copied so far are of use to the next attempt.
    pub(crate) fn keeps_copy(&self) -> bool {
        matches!(self, StagingError::Canceled | StagingError::Source { .. })
    }

    pub(crate) fn local(path: &Path, doing: &'static str, source: std::io::Error) -> Self {
        StagingError::Local { path: path.to_owned(), doing, source }
    }

    pub(crate) fn source(file: &Path, doing: &'static str, source: std::io::Error) -> Self {
        StagingError::Source { file: file.to_owned(), doing, source }
    }
}
