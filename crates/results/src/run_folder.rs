//! The folder of one run: starts attempts, and lists and reads attempts, failures and the committed
//! record. Rows are written and committed in `attempt_writer`.

use crate::attempt_writer::AttemptWriter;
use crate::chain::Chain;
use crate::claim::{Claim, ClaimOutcome, Owner};
use crate::error::ResultsError;
use crate::row::StepRow;
use crate::run_record::{RunFailure, RunRecord};
use crate::{disk, packed_log};
use std::path::{Path, PathBuf};

/// The folder `runs/<ab>/<run_id>` of one run, where `<ab>` are the first two characters of the run
/// id.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

/// The valid rows of one attempt.
#[derive(Debug, Clone)]
pub struct RunAttempt {
    pub number: u64,
    /// Path of the log.
    pub path: PathBuf,
    /// Lines of the log with their chain values, complete and in order, without newlines.
    pub lines: Vec<String>,
    /// The rows parsed from `lines`.
    pub rows: Vec<StepRow>,
    /// Why the end of the log was dropped: a torn last line, or a damaged line and all after it.
    pub note: Option<String>,
}

impl RunFolder {
    /// The folder at `path`, which may not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        RunFolder { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn run_id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The committed record; `None` if the run is not committed.
    pub fn committed(&self) -> Result<Option<RunRecord>, ResultsError> {
        disk::read_document(&self.path.join("run.json"))
    }

    /// Whether the run is committed; does not read the record.
    pub fn is_committed(&self) -> bool {
        self.path.join("run.json").exists()
    }

    /// Claims the run for `owner`.
    pub fn claim(&self, owner: &Owner) -> Result<ClaimOutcome, ResultsError> {
        disk::make_folder(&self.path)?;
        Claim::take(&self.path, owner)
    }

    /// The process that holds the run's claim, if it is alive as far as `here` can tell.
    pub fn held_by(&self, here: &Owner) -> Result<Option<Owner>, ResultsError> {
        Claim::holder(&self.path, here)
    }

    /// Starts a new attempt, which writes its rows to a new log.
    pub fn begin(&self, claim: Claim) -> Result<AttemptWriter, ResultsError> {
        let last = self.attempts()?.last().copied().unwrap_or(0);
        AttemptWriter::begin(&self.path, claim, last + 1)
    }

    /// Numbers of all attempts with a log, ascending.
    pub fn attempts(&self) -> Result<Vec<u64>, ResultsError> {
        let mut numbers = self.numbers("steps.", ".jsonl")?;
        numbers.extend(self.numbers("steps.", ".jsonl.zst")?);
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Records of the failed attempts, oldest first.
    pub fn failures(&self) -> Result<Vec<RunFailure>, ResultsError> {
        let mut failures = Vec::new();
        for number in self.numbers("failed.", ".json")? {
            failures.extend(disk::read_document(&self.path.join(format!("failed.{number}.json")))?);
        }
        Ok(failures)
    }

    fn numbers(&self, prefix: &str, suffix: &str) -> Result<Vec<u64>, ResultsError> {
        let number = |name: &String| name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok();
        let mut numbers: Vec<u64> = disk::names(&self.path)?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The attempt to resume: the one with the most valid rows. `None` if no attempt has a valid
    /// row.
    pub fn longest_attempt(&self) -> Result<Option<RunAttempt>, ResultsError> {
        let mut best: Option<RunAttempt> = None;
        for number in self.attempts()? {
            let attempt = self.read_attempt(number)?;
            if attempt.lines.len() > best.as_ref().map_or(0, |b| b.lines.len()) {
                best = Some(attempt);
            }
        }
        Ok(best)
    }

    /// The rows of the committed attempt. An edited, truncated or damaged log is an error with the
    /// line number.
    pub fn rows(&self) -> Result<Vec<StepRow>, ResultsError> {
        Ok(self.committed_attempt()?.rows)
    }

    /// The committed attempt. Its log is checked as by [`RunFolder::rows`].
    pub fn committed_attempt(&self) -> Result<RunAttempt, ResultsError> {
        let missing = || ResultsError::NotARun { path: self.path.clone(), expected: "run.json" };
        let record = self.committed()?.ok_or_else(missing)?;
        let missing = || ResultsError::NotARun { path: self.path.clone(), expected: "its log" };
        let (path, bytes) =
            packed_log::read(&self.log(record.timing.attempt))?.ok_or_else(missing)?;
        let mut scan = LogScan::of(record.timing.attempt, &path, &bytes);
        if let Some(error) = scan.error.take() {
            return Err(error);
        }
        let (lines, chain) = (scan.attempt.lines.len(), scan.chain.to_string());
        if (lines as u64, &chain) != (record.rows.lines, &record.rows.chain) {
            let expected =
                format!("{} rows ending in chain {}", record.rows.lines, record.rows.chain);
            let found = format!("{lines} rows ending in chain {chain}");
            return Err(ResultsError::BadLine { path, line: lines + 1, expected, found });
        }
        Ok(scan.attempt)
    }

    /// The valid rows of an attempt, committed or not; a torn or damaged end is dropped and noted.
    pub fn read_attempt(&self, number: u64) -> Result<RunAttempt, ResultsError> {
        let log = self.log(number);
        let (path, bytes) = packed_log::read(&log)?.unwrap_or((log, Vec::new()));
        let scan = LogScan::of(number, &path, &bytes);
        let mut attempt = scan.attempt;
        attempt.note = scan.error.map(|error| error.to_string());
        Ok(attempt)
    }

    /// Compresses the log of a committed run if it is long, and returns whether it did. Readers get
    /// the same rows at any time.
    pub fn pack(&self) -> Result<bool, ResultsError> {
        match self.committed()? {
            Some(record) => packed_log::pack(&self.log(record.timing.attempt)),
            None => Ok(false),
        }
    }

    fn log(&self, attempt: u64) -> PathBuf {
        self.path.join(format!("steps.{attempt}.jsonl"))
    }
}

/// A log, parsed up to the first invalid line.
struct LogScan {
    attempt: RunAttempt,
    chain: Chain,
    error: Option<ResultsError>,
}

impl LogScan {
    fn of(number: u64, path: &Path, bytes: &[u8]) -> LogScan {
        let attempt = RunAttempt {
            number,
            path: path.to_path_buf(),
            lines: Vec::new(),
            rows: Vec::new(),
            note: None,
        };
        let mut scan = LogScan { attempt, chain: Chain::default(), error: None };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Err((expected, found)) = scan.push(line) {
                let line = scan.attempt.lines.len() + 1;
                scan.error =
                    Some(ResultsError::BadLine { path: path.to_path_buf(), line, expected, found });
                break;
            }
        }
        scan
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), (String, String)> {
        let complete = "a complete line".to_string();
        let Some(line) = bytes.strip_suffix(b"\n") else {
            return Err((complete, format!("a torn line of {} bytes", bytes.len())));
        };
        let line = std::str::from_utf8(line).map_err(|error| (complete, error.to_string()))?;
        let body = self.chain.open(line).ok_or_else(|| (self.expected_chain(), excerpt(line)))?;
        let row: StepRow =
            serde_json::from_str(&body).map_err(|e| ("a step row".to_string(), e.to_string()))?;
        self.attempt.lines.push(line.to_string());
        self.attempt.rows.push(row);
        Ok(())
    }

    fn expected_chain(&self) -> String {
        format!("a row that follows chain {}", self.chain)
    }
}

fn excerpt(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_string(),
    }
}
