//! The folder of all staged checkpoints of a user on a local disk, and the places of single copies
//! in it.

use crate::error::StagingError;
use crate::lock::{HeldLock, LockKind};
use crate::record::CopyRecord;
use rustix::process::geteuid;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of the local disk that staging leaves free.
pub const RESERVE_BYTES: u64 = 1 << 30;
/// Suffixes of the locks of a copy: held while it is used, and while it is written.
const USE: &str = "use";
const COPY: &str = "copy";

/// The folder `vendomini-staged-UID` on a local disk. Its name has the user's number, since nodes
/// share `/tmp` between users.
#[derive(Debug)]
pub(crate) struct StageFolder {
    path: PathBuf,
    /// Bytes of the disk that stay free.
    reserve_bytes: u64,
}

/// The place of one copy.
#[derive(Debug)]
pub(crate) struct CopyPlace {
    /// The folder of the copy's files.
    pub folder: PathBuf,
}

/// A copy that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedCopy {
    /// The checkpoint from which it was copied; empty if that is unknown.
    pub source: String,
    /// Bytes of disk space that it took.
    pub bytes: u64,
}

impl StageFolder {
    /// The path of the folder on the local disk at `disk`, whether or not it exists.
    pub fn path_on(disk: &Path) -> PathBuf {
        disk.join(format!("vendomini-staged-{}", geteuid().as_raw()))
    }

    /// Opens the folder, which is created if it does not exist.
    ///
    /// # Errors
    /// `Local` if it cannot be created; `Foreign` if another user could have put files into it.
    pub fn open(disk: &Path, reserve_bytes: u64) -> Result<StageFolder, StagingError> {
        let path = StageFolder::path_on(disk);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(StagingError::local(&path, "make the folder", error));
            }
            _ => {}
        }
        let metadata = std::fs::symlink_metadata(&path)
            .map_err(|error| StagingError::local(&path, "read its metadata", error))?;
        let user = geteuid().as_raw();
        let foreign = |found: String| StagingError::Foreign { folder: path.clone(), user, found };
        if !metadata.is_dir() {
            return Err(foreign("a link or a file".to_owned()));
        }
        if metadata.uid() != user {
            return Err(foreign(format!("one of user {}", metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            std::fs::set_permissions(&path, Permissions::from_mode(0o700))
                .map_err(|error| StagingError::local(&path, "set its permissions", error))?;
        }
        Ok(StageFolder { path, reserve_bytes })
    }

    /// The folder that the user or Slurm named.
    pub fn disk(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Takes the lock of those who allocate disk space, so that two copies do not count the same
    /// free bytes; `None` if another process holds it.
    pub fn try_allocate(&self) -> Result<Option<HeldLock>, StagingError> {
        HeldLock::try_take(&self.path.join("space"), LockKind::Exclusive)
    }

    pub fn place(&self, key: &str) -> CopyPlace {
        CopyPlace { folder: self.path.join(key) }
    }

    /// Makes room for `bytes` more bytes: removes copies that no task uses, the longest unused
    /// first, but no more than necessary. Returns what was removed.
    ///
    /// # Errors
    /// `NoSpace` if there is still too little, `Local`.
    pub fn make_room(
        &self,
        bytes: u64,
        keep: &CopyPlace,
    ) -> Result<Vec<RemovedCopy>, StagingError> {
        let mut removed = Vec::new();
        let needed_bytes = bytes.saturating_add(self.reserve_bytes);
        let mut others = self.places()?.into_iter().filter(|place| place.folder != keep.folder);
        while bytes > 0 && self.free_bytes()? < needed_bytes {
            let Some(place) = others.next() else {
                return Err(StagingError::NoSpace {
                    folder: self.path.clone(),
                    needed_bytes,
                    reserve_bytes: self.reserve_bytes,
                    free_bytes: self.free_bytes()?,
                });
            };
            removed.extend(place.remove_if_unused()?);
        }
        Ok(removed)
    }

    /// All copies, the longest unused first.
    pub fn places(&self) -> Result<Vec<CopyPlace>, StagingError> {
        let fail = |error| StagingError::local(&self.path, "list it", error);
        let mut places = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(fail)? {
            let folder = entry.map_err(fail)?.path();
            if folder.is_dir() {
                let place = CopyPlace { folder };
                let used = std::fs::metadata(place.lock_path(USE)).and_then(|m| m.modified());
                places.push((used.unwrap_or(SystemTime::UNIX_EPOCH), place));
            }
        }
        places.sort_by(|a, b| (a.0, &a.1.folder).cmp(&(b.0, &b.1.folder)));
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    /// Bytes that are free for unprivileged users.
    pub fn free_bytes(&self) -> Result<u64, StagingError> {
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|e| StagingError::local(&self.path, "read its free space", e.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl CopyPlace {
    pub fn record(&self) -> PathBuf {
        self.folder.join("record")
    }

    /// Takes the lock of those who read the copy; `None` while the copy is removed.
    pub fn try_use(&self) -> Result<Option<HeldLock>, StagingError> {
        let lock = HeldLock::try_take(&self.lock_path(USE), LockKind::Shared)?;
        if let Some(lock) = &lock {
            lock.touch();
        }
        Ok(lock)
    }

    /// Takes the lock of the one who writes the copy; `None` if another process holds it.
    pub fn try_copy(&self) -> Result<Option<HeldLock>, StagingError> {
        HeldLock::try_take(&self.lock_path(COPY), LockKind::Exclusive)
    }

    /// Removes the copy if no process uses or writes it.
    ///
    /// # Errors
    /// `Local`.
    pub fn remove_if_unused(&self) -> Result<Option<RemovedCopy>, StagingError> {
        let used = HeldLock::try_take(&self.lock_path(USE), LockKind::Exclusive)?;
        let Some((_used, _written)) = used.zip(self.try_copy()?) else { return Ok(None) };
        let source = CopyRecord::read(&self.record()).source;
        let bytes = disk_bytes(&self.folder);
        self.remove_files()?;
        for kind in [USE, COPY] {
            let lock = self.lock_path(kind);
            std::fs::remove_file(&lock).map_err(|e| StagingError::local(&lock, "remove it", e))?;
        }
        Ok(Some(RemovedCopy { source, bytes }))
    }

    /// Removes the files. The caller holds the lock of the writer; a process that has opened some
    /// of them can go on reading.
    pub fn remove_files(&self) -> Result<(), StagingError> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StagingError::local(&self.folder, "remove it", error))
            }
            _ => Ok(()),
        }
    }

    fn lock_path(&self, kind: &str) -> PathBuf {
        self.folder.with_extension(kind)
    }
}

/// Bytes of disk space below a folder; what cannot be read counts as 0.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}
