//! The cache of huggingface_hub: the file `models--org--name/refs/main` contains a commit, which is
//! the name of a folder in `snapshots/`. The files of that folder are links into `blobs/`.
use super::place;
use crate::error::CheckpointError;
use std::path::{Path, PathBuf};

/// Why a repository folder gives no snapshot.
pub(super) enum NoSnapshot {
    /// There is none; the reason, for the list of searched locations.
    Absent(String),
    /// There may be one.
    NotSearched(CheckpointError),
}

impl From<CheckpointError> for NoSnapshot {
    fn from(error: CheckpointError) -> Self {
        NoSnapshot::NotSearched(error)
    }
}

/// The snapshot folder of a repository folder: that of `revision`, else that of `main`, else the
/// only one.
pub(super) fn snapshot(repository: &Path, revision: Option<&str>) -> Result<PathBuf, NoSnapshot> {
    let absent = |why: String| Err(NoSnapshot::Absent(why));
    if !is_folder(repository)? {
        return absent("absent".to_owned());
    }
    let snapshots = repository.join("snapshots");
    let named = match revision {
        Some(revision) => {
            let commit = commit(repository, revision)?.unwrap_or_else(|| revision.to_owned());
            Some((commit, format!("no snapshot of revision {revision}")))
        }
        None => commit(repository, "main")?.map(|commit| {
            let why = format!("refs/main names {commit}, which is not in snapshots");
            (commit, why)
        }),
    };
    if let Some((commit, why)) = named {
        let folder = snapshots.join(commit);
        return if is_folder(&folder)? { Ok(folder) } else { absent(why) };
    }
    let mut found = Vec::new();
    for path in place::entries(&snapshots)? {
        if is_folder(&path)? {
            found.push(path);
        }
    }
    match found.len() {
        0 => absent("no snapshot".to_owned()),
        1 => Ok(found.remove(0)),
        n => absent(format!("no refs/main, and {n} snapshots; name one with @revision")),
    }
}

/// The commit that a ref contains; `None` if there is no such ref or its content is not a plain
/// name.
fn commit(repository: &Path, reference: &str) -> Result<Option<String>, CheckpointError> {
    let file = repository.join("refs").join(reference);
    let text = match crate::files::read_text(&file, 4096) {
        Ok(text) => text.unwrap_or_default(),
        Err(CheckpointError::Io { file, source, .. }) => {
            return Err(place::not_searched(&file, source));
        }
        Err(_) => return Ok(None),
    };
    let commit = text.trim();
    let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    Ok(plain.then(|| commit.to_owned()))
}

fn is_folder(path: &Path) -> Result<bool, CheckpointError> {
    Ok(place::metadata(path)?.is_some_and(|metadata| metadata.is_dir()))
}
