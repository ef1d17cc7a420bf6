//! One attempt at a run: appends rows to the attempt's log, and commits the run or records a
//! failure.

use crate::chain::Chain;
use crate::claim::Claim;
use crate::disk;
use crate::error::ResultsError;
use crate::row::StepRow;
use crate::run_record::{RowsRecord, RunFailure, RunRecord};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Which attempt committed the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// This attempt.
    Ours,
    /// An earlier attempt; the record of this attempt is discarded.
    Another,
}

/// Time since the last write after which a row is written at once. A kill loses no more work than
/// this: rows that took longer, as all replies of models do, are in the file.
const WRITE_INTERVAL: Duration = Duration::from_millis(2);
/// Size of the waiting rows at which they are written.
const WRITE_BYTES: usize = 64 << 10;

/// Appends rows to a log that no other attempt writes to. Rows that follow each other within 2 ms
/// are written together.
#[derive(Debug)]
pub struct AttemptWriter {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    attempt: u64,
    chain: Chain,
    lines: u64,
    bytes: u64,
    line: Vec<u8>,
    /// Complete rows that are not written yet.
    waiting: Vec<u8>,
    /// Time of the last write.
    written: Instant,
    _claim: Claim,
}

impl AttemptWriter {
    /// Starts an attempt in the claimed folder, with the lowest unused number from `first` on.
    pub(crate) fn begin(folder: &Path, claim: Claim, first: u64) -> Result<Self, ResultsError> {
        let mut attempt = first;
        loop {
            let path = folder.join(format!("steps.{attempt}.jsonl"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let (chain, folder) = (Chain::default(), folder.to_path_buf());
                    let line = Vec::with_capacity(8192);
                    let waiting = Vec::with_capacity(WRITE_BYTES + 8192);
                    return Ok(Self {
                        folder,
                        path,
                        file,
                        attempt,
                        chain,
                        lines: 0,
                        bytes: 0,
                        line,
                        waiting,
                        written: Instant::now(),
                        _claim: claim,
                    });
                }
                Err(source) if source.kind() == ErrorKind::AlreadyExists => attempt += 1,
                Err(source) => return Err(ResultsError::from_io("create", &path, None, source)),
            }
        }
    }

    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Number of rows appended.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Appends the chain value to one row and the row to the log. Returns once the row is written
    /// or, if the last write was less than 2 ms ago, waits for the next one.
    pub fn append(&mut self, row: &StepRow) -> Result<(), ResultsError> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, row);
        written.map_err(|source| ResultsError::Unwritable { what: "a row", source })?;
        self.chain.seal(&mut self.line);
        self.line.push(b'\n');
        self.lines += 1;
        self.bytes += self.line.len() as u64;
        self.waiting.extend_from_slice(&self.line);
        if self.waiting.len() < WRITE_BYTES && self.written.elapsed() < WRITE_INTERVAL {
            return Ok(());
        }
        self.flush()
    }

    /// Writes the waiting rows. They are written by one call: after a kill the log ends between two
    /// rows or within one.
    fn flush(&mut self) -> Result<(), ResultsError> {
        let begin = self.bytes - self.waiting.len() as u64;
        let fail = |source| ResultsError::from_io("write", &self.path, Some(begin), source);
        let written = self.file.write_all(&self.waiting).map_err(fail);
        // If that failed, part of them may be in the log, so they are not written again.
        self.waiting.clear();
        self.written = Instant::now();
        written
    }

    /// Length and chain value of the log, for the run's record.
    pub fn rows(&self) -> RowsRecord {
        RowsRecord { lines: self.lines, bytes: self.bytes, chain: self.chain.to_string() }
    }

    /// Syncs the log, then commits the run by linking `run.json` into place. Fills in `rows` and
    /// `timing.attempt` of the record.
    pub fn commit(mut self, mut record: RunRecord) -> Result<(Committed, RunRecord), ResultsError> {
        self.flush()?;
        record.rows = self.rows();
        record.timing.attempt = self.attempt;
        self.file.sync_all().map_err(|source| {
            ResultsError::from_io("sync", &self.path, Some(self.bytes), source)
        })?;
        // The folder is synced with the link: its entry of the log is older.
        let ours =
            disk::link_document(&self.folder.join("run.json"), &self.attempt.to_string(), &record)?;
        Ok((if ours { Committed::Ours } else { Committed::Another }, record))
    }

    /// Ends the attempt without a result and records the reason. The rows are kept, and the next
    /// attempt resumes from them.
    pub fn fail(mut self, reason: &str) -> Result<(), ResultsError> {
        self.flush()?;
        let path = self.folder.join(format!("failed.{}.json", self.attempt));
        let failure =
            RunFailure { attempt: self.attempt, step: self.lines + 1, reason: reason.to_string() };
        disk::link_document(&path, &self.attempt.to_string(), &failure).map(drop)
    }
}

impl Drop for AttemptWriter {
    fn drop(&mut self) {
        // An attempt that was interrupted: its waiting rows are written if possible; without them
        // the next attempt recomputes 2 ms of work.
        let _ = self.flush();
    }
}
