//! Copies a checkpoint's files with several threads. The caller holds the writer's lock.

use crate::error::StagingError;
use crate::folder::{CopyPlace, StageFolder};
use crate::pieces::{Piece, READ_BYTES, copy_piece, hash_piece, pieces};
use crate::record::{CopyRecord, FinishedFile, RecordWriter};
use crate::source_files::{SourceFile, SourceFiles};
use base::{on_threads, unpoisoned};
use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use watch::{Stage, ThreadProgress, Watch};

/// Threads that copy. A network file system serves several requests at a time; more threads gain
/// little.
const THREADS: usize = 8;
/// Bytes of a file after whose hashing the tasks that wait are shown that it goes on.
const HASHED_BYTES: u64 = 512 << 20;

/// What a copy had to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CopyWork {
    /// Bytes read from the checkpoint.
    pub copied_bytes: u64,
    /// Bytes that an earlier, unfinished copy had left.
    pub kept_bytes: u64,
    /// Files that were changed on the local disk after they had been copied.
    pub changed_files: usize,
}

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
    let copier = Copier::new(place, files, &record, writer, &open, watch);
    copier.run()?;
    work.copied_bytes = copier.copied_bytes.load(Ordering::Relaxed);
    work.kept_bytes += copier.kept_bytes.load(Ordering::Relaxed);
    make_links(place, files)?;
    copier.complete()?;
    Ok(work)
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

fn open_part(part: &Path) -> Result<File, StagingError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    file.map_err(|error| StagingError::local(part, "open it", error))
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

/// A piece to copy.
struct PieceToCopy<'a> {
    /// The number of its file, and its own number in that file.
    number: (usize, usize),
    part: &'a Path,
    piece: Piece,
    /// The hash of the piece, if an earlier copy had finished it.
    known: Option<u64>,
}

struct Copier<'a> {
    place: &'a CopyPlace,
    files: &'a [SourceFile],
    todo: Vec<PieceToCopy<'a>>,
    /// The index of the next piece in `todo`.
    next: AtomicUsize,
    /// By number of the file: pieces that are not done.
    left: Vec<AtomicUsize>,
    copied_bytes: AtomicU64,
    kept_bytes: AtomicU64,
    record: Mutex<RecordWriter<'a>>,
    failed: Mutex<Option<StagingError>>,
    watch: &'a Watch,
}

impl<'a> Copier<'a> {
    fn new(
        place: &'a CopyPlace,
        files: &'a SourceFiles,
        record: &CopyRecord,
        writer: RecordWriter<'a>,
        open: &'a [(usize, PathBuf)],
        watch: &'a Watch,
    ) -> Self {
        let files = files.files.as_slice();
        let left: Vec<AtomicUsize> = files.iter().map(|_| AtomicUsize::new(0)).collect();
        let mut todo = Vec::new();
        for (file, part) in open {
            for (number, piece) in pieces(files[*file].bytes).enumerate() {
                let known = record.pieces.get(&(*file, number)).copied();
                todo.push(PieceToCopy { number: (*file, number), part, piece, known });
                left[*file].fetch_add(1, Ordering::Relaxed);
            }
        }
        Copier {
            place,
            files,
            todo,
            next: AtomicUsize::new(0),
            left,
            copied_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            record: Mutex::new(writer),
            failed: Mutex::new(None),
            watch,
        }
    }

    /// Copies all pieces.
    fn run(&self) -> Result<(), StagingError> {
        let bytes = self.files.iter().map(|file| file.bytes).sum();
        self.watch.total(Stage::Fetch, bytes, self.files.len() as u64);
        let main = self.watch.thread("staging");
        main.at(Stage::Fetch, &self.place.folder.display().to_string(), 0);
        for (file, left) in self.files.iter().zip(&self.left) {
            if left.load(Ordering::Relaxed) == 0 {
                main.advance(file.bytes);
                main.item_done();
            }
        }
        drop(main);
        on_threads(THREADS.min(self.todo.len()), |thread| {
            let progress = self.watch.thread(&format!("copier {thread}"));
            let mut buffer = vec![0; READ_BYTES];
            while let Some(todo) = self.next_piece() {
                if let Err(error) = self.piece(todo, &mut buffer, &progress) {
                    unpoisoned(self.failed.lock()).get_or_insert(error);
                }
            }
        });
        match unpoisoned(self.failed.lock()).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// The next piece; `None` if there is none, or after an error.
    fn next_piece(&self) -> Option<&PieceToCopy<'a>> {
        if unpoisoned(self.failed.lock()).is_some() {
            return None;
        }
        self.todo.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn piece(
        &self,
        todo: &PieceToCopy<'_>,
        buffer: &mut [u8],
        progress: &ThreadProgress,
    ) -> Result<(), StagingError> {
        let (number, piece) = (todo.number, todo.piece);
        let source = &self.files[number.0];
        let part = open_part(todo.part)?;
        let target = (todo.part, &part);
        let at = |path: &Path| progress.at(Stage::Fetch, &path.display().to_string(), piece.offset);
        let beat = |_| {
            self.watch.beat();
            self.go_on()
        };
        at(todo.part);
        let read_back = |buffer: &mut [u8]| hash_piece(target.0, target.1, piece, buffer, &beat);
        let counter = match todo.known {
            Some(known) if read_back(buffer)? == known => {
                progress.advance(piece.bytes);
                &self.kept_bytes
            }
            _ => {
                at(&source.path);
                let advance = |bytes| {
                    progress.advance(bytes);
                    self.go_on()
                };
                let mut hash = copy_piece(source, target, piece, buffer, &advance)?;
                at(todo.part);
                if read_back(buffer)? != hash {
                    hash = copy_piece(source, target, piece, buffer, &beat)?;
                    if read_back(buffer)? != hash {
                        let (file, offset) = (todo.part.to_owned(), piece.offset);
                        return Err(StagingError::BadDisk { file, offset });
                    }
                }
                unpoisoned(self.record.lock()).piece(number.0, number.1, hash)?;
                &self.copied_bytes
            }
        };
        counter.fetch_add(piece.bytes, Ordering::Relaxed);
        if self.left[number.0].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(number.0, target, buffer)?;
            progress.item_done();
        }
        Ok(())
    }

    /// An error if the copy is to end.
    fn go_on(&self) -> Result<(), StagingError> {
        if self.watch.canceled() { Err(StagingError::Canceled) } else { Ok(()) }
    }

    /// Gives a file, all of whose pieces are on the disk, its final name.
    fn finish(
        &self,
        number: usize,
        (part, file): (&Path, &File),
        buffer: &mut [u8],
    ) -> Result<(), StagingError> {
        let source = &self.files[number];
        source.open()?;
        self.check_sha256(number, (part, file), buffer)?;
        let path = self.place.folder.join(&source.name);
        let fail = |error| StagingError::local(&path, "finish it", error);
        file.sync_all().map_err(fail)?;
        std::fs::rename(part, &path).map_err(fail)?;
        let finished = FinishedFile::of(&file.metadata().map_err(fail)?);
        unpoisoned(self.record.lock()).finished(number, &finished)
    }

    /// Compares a file of the hub's cache with the SHA-256 that is its name.
    fn check_sha256(
        &self,
        number: usize,
        (part, file): (&Path, &File),
        buffer: &mut [u8],
    ) -> Result<(), StagingError> {
        let source = &self.files[number];
        let Some(expected) = &source.sha256 else { return Ok(()) };
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < source.bytes {
            let len = READ_BYTES.min((source.bytes - at) as usize);
            let bytes = &mut buffer[..len];
            file.read_exact_at(bytes, at)
                .map_err(|error| StagingError::local(part, "read it back", error))?;
            hash.update(&*bytes);
            at += len as u64;
            self.watch.beat();
            self.go_on()?;
            if at.is_multiple_of(HASHED_BYTES) {
                unpoisoned(self.record.lock()).hashed(number, at)?;
            }
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == *expected {
            return Ok(());
        }
        let (file, expected) = (source.path.clone(), expected.clone());
        Err(StagingError::Damaged { file, expected, found })
    }

    fn complete(&self) -> Result<(), StagingError> {
        let folder = &self.place.folder;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| StagingError::local(folder, "write it to the disk", error))?;
        unpoisoned(self.record.lock()).complete()
    }
}

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
