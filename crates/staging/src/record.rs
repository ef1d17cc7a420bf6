//! The record of a copy: which pieces and files are on the local disk. Lines are appended as the
//! copy goes on, so that it can be continued after a kill, and the last line says that it is
//! complete.

use crate::error::StagingError;
use crate::pieces::pieces;
use crate::source_files::SourceFiles;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The first line; another one is that of another version, whose record is not used.
const TITLE: &str = "vendomini staging 1";
const COMPLETE: &str = "complete";

/// A staged file as it was when it was finished. The time of the last change of its inode is
/// included, which a program cannot set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FinishedFile {
    bytes: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FinishedFile {
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        FinishedFile {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CopyRecord {
    /// The checkpoint's path.
    pub source: String,
    /// XXH3-64 of each piece that was written and read back, by the numbers of file and piece.
    pub pieces: BTreeMap<(usize, usize), u64>,
    /// The finished files, by number.
    pub files: BTreeMap<usize, FinishedFile>,
    pub complete: bool,
}

impl CopyRecord {
    /// Reads a record; an empty one if there is none, or one of another version.
    pub fn read(path: &Path) -> CopyRecord {
        std::fs::read_to_string(path).map(|text| CopyRecord::parse(&text)).unwrap_or_default()
    }

    /// Bytes of the pieces that are done.
    pub fn bytes(&self, files: &SourceFiles) -> u64 {
        let bytes = |(file, number): &(usize, usize)| {
            let file = files.files.get(*file)?;
            Some(pieces(file.bytes).nth(*number)?.bytes)
        };
        self.pieces.keys().filter_map(bytes).sum()
    }

    /// Parses a record. A line that a kill cut off, and all that is not known, is skipped.
    fn parse(text: &str) -> CopyRecord {
        let mut record = CopyRecord::default();
        let Some(lines) = text.strip_prefix(TITLE).and_then(|rest| rest.strip_prefix('\n')) else {
            return record;
        };
        let whole = lines.rfind('\n').map_or("", |end| &lines[..end]);
        for line in whole.lines() {
            record.add(line);
        }
        record
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        match (what, words.as_slice()) {
            (COMPLETE, _) => self.complete = true,
            ("source", _) => rest.clone_into(&mut self.source),
            ("piece", [file, piece, hash]) => {
                let at = (file.parse().ok()?, piece.parse().ok()?);
                self.pieces.insert(at, u64::from_str_radix(hash, 16).ok()?);
            }
            ("file", [file, bytes, inode, modified, changed]) => {
                let finished = FinishedFile {
                    bytes: bytes.parse().ok()?,
                    inode: inode.parse().ok()?,
                    modified_ns: modified.parse().ok()?,
                    changed_ns: changed.parse().ok()?,
                };
                self.files.insert(file.parse().ok()?, finished);
            }
            _ => {}
        }
        Some(())
    }
}

/// Appends to a record.
#[derive(Debug)]
pub(crate) struct RecordWriter<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> RecordWriter<'a> {
    /// Writes a new record with what is known, in the place of the old one.
    ///
    /// # Errors
    /// `Local`.
    pub fn begin(path: &'a Path, known: &CopyRecord) -> Result<Self, StagingError> {
        let mut text = format!("{TITLE}\nsource {}\n", known.source.replace('\n', " "));
        for ((file, piece), hash) in &known.pieces {
            text += &piece_line(*file, *piece, *hash);
        }
        for (file, finished) in &known.files {
            text += &file_line(*file, finished);
        }
        let fail = |error| StagingError::local(path, "write it", error);
        let new = path.with_extension("new");
        std::fs::write(&new, text).map_err(fail)?;
        std::fs::rename(&new, path).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(RecordWriter { path, file })
    }

    pub fn piece(&mut self, file: usize, piece: usize, hash: u64) -> Result<(), StagingError> {
        self.append(&piece_line(file, piece, hash))
    }

    pub fn finished(&mut self, file: usize, finished: &FinishedFile) -> Result<(), StagingError> {
        self.append(&file_line(file, finished))
    }

    /// Shows the tasks that wait that this one goes on.
    pub fn hashed(&mut self, file: usize, bytes: u64) -> Result<(), StagingError> {
        self.append(&format!("hashed {file} {bytes}\n"))
    }

    /// Marks the copy as complete.
    pub fn complete(&mut self) -> Result<(), StagingError> {
        let sync = |file: &File| file.sync_all();
        sync(&self.file).map_err(|error| StagingError::local(self.path, "write it", error))?;
        self.append(&format!("{COMPLETE}\n"))?;
        sync(&self.file).map_err(|error| StagingError::local(self.path, "write it", error))
    }

    fn append(&mut self, line: &str) -> Result<(), StagingError> {
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| StagingError::local(self.path, "write it", error))
    }
}

fn piece_line(file: usize, piece: usize, hash: u64) -> String {
    format!("piece {file} {piece} {hash:016x}\n")
}

fn file_line(file: usize, finished: &FinishedFile) -> String {
    let FinishedFile { bytes, inode, modified_ns, changed_ns } = finished;
    let mut line = String::new();
    // Writing to a string does not fail.
    let _infallible = writeln!(line, "file {file} {bytes} {inode} {modified_ns} {changed_ns}");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written_and_a_torn_line_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let finished = FinishedFile::of(&std::fs::metadata(folder.path()).unwrap());
        let mut expected = CopyRecord { source: "/a b".to_owned(), ..CopyRecord::default() };
        expected.pieces.insert((0, 0), 7);
        expected.files.insert(0, finished);
        let mut writer = RecordWriter::begin(&path, &expected).unwrap();
        writer.piece(1, 12, u64::MAX).unwrap();
        writer.hashed(1, 5).unwrap();
        expected.pieces.insert((1, 12), u64::MAX);
        assert_eq!(CopyRecord::read(&path), expected);
        writer.append("piece 1 13 00000000000000").unwrap();
        assert_eq!(CopyRecord::read(&path), expected);
        let mut writer = RecordWriter::begin(&path, &expected).unwrap();
        writer.complete().unwrap();
        expected.complete = true;
        assert_eq!(CopyRecord::read(&path), expected);
        std::fs::write(&path, "vendomini staging 2\ncomplete\n").unwrap();
        assert_eq!(CopyRecord::read(&path), CopyRecord::default());
    }
}
