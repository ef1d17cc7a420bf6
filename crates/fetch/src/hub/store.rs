//! The hub client's cache: `blobs/` by hash, `snapshots/<commit>/` of links into them, `refs/` that
//! name commits.
use super::listing::RepoFile;
use crate::error::FetchError;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are left free on the disk whatever is brought.
const HEADROOM_BYTES: u64 = 64 << 20;

/// `models--org--name`.
pub(super) struct CachedRepository {
    folder: PathBuf,
}

impl CachedRepository {
    pub(super) fn new(hub_cache: &Path, model: &str) -> Result<Self, FetchError> {
        let folder = hub_cache.join(format!("models--{}", model.replace('/', "--")));
        let blobs = folder.join("blobs");
        std::fs::create_dir_all(&blobs)
            .map_err(|e| FetchError::io(&blobs, "make the folder", e))?;
        Ok(CachedRepository { folder })
    }

    /// Whether a file is there, whole. Its hash was checked when it came.
    pub(super) fn has(&self, file: &RepoFile) -> bool {
        self.blob(file).metadata().is_ok_and(|metadata| metadata.len() == file.size_bytes)
    }

    /// Refuses what the disk cannot hold before a byte is brought.
    pub(super) fn check_space(&self, missing: &[&RepoFile]) -> Result<(), FetchError> {
        let begun = |file: &&&RepoFile| self.incomplete(file).metadata().map_or(0, |m| m.len());
        let needed: u64 =
            missing.iter().map(|file| file.size_bytes.saturating_sub(begun(&file))).sum();
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|e| FetchError::io(&self.folder, "ask for its free space", e.into()))?;
        let free_bytes = disk.f_bavail * disk.f_frsize;
        if needed > 0 && needed + HEADROOM_BYTES > free_bytes {
            return Err(FetchError::NoSpace {
                folder: self.folder.clone(),
                needed_bytes: needed + HEADROOM_BYTES,
                free_bytes,
            });
        }
        Ok(())
    }

    /// Where a file grows.
    pub(super) fn incomplete(&self, file: &RepoFile) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.promise.blob_name()))
    }

    /// Gives a checked file its name.
    pub(super) fn keep(&self, file: &RepoFile, part: &Path) -> Result<(), FetchError> {
        let blob = self.blob(file);
        std::fs::rename(part, &blob)
            .map_err(|e| FetchError::io(&blob, "rename the finished file to", e))
    }

    /// Makes the snapshot of a commit, all of whose files are there, and points the revision at it.
    pub(super) fn publish(
        &self,
        commit: &str,
        revision: &str,
        files: &[RepoFile],
    ) -> Result<PathBuf, FetchError> {
        let snapshot = self.folder.join("snapshots").join(commit);
        for file in files {
            let link = snapshot.join(&file.path);
            let parent = link.parent().unwrap_or(&snapshot);
            std::fs::create_dir_all(parent)
                .map_err(|e| FetchError::io(parent, "make the folder", e))?;
            let up = "../".repeat(2 + file.path.matches('/').count());
            let target = format!("{up}blobs/{}", file.promise.blob_name());
            // Made beside and renamed, so that a link is there whole or not at all, also where
            // another process does the same.
            let beside = parent.join(unique_name());
            std::os::unix::fs::symlink(&target, &beside)
                .map_err(|e| FetchError::io(&beside, "link", e))?;
            std::fs::rename(&beside, &link).map_err(|e| FetchError::io(&link, "link", e))?;
        }
        let reference = self.folder.join("refs").join(revision);
        let folder = reference.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder)
            .map_err(|e| FetchError::io(folder, "make the folder", e))?;
        if revision != commit {
            let beside = folder.join(unique_name());
            std::fs::write(&beside, commit).map_err(|e| FetchError::io(&beside, "write", e))?;
            std::fs::rename(&beside, &reference)
                .map_err(|e| FetchError::io(&reference, "write", e))?;
        }
        Ok(snapshot)
    }

    fn blob(&self, file: &RepoFile) -> PathBuf {
        self.folder.join("blobs").join(file.promise.blob_name())
    }
}

/// A name that no other thread or process on this host takes.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".new-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
