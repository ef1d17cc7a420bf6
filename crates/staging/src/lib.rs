//! Staging: copies a checkpoint from a network file system to a node's local disk, once per node.
//!
//! [`stage`] returns a copy that is complete, or the reason why there is none; the checkpoint can
//! then be loaded from where it is. The tasks of a node find the copy by the checkpoint's path,
//! sizes and times. One of them copies, the others wait, and if it is killed, the next one goes on
//! from what is on the disk: the locks are the kernel's (flock), which end with their holder.
//!
//! On the local disk: `vendomini-staged-UID/KEY/` has the files, in the layout of the hub's cache
//! so that the copy has the identity of its source, and `record`, the log of what was copied.
//! `KEY.use` is locked by those who read the copy, `KEY.copy` by the one who writes it.
//!
//! Modules; each imports only modules listed before it: error; source_files, lock; pieces; record;
//! folder; copier, verify; copy.

mod copier;
mod copy;
mod error;
mod folder;
mod lock;
mod pieces;
mod record;
mod source_files;
#[cfg(test)]
mod tests;
mod verify;

pub use error::StagingError;
pub use folder::{RESERVE_BYTES, RemovedCopy};

use checkpoint::Checkpoint;
use copier::CopyWork;
use folder::{CopyPlace, StageFolder};
use lock::{HeldLock, POLL};
use record::CopyRecord;
use source_files::SourceFiles;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::{Stage, Watch};

/// A complete copy on the local disk. It is not removed while this value exists.
#[derive(Debug)]
pub struct StagedCheckpoint {
    /// The folder or `.gguf` file to open.
    pub root: PathBuf,
    pub bytes: u64,
    /// Bytes that this call read from the checkpoint; 0 if the copy was there.
    pub copied_bytes: u64,
    /// Bytes that an unfinished copy had left.
    pub kept_bytes: u64,
    /// Files of the copy that had been changed on the local disk, and were copied again.
    pub changed_files: usize,
    files: SourceFiles,
    place: CopyPlace,
    _in_use: HeldLock,
}

/// Whether a complete copy of a checkpoint is on the local disk at `disk`.
pub fn is_staged(checkpoint: &Checkpoint, disk: &Path) -> bool {
    let Ok(files) = SourceFiles::of(checkpoint) else { return false };
    let place = CopyPlace { folder: StageFolder::path_on(disk).join(&files.key) };
    copy::is_complete(&place, &files)
}

/// Bytes to copy.
///
/// # Errors
/// `Source`, `NotPlain` or `Changed`.
pub fn bytes_to_stage(checkpoint: &Checkpoint) -> Result<u64, StagingError> {
    Ok(SourceFiles::of(checkpoint)?.bytes())
}

/// Copies a checkpoint to the local disk at `disk`, if it is not there. While another task does so,
/// waits as long as its copy goes on, and at most `patience` without that.
///
/// # Errors
/// Any [`StagingError`]. What this call has written is removed, unless a further attempt can
/// continue it.
pub fn stage(
    checkpoint: &Checkpoint,
    disk: &Path,
    patience: Duration,
    watch: &Watch,
) -> Result<StagedCheckpoint, StagingError> {
    stage_in(&StageFolder::open(disk, RESERVE_BYTES)?, checkpoint, patience, watch)
}

fn stage_in(
    folder: &StageFolder,
    checkpoint: &Checkpoint,
    patience: Duration,
    watch: &Watch,
) -> Result<StagedCheckpoint, StagingError> {
    let files = SourceFiles::of(checkpoint)?;
    let place = folder.place(&files.key);
    let mut stage = watch.enter(Stage::Fetch);
    let _beside = BesideBar::new(watch, format!("staging on {}", folder.disk().display()));
    let in_use = wait_for(patience, (&place, &files), watch, CopyPlace::try_use)?;
    let mut work = CopyWork::default();
    if !copy::is_complete(&place, &files) {
        let _writing = wait_for(patience, (&place, &files), watch, CopyPlace::try_copy)?;
        if !copy::is_complete(&place, &files) {
            work = copy::copy(folder, &place, &files, &checkpoint.root, watch)
                .map_err(|error| clean_up(&place, error))?;
        }
    }
    let root = place.folder.join(&files.root);
    stage.summary(summary(&checkpoint.root, &root, &work));
    Ok(StagedCheckpoint {
        root,
        bytes: files.bytes(),
        copied_bytes: work.copied_bytes,
        kept_bytes: work.kept_bytes,
        changed_files: work.changed_files,
        files,
        place,
        _in_use: in_use,
    })
}

/// The text beside the progress bar of a copy, which is removed when the copy ends.
struct BesideBar<'a>(&'a Watch);

impl<'a> BesideBar<'a> {
    fn new(watch: &'a Watch, text: String) -> Self {
        watch.detail(text);
        BesideBar(watch)
    }
}

impl Drop for BesideBar<'_> {
    fn drop(&mut self) {
        self.0.detail("");
    }
}

/// What was copied, from where to where.
fn summary(source: &Path, root: &Path, work: &CopyWork) -> String {
    let (from, to) = (source.display(), root.display());
    match (work.copied_bytes, work.kept_bytes) {
        (0, 0) => format!("{to} is a copy of {from}"),
        (_, 0) => format!("copied {from} to {to}"),
        (_, kept) => {
            format!("copied {from} to {to}, {:.1} MB of which were there", kept as f64 / 1e6)
        }
    }
}

/// Removes an unfinished copy that no further attempt can use.
fn clean_up(place: &CopyPlace, error: StagingError) -> StagingError {
    if !error.keeps_copy() {
        // The copy's own error says more than one of its removal.
        drop(place.remove_files());
    }
    error
}

/// Waits for a lock as long as the copy's record grows, and at most `patience` without that. The
/// progress of the copy is this task's, too.
fn wait_for(
    patience: Duration,
    (place, files): (&CopyPlace, &SourceFiles),
    watch: &Watch,
    take: impl Fn(&CopyPlace) -> Result<Option<HeldLock>, StagingError>,
) -> Result<HeldLock, StagingError> {
    if let Some(lock) = take(place)? {
        return Ok(lock);
    }
    let folder = place.folder.display().to_string();
    watch.note(format!("another task of this node copies the model to {folder}: waiting for it"));
    watch.total(Stage::Fetch, files.bytes(), files.files.len() as u64);
    let progress = watch.thread("waiting for the copy of another task");
    progress.at(Stage::Fetch, &folder, 0);
    let (mut moved, mut length, mut bytes, mut finished) = (Instant::now(), 0, 0, 0);
    loop {
        if let Some(lock) = take(place)? {
            return Ok(lock);
        }
        if watch.canceled() {
            return Err(StagingError::Canceled);
        }
        let now = std::fs::metadata(place.record()).map_or(0, |record| record.len());
        if now != length {
            (length, moved) = (now, Instant::now());
            let record = CopyRecord::read(&place.record());
            let copied = record.bytes(files);
            progress.advance(copied.saturating_sub(bytes));
            (finished..record.files.len()).for_each(|_| progress.item_done());
            (bytes, finished) = (copied.max(bytes), record.files.len().max(finished));
        }
        if moved.elapsed() > patience {
            let (folder, seconds) = (place.folder.clone(), patience.as_secs());
            return Err(StagingError::Held { folder, seconds });
        }
        std::thread::sleep(POLL);
    }
}

impl StagedCheckpoint {
    /// Reads the whole copy and compares it with the hashes of what was copied.
    ///
    /// # Errors
    /// `Corrupted`, `Local`, `Canceled`.
    pub fn verify(&self, watch: &Watch) -> Result<(), StagingError> {
        let _stage = watch.enter(Stage::Verify);
        verify::verify(&self.place, &self.files, watch)
    }
}

/// Removes all copies on the local disk at `disk` that no process uses. Returns what was removed,
/// and the number of copies in use.
///
/// # Errors
/// `Local`, `Foreign`.
pub fn remove_unused(disk: &Path) -> Result<(Vec<RemovedCopy>, usize), StagingError> {
    if !StageFolder::path_on(disk).exists() {
        return Ok((Vec::new(), 0));
    }
    let (mut removed, mut in_use) = (Vec::new(), 0);
    for place in StageFolder::open(disk, RESERVE_BYTES)?.places()? {
        match place.remove_if_unused()? {
            Some(copy) => removed.push(copy),
            None => in_use += 1,
        }
    }
    Ok((removed, in_use))
}
