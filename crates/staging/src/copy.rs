//! Makes a copy complete: keeps what an earlier attempt has left, makes room, copies the rest and
//! links the names. The caller holds the writer's lock.

use crate::copier::{Copier, CopyWork, open_part};
use crate::error::StagingError;
use crate::folder::{CopyPlace, StageFolder};
use crate::lock::{HeldLock, POLL};
use crate::record::{CopyRecord, FinishedFile, RecordWriter};
use crate::source_files::{SourceFile, SourceFiles};
use rustix::fs::{FallocateFlags, fallocate};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watch::Watch;

/// Longest wait for another copy that removes unused ones and allocates its space.
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The path of an unfinished file.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Whether a copy is complete, and its files are those that were copied.
pub(crate) fn is_complete(place: &CopyPlace, files: &SourceFiles) -> bool {
    let record = CopyRecord::read(&place.record());
    let intact = |(number, file): (usize, &SourceFile)| is_finished(place, &record, number, file);
    let linked = |file: &SourceFile| file.links.iter().all(|link| place.folder.join(link).exists());
    record.complete && files.files.iter().enumerate().all(intact) && files.files.iter().all(linked)
}

fn is_finished(place: &CopyPlace, record: &CopyRecord, number: usize, file: &SourceFile) -> bool {
    let found = std::fs::symlink_metadata(place.folder.join(&file.name));
    let Ok(found) = found else { return false };
    found.is_file()
        && found.len() == file.bytes
        && record.files.get(&number) == Some(&FinishedFile::of(&found))
}

/// Copies what is missing.
///
/// # Errors
/// Any [`StagingError`] but those of locks.
pub(crate) fn copy(
    folder: &StageFolder,
    place: &CopyPlace,
    files: &SourceFiles,
    source: &Path,
    watch: &Watch,
) -> Result<CopyWork, StagingError> {
    let mut record = CopyRecord::read(&place.record());
    let mut work = CopyWork::default();
    make_folders(place, files)?;
    let mut open = Vec::new();
    let mut missing_bytes = 0;
    for (number, file) in files.files.iter().enumerate() {
        if is_finished(place, &record, number, file) {
            work.kept_bytes += file.bytes;
            continue;
        }
        work.changed_files += usize::from(prepare(place, &mut record, number, file)?);
        let part = unfinished(&place.folder.join(&file.name));
        let allocated = std::fs::metadata(&part).map_or(0, |part| part.blocks() * 512);
        missing_bytes += file.bytes.saturating_sub(allocated);
        open.push((number, part));
    }
    let allocating = wait_to_allocate(folder, watch)?;
    for removed in folder.make_room(missing_bytes, place)? {
        let what = if removed.source.is_empty() { "an unknown model" } else { &removed.source };
        watch.note(format!("removed the unused copy of {what} to make room"));
    }
    record.source = source.display().to_string();
    record.complete = false;
    let path = place.record();
    let writer = RecordWriter::begin(&path, &record)?;
    for (number, part) in &open {
        allocate(part, files.files[*number].bytes)?;
    }
    drop(allocating);
    let copier = Copier::new(place, files, &record, writer, &open, watch);
    let done = copier.run()?;
    work.copied_bytes += done.copied_bytes;
    work.kept_bytes += done.kept_bytes;
    make_links(place, files)?;
    copier.complete()?;
    Ok(work)
}

/// Waits until no other copy allocates its disk space; not for ever, since what is left of it then
/// is less than the reserve at worst.
fn wait_to_allocate(folder: &StageFolder, watch: &Watch) -> Result<Option<HeldLock>, StagingError> {
    let since = Instant::now();
    loop {
        let lock = folder.try_allocate()?;
        if lock.is_some() || since.elapsed() > ALLOCATE_TIMEOUT {
            return Ok(lock);
        }
        if watch.canceled() {
            return Err(StagingError::Canceled);
        }
        std::thread::sleep(POLL);
    }
}

fn make_folders(place: &CopyPlace, files: &SourceFiles) -> Result<(), StagingError> {
    let names = files.files.iter().flat_map(|file| file.links.iter().chain([&file.name]));
    for name in names {
        let path = place.folder.join(name);
        let folder = path.parent().unwrap_or(&place.folder);
        std::fs::create_dir_all(folder)
            .map_err(|error| StagingError::local(folder, "make the folder", error))?;
    }
    Ok(())
}

/// Makes a file with its final name an unfinished one, unless it was changed after it had been
/// finished: then it is removed, and true is returned.
fn prepare(
    place: &CopyPlace,
    record: &mut CopyRecord,
    number: usize,
    file: &SourceFile,
) -> Result<bool, StagingError> {
    let path = place.folder.join(&file.name);
    let was_finished = record.files.remove(&number).is_some();
    let found = std::fs::symlink_metadata(&path).ok();
    let forget = |record: &mut CopyRecord| record.pieces.retain(|at, _| at.0 != number);
    let fail = |error| StagingError::local(&path, "remove it", error);
    match found {
        // Killed between renaming the file and recording that.
        Some(found) if !was_finished && found.is_file() => {
            std::fs::rename(&path, unfinished(&path)).map_err(fail)?;
        }
        Some(found) => {
            forget(record);
            if found.is_dir() {
                std::fs::remove_dir_all(&path).map_err(fail)?;
            } else {
                std::fs::remove_file(&path).map_err(fail)?;
            }
        }
        None if was_finished => forget(record),
        None => {}
    }
    let part = unfinished(&path);
    if std::fs::symlink_metadata(&part)
        .is_ok_and(|part| !part.is_file() || part.len() != file.bytes)
    {
        std::fs::remove_file(&part).map_err(|e| StagingError::local(&part, "remove it", e))?;
    }
    if !part.exists() {
        forget(record);
    }
    Ok(was_finished)
}

/// Creates an unfinished file with all of its disk space, so that the disk cannot become full while
/// it is copied.
fn allocate(part: &Path, bytes: u64) -> Result<(), StagingError> {
    let fail = |error| StagingError::local(part, "allocate its disk space", error);
    let file = open_part(part)?;
    if bytes == 0 {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.set_len(bytes).map_err(fail)
        }
        done => done.map_err(|error| fail(error.into())),
    }
}

/// Links the checkpoint's own names to the copied blobs.
fn make_links(place: &CopyPlace, files: &SourceFiles) -> Result<(), StagingError> {
    for file in &files.files {
        for link in &file.links {
            let path = place.folder.join(link);
            let up = "../".repeat(link.components().count() - 1);
            let target = PathBuf::from(up).join(&file.name);
            if std::fs::read_link(&path).is_ok_and(|found| found == target) {
                continue;
            }
            let fail = |error| StagingError::local(&path, "link it", error);
            if std::fs::symlink_metadata(&path).is_ok() {
                std::fs::remove_file(&path).map_err(fail)?;
            }
            std::os::unix::fs::symlink(&target, &path).map_err(fail)?;
        }
    }
    Ok(())
}
