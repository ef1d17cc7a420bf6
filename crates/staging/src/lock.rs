//! Locks between the tasks of a node. The kernel releases a lock when its holder ends, however it
//! ends, so there is nothing to clean up after a kill.

use crate::error::StagingError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Interval at which locks that others hold are tried again.
pub(crate) const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldLock(File);

impl HeldLock {
    /// Takes the lock of a file, which is created if it does not exist; `None` if another process
    /// holds it.
    ///
    /// # Errors
    /// `Local` if the file cannot be created or its file system has no locks.
    pub fn try_take(path: &Path, kind: LockKind) -> Result<Option<HeldLock>, StagingError> {
        let operation = match kind {
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(|error| StagingError::local(path, "open the lock", error))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(StagingError::local(path, "lock it", error.into())),
            }
            // Who removes a copy removes its locks, too: a lock of a removed file locks nothing.
            let named = std::fs::metadata(path).ok();
            let own = file.metadata().map_err(|e| StagingError::local(path, "lock it", e))?;
            if named.is_some_and(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())) {
                return Ok(Some(HeldLock(file)));
            }
        }
    }

    /// Sets the time of the last use, by which unused copies are removed.
    pub fn touch(&self) {
        // The time only decides which of several unused copies is removed first.
        drop(self.0.set_modified(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_locks_exclude_an_exclusive_one_until_they_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.use");
        let take = |kind| HeldLock::try_take(&path, kind).unwrap();
        let (first, second) = (take(LockKind::Shared), take(LockKind::Shared));
        assert!(first.is_some() && second.is_some());
        drop(first);
        assert!(take(LockKind::Exclusive).is_none());
        drop(second);
        let alone = take(LockKind::Exclusive).unwrap();
        assert!(take(LockKind::Shared).is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(take(LockKind::Exclusive).is_some(), "the lock of a new file");
        drop(alone);
    }
}
