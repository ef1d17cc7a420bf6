//! Writes to the hub client's cache in the layout that client defines: `blobs/` has the files,
//! named by hash; `snapshots/<commit>/` has links to them; `refs/` has the commit of each revision.

use super::listing::RepoFile;
use crate::error::FetchError;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a download must leave free on the disk.
const HEADROOM_BYTES: u64 = 64 << 20;

/// A repository's folder in the cache, `models--org--name`.
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

    /// Whether a file is complete. A file gets its final name only after its hash was checked.
    pub(super) fn has(&self, file: &RepoFile) -> bool {
        self.blob(file).metadata().is_ok_and(|metadata| metadata.len() == file.size_bytes)
    }

    /// Fails if the disk does not have space for the missing files.
    pub(super) fn check_space(&self, missing: &[&RepoFile]) -> Result<(), FetchError> {
        let downloaded =
            |file: &&&RepoFile| self.incomplete(file).metadata().map_or(0, |m| m.len());
        let needed: u64 =
            missing.iter().map(|file| file.size_bytes.saturating_sub(downloaded(&file))).sum();
        let disk = rustix::fs::statvfs(&self.folder)
            .map_err(|e| FetchError::io(&self.folder, "read its free space", e.into()))?;
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

    /// Path of the file's partial download.
    pub(super) fn incomplete(&self, file: &RepoFile) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.hash.blob_name()))
    }

    /// Renames a downloaded and checked file to its final name.
    pub(super) fn keep(&self, file: &RepoFile, part: &Path) -> Result<(), FetchError> {
        let blob = self.blob(file);
        std::fs::rename(part, &blob)
            .map_err(|e| FetchError::io(&blob, "rename the finished file to", e))
    }

    /// Links the files of a commit into its snapshot folder and sets the revision's ref to the
    /// commit.
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
            let target = format!("{up}blobs/{}", file.hash.blob_name());
            // The link is created under a temporary name and renamed, which is atomic: other
            // processes see either no link or a complete one.
            let temporary = parent.join(unique_name());
            std::os::unix::fs::symlink(&target, &temporary)
                .map_err(|e| FetchError::io(&temporary, "link", e))?;
            std::fs::rename(&temporary, &link).map_err(|e| FetchError::io(&link, "link", e))?;
        }
        let reference = self.folder.join("refs").join(revision);
        let folder = reference.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder)
            .map_err(|e| FetchError::io(folder, "make the folder", e))?;
        if revision != commit {
            let temporary = folder.join(unique_name());
            std::fs::write(&temporary, commit)
                .map_err(|e| FetchError::io(&temporary, "write", e))?;
            std::fs::rename(&temporary, &reference)
                .map_err(|e| FetchError::io(&reference, "write", e))?;
        }
        Ok(snapshot)
    }

    fn blob(&self, file: &RepoFile) -> PathBuf {
        self.folder.join("blobs").join(file.hash.blob_name())
    }
}

/// A name that no other thread or process on this host uses.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".new-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
