//! Reads a copy and compares it with the hashes of what was copied.

use crate::error::StagingError;
use crate::folder::CopyPlace;
use crate::pieces::{READ_BYTES, THREADS, hash_piece, pieces};
use crate::record::CopyRecord;
use crate::source_files::{SourceFile, SourceFiles};
use base::{on_threads, unpoisoned};
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use watch::{Stage, ThreadProgress, Watch};

/// Reads a complete copy and compares it with the hashes of what was copied.
///
/// # Errors
/// `Corrupted`, `Local`, `Canceled`.
pub(crate) fn verify(
    place: &CopyPlace,
    files: &SourceFiles,
    watch: &Watch,
) -> Result<(), StagingError> {
    let record = CopyRecord::read(&place.record());
    watch.total(Stage::Verify, files.bytes(), files.files.len() as u64);
    let failed = Mutex::new(None);
    let next = AtomicUsize::new(0);
    on_threads(THREADS.min(files.files.len()), |thread| {
        let progress = watch.thread(&format!("verifier {thread}"));
        let mut buffer = vec![0; READ_BYTES];
        while let Some((number, file)) = next_file(files, &next, &failed) {
            let path = place.folder.join(&file.name);
            progress.at(Stage::Verify, &path.display().to_string(), 0);
            match verify_file(&record, number, (&path, file), &mut buffer, (&progress, watch)) {
                Ok(()) => progress.item_done(),
                Err(error) => drop(unpoisoned(failed.lock()).get_or_insert(error)),
            }
        }
    });
    let failed = unpoisoned(failed.lock()).take();
    failed.map_or(Ok(()), Err)
}

fn next_file<'a>(
    files: &'a SourceFiles,
    next: &AtomicUsize,
    failed: &Mutex<Option<StagingError>>,
) -> Option<(usize, &'a SourceFile)> {
    if unpoisoned(failed.lock()).is_some() {
        return None;
    }
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, files.files.get(number)?))
}

fn verify_file(
    record: &CopyRecord,
    number: usize,
    (path, file): (&Path, &SourceFile),
    buffer: &mut [u8],
    (progress, watch): (&ThreadProgress, &Watch),
) -> Result<(), StagingError> {
    let opened = File::open(path).map_err(|e| StagingError::local(path, "open it", e))?;
    let advance = |bytes| {
        progress.advance(bytes);
        if watch.canceled() { Err(StagingError::Canceled) } else { Ok(()) }
    };
    for (at, piece) in pieces(file.bytes).enumerate() {
        let found = hash_piece(path, &opened, piece, buffer, &advance)?;
        if record.pieces.get(&(number, at)) != Some(&found) {
            let file = path.to_owned();
            return Err(StagingError::Corrupted { file, offset: piece.offset });
        }
    }
    Ok(())
}
