//! The file of a log: a zip archive of JSON documents with fixed times, which is written beside its
//! place and moved there when it is complete.

use crate::error::ExperimentError;
use results::ResultsError;
use serde::Serialize;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, Error, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// An archive that is being written; dropped before [`LogArchive::finish`], it leaves nothing.
pub(super) struct LogArchive {
    /// `None` once the archive is finished.
    zip: Option<ZipWriter<ArchiveFile>>,
    /// Set when the archive is given up.
    abandoned: Rc<Cell<bool>>,
    path: PathBuf,
    partial: PathBuf,
    /// Bytes of the documents so far, before compression.
    written: u64,
}

impl LogArchive {
    pub fn create(path: &Path) -> Result<LogArchive, ExperimentError> {
        // Not a name of this process: what a killed one leaves is overwritten by the next.
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial)
            .map_err(|source| ResultsError::from_io("create", path, Some(0), source))?;
        let abandoned = Rc::new(Cell::new(false));
        let file = ArchiveFile::new(file, abandoned.clone());
        let (zip, path) = (Some(ZipWriter::new(file)), path.to_path_buf());
        Ok(LogArchive { zip, abandoned, path, partial, written: 0 })
    }

    /// Appends a document. Deflate is what every reader of zip files knows.
    pub fn add(&mut self, name: &str, document: &impl Serialize) -> Result<(), ExperimentError> {
        let bytes = serde_json::to_vec(document)
            .map_err(|source| ResultsError::Unwritable { what: "a log", source })?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .large_file(bytes.len() > u32::MAX as usize / 2);
        let Some(zip) = &mut self.zip else { return Ok(()) };
        let added = zip
            .start_file(name, options)
            .and_then(|()| zip.write_all(&bytes).map_err(ZipError::from));
        let (path, written) = (&self.path, self.written);
        added.map_err(|error| unwritten(path, written, error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Completes the archive, syncs it, and moves it to its place.
    pub fn finish(mut self) -> Result<(), ExperimentError> {
        let Some(zip) = self.zip.take() else { return Ok(()) };
        let (path, partial) = (&self.path, &self.partial);
        let out = zip.finish().map_err(|error| unwritten(path, self.written, error))?;
        let io = |source| ResultsError::from_io("write", path, Some(self.written), source);
        let file = out.file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        fs::rename(partial, path).map_err(io)?;
        Ok(())
    }
}

impl Drop for LogArchive {
    fn drop(&mut self) {
        self.abandoned.set(true);
        // After `finish` the partial file has moved, and there is nothing to remove.
        let _ = fs::remove_file(&self.partial);
    }
}

/// A file of which nothing more is written once it is given up: a `ZipWriter` that is dropped
/// completes its archive, and complains on stderr if the disk is full.
struct ArchiveFile {
    file: BufWriter<File>,
    abandoned: Rc<Cell<bool>>,
    /// Position and length in bytes, as the writer of the archive sees them: it asks for them also
    /// when nothing is written.
    position: u64,
    length: u64,
}

impl ArchiveFile {
    fn new(file: File, abandoned: Rc<Cell<bool>>) -> ArchiveFile {
        ArchiveFile { file: BufWriter::new(file), abandoned, position: 0, length: 0 }
    }
}

impl Write for ArchiveFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = if self.abandoned.get() { bytes.len() } else { self.file.write(bytes)? };
        self.position += count as u64;
        self.length = self.length.max(self.position);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.abandoned.get() { Ok(()) } else { self.file.flush() }
    }
}

impl Seek for ArchiveFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            _ if !self.abandoned.get() => self.file.seek(to)?,
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.position.saturating_add_signed(by),
            SeekFrom::End(by) => self.length.saturating_add_signed(by),
        };
        Ok(self.position)
    }
}

fn unwritten(path: &Path, written: u64, error: ZipError) -> ExperimentError {
    let source = match error {
        ZipError::Io(source) => source,
        other => Error::other(other),
    };
    ResultsError::from_io("write", path, Some(written), source).into()
}
