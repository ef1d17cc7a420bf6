//! Copies the pieces of files with several threads, and gives finished files their names.

use crate::error::StagingError;
use crate::folder::CopyPlace;
use crate::pieces::{Piece, READ_BYTES, THREADS, copy_piece, hash_piece, pieces};
use crate::record::{CopyRecord, FinishedFile, RecordWriter};
use crate::source_files::{SourceFile, SourceFiles};
use base::{on_threads, unpoisoned};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use watch::{Stage, ThreadProgress, Watch};

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

/// A piece to copy.
struct PieceToCopy<'a> {
    /// The number of its file, and its own number in that file.
    number: (usize, usize),
    part: &'a Path,
    piece: Piece,
    /// The hash of the piece, if an earlier copy had finished it.
    known: Option<u64>,
}

pub(crate) struct Copier<'a> {
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
    pub fn new(
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
    ///
    /// # Errors
    /// Any [`StagingError`] but those of locks.
    pub fn run(&self) -> Result<CopyWork, StagingError> {
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
            None => Ok(CopyWork {
                copied_bytes: self.copied_bytes.load(Ordering::Relaxed),
                kept_bytes: self.kept_bytes.load(Ordering::Relaxed),
                changed_files: 0,
            }),
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

    /// Marks the copy as complete.
    pub fn complete(&self) -> Result<(), StagingError> {
        let folder = &self.place.folder;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| StagingError::local(folder, "write it to the disk", error))?;
        unpoisoned(self.record.lock()).complete()
    }
}

/// Opens an unfinished file, which is created if it does not exist.
pub(crate) fn open_part(part: &Path) -> Result<File, StagingError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    file.map_err(|error| StagingError::local(part, "open it", error))
}
