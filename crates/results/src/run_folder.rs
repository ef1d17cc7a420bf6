//! The folder of one run: starts attempts, and lists and reads attempts, failures and the committed
//! record. Rows are written and committed in `attempt_writer`.

use crate::attempt_writer::AttemptWriter;
use crate::chain::Chain;
use crate::claim::{Claim, ClaimOutcome};
use crate::error::ResultsError;
use crate::owner::Owner;
use crate::row::StepRow;
use crate::run_record::{RunFailure, RunRecord};
use crate::step_outline::StepOutline;
use crate::{disk, packed_log};
use serde::de::DeserializeOwned;
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

    /// Claims the run for `owner`. `owner_file`: a file with the owner's identity on the same file
    /// system, if there is one.
    pub fn claim(
        &self,
        owner: &Owner,
        owner_file: Option<&Path>,
    ) -> Result<ClaimOutcome, ResultsError> {
        disk::make_folder(&self.path)?;
        Claim::take(&self.path, owner, owner_file)
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
        let (path, bytes) = self.committed_log(&record)?;
        let mut lines = Vec::new();
        let rows = checked_rows(&record, &path, &bytes, |line| lines.push(line.to_string()))?;
        Ok(RunAttempt { number: record.timing.attempt, path, lines, rows, note: None })
    }

    /// The rows of the committed attempt in outline. Its log is checked as by [`RunFolder::rows`].
    /// `record`: the run's committed record.
    pub fn outline(&self, record: &RunRecord) -> Result<Vec<StepOutline>, ResultsError> {
        let (path, bytes) = self.committed_log(record)?;
        checked_rows(record, &path, &bytes, |_| ())
    }

    /// Path and bytes of the committed attempt's log.
    fn committed_log(&self, record: &RunRecord) -> Result<(PathBuf, Vec<u8>), ResultsError> {
        let missing = || ResultsError::NotARun { path: self.path.clone(), expected: "its log" };
        packed_log::read(&self.log(record.timing.attempt))?.ok_or_else(missing)
    }

    /// The valid rows of an attempt, committed or not; a torn or damaged end is dropped and noted.
    pub fn read_attempt(&self, number: u64) -> Result<RunAttempt, ResultsError> {
        let log = self.log(number);
        let (path, bytes) = packed_log::read(&log)?.unwrap_or((log, Vec::new()));
        let mut lines = Vec::new();
        let scan = LogScan::of(&path, &bytes, |line| lines.push(line.to_string()));
        let note = scan.error.map(|error| error.to_string());
        Ok(RunAttempt { number, path, lines, rows: scan.rows, note })
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

/// All rows of a committed log, which must be those of the record.
fn checked_rows<R: DeserializeOwned>(
    record: &RunRecord,
    path: &Path,
    bytes: &[u8],
    on_line: impl FnMut(&str),
) -> Result<Vec<R>, ResultsError> {
    let scan = LogScan::of(path, bytes, on_line);
    if let Some(error) = scan.error {
        return Err(error);
    }
    let (lines, chain) = (scan.rows.len(), scan.chain.to_string());
    if (lines as u64, &chain) == (record.rows.lines, &record.rows.chain) {
        return Ok(scan.rows);
    }
    let expected = format!("{} rows ending in chain {}", record.rows.lines, record.rows.chain);
    let found = format!("{lines} rows ending in chain {chain}");
    Err(ResultsError::BadLine { path: path.to_path_buf(), line: lines + 1, expected, found })
}

/// A log, parsed up to the first invalid line.
struct LogScan<R> {
    rows: Vec<R>,
    chain: Chain,
    error: Option<ResultsError>,
}

impl<R: DeserializeOwned> LogScan<R> {
    /// `on_line` gets each valid line with its chain value, without the newline.
    fn of(path: &Path, bytes: &[u8], mut on_line: impl FnMut(&str)) -> LogScan<R> {
        let mut scan = LogScan { rows: Vec::new(), chain: Chain::default(), error: None };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match scan.push(line) {
                Ok(line) => on_line(line),
                Err((expected, found)) => {
                    let line = scan.rows.len() + 1;
                    let path = path.to_path_buf();
                    scan.error = Some(ResultsError::BadLine { path, line, expected, found });
                    break;
                }
            }
        }
        scan
    }

    fn push<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a str, (String, String)> {
        let complete = "a complete line".to_string();
        let Some(line) = bytes.strip_suffix(b"\n") else {
            return Err((complete, format!("a torn line of {} bytes", bytes.len())));
        };
        let line = std::str::from_utf8(line).map_err(|error| (complete, error.to_string()))?;
        let body = self
            .chain
            .open(line)
            .ok_or_else(|| (format!("a row that follows chain {}", self.chain), excerpt(line)))?;
        let row =
            serde_json::from_str(&body).map_err(|e| ("a step row".to_string(), e.to_string()))?;
        self.rows.push(row);
        Ok(line)
    }
}

fn excerpt(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_string(),
    }
}
