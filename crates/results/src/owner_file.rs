//! The file with a process's identity, to which its claims are hard links.

use crate::claim;
use crate::disk;
use crate::owner::Owner;
use std::fs;
use std::path::{Path, PathBuf};

/// Subfolder of an experiment's folder that holds these files.
const FOLDER: &str = "processes";

/// A file with the identity of one store's process, removed when dropped. Claims are hard links to
/// it: a claim then creates and deletes no inode. ext4 skips recently deleted inodes one by one
/// when it creates a file, which a thousand short runs with claims of their own would pay for.
#[derive(Debug)]
pub(crate) struct OwnerFile(PathBuf);

impl OwnerFile {
    /// Writes the file for `owner` in the experiment's folder `root`, and removes those of ended
    /// processes. `None` if it cannot be written; claims are then files of their own.
    pub fn create(root: &Path, owner: &Owner) -> Option<OwnerFile> {
        let folder = root.join(FOLDER);
        disk::make_folder(&folder).ok()?;
        for name in disk::names(&folder).unwrap_or_default() {
            let path = folder.join(name);
            if claim::is_stale(&path, owner) {
                let _ = fs::remove_file(&path);
            }
        }
        let file = OwnerFile(folder.join(owner.file_stem()));
        fs::write(&file.0, serde_json::to_vec(owner).ok()?).ok()?;
        Some(file)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnerFile {
    fn drop(&mut self) {
        // A leftover file is removed by the next store.
        let _ = fs::remove_file(&self.0);
    }
}
