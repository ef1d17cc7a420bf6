//! What is at a path. Only a path that is certainly absent may count as absent: a cache that this
//! user may not enter, or on a disk that fails, may have the model.
use crate::error::CheckpointError;
use std::fs::{Metadata, symlink_metadata};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

/// The metadata of what a path leads to; `None` if that does not exist.
///
/// # Errors
/// `NotSearched` if it may exist.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>> {
    present(path, std::fs::metadata(path))
}

/// Whether there is anything at a path, a dangling link included.
///
/// # Errors
/// As [`metadata`].
pub(super) fn exists(path: &Path) -> Result<bool> {
    Ok(present(path, symlink_metadata(path))?.is_some())
}

/// The entries of a folder, sorted; none if the folder does not exist.
///
/// # Errors
/// As [`metadata`].
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = present(folder, std::fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let paths = entries.map(|entry| Ok(entry.map_err(|e| not_searched(folder, e))?.path()));
    let mut paths = paths.collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn present<T>(path: &Path, found: std::io::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(not_searched(path, error)),
    }
}

/// Whether an error says that the path does not exist. A path with a NUL or an overlong name cannot
/// exist.
fn is_absent(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidFilename
    )
}

/// The error for a path that may exist. It names the last part of the path that can be seen, which
/// is the closed folder if permission is denied.
pub(super) fn not_searched(path: &Path, source: Error) -> CheckpointError {
    let seen = |path: &&Path| symlink_metadata(path).is_ok();
    let place = path.ancestors().filter(|a| !a.as_os_str().is_empty()).find(seen);
    let remedy = match source.kind() {
        ErrorKind::PermissionDenied => {
            "Ask its owner for access (chmod -R a+rX), or set HF_HOME to a cache of your own"
        }
        ErrorKind::NotADirectory => "Check HF_HOME, HF_HUB_CACHE and VENDOMINI_CACHE",
        ErrorKind::StaleNetworkFileHandle => "The file was replaced on its server; run again",
        _ => "Check the disk or mount that holds it, and run again",
    };
    CheckpointError::NotSearched {
        place: place.unwrap_or(path).to_owned(),
        path: path.to_owned(),
        source,
        remedy,
    }
}
