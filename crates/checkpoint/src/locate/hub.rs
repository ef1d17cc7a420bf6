//! The cache of huggingface_hub: the file `models--org--name/refs/main` contains a commit, which is
//! the name of a folder in `snapshots/`. The files of that folder are links into `blobs/`.
use std::path::{Path, PathBuf};

/// The snapshot folder of a repository folder: that of `revision`, else that of `main`, else the
/// only one.
///
/// # Errors
/// The reason why there is no snapshot, for the list of searched locations.
pub(super) fn snapshot(repository: &Path, revision: Option<&str>) -> Result<PathBuf, String> {
    if !repository.is_dir() {
        return Err("absent".to_owned());
    }
    let snapshots = repository.join("snapshots");
    if let Some(revision) = revision {
        let commit = commit(repository, revision).unwrap_or_else(|| revision.to_owned());
        return existing(&snapshots, &commit)
            .ok_or_else(|| format!("no snapshot of revision {revision}"));
    }
    if let Some(commit) = commit(repository, "main") {
        return existing(&snapshots, &commit)
            .ok_or_else(|| format!("refs/main names {commit}, which is not in snapshots"));
    }
    match all(&snapshots).as_slice() {
        [] => Err("no snapshot".to_owned()),
        [one] => Ok(one.clone()),
        several => {
            Err(format!("no refs/main, and {} snapshots; name one with @revision", several.len()))
        }
    }
}

/// The commit that a ref contains; `None` if the content is not a plain name.
fn commit(repository: &Path, reference: &str) -> Option<String> {
    let text = crate::files::read_text(&repository.join("refs").join(reference), 4096).ok()??;
    let commit = text.trim();
    let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    plain.then(|| commit.to_owned())
}

fn existing(snapshots: &Path, commit: &str) -> Option<PathBuf> {
    Some(snapshots.join(commit)).filter(|folder| folder.is_dir())
}

fn all(snapshots: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(snapshots).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
