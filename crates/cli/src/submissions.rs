//! The log of the job arrays that were submitted for an experiment.

use crate::failure::Failure;
use error_kind::ErrorKind;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file in an experiment's folder with one line for each submitted job array.
pub const SUBMISSIONS: &str = "submissions.jsonl";

/// A submitted job array: one line of [`SUBMISSIONS`]. Scripts write such lines too, for jobs that
/// go on with a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submission {
    /// The array's job id.
    pub job: u64,
    /// The model whose runs the tasks do.
    pub model: String,
    /// Index of the array's first task among the model's tasks.
    pub offset: usize,
    /// Number of tasks in the array.
    pub tasks: usize,
    pub script: PathBuf,
    pub submitted_unix_s: u64,
    /// Memory of each task; `None` if it was not asked for.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Time limit of each task.
    #[serde(default)]
    pub minutes: Option<u64>,
    /// The task, `<array>_<index>`, that ran out of memory and goes on in this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_out_of_memory: Option<String>,
}

/// Appends a submission to the log of an experiment's folder.
///
/// # Errors
/// `Io` if the log cannot be written.
pub fn record(folder: &Path, submission: &Submission) -> Result<(), Failure> {
    let path = folder.join(SUBMISSIONS);
    let mut line =
        serde_json::to_string(submission).map_err(|e| Failure::software(format!("JSON: {e}")))?;
    line.push('\n');
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|e| Failure::io(&path.display().to_string(), &e))
}

/// Reads the job arrays submitted so far for an experiment; none if the file does not exist.
///
/// # Errors
/// `Io` if the file cannot be read, `BadInput` for an invalid line.
pub fn submissions(folder: &Path) -> Result<Vec<Submission>, Failure> {
    let path = folder.join(SUBMISSIONS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(&path.display().to_string(), &error)),
    };
    let bad = |error: serde_json::Error| {
        Failure::new(ErrorKind::BadInput, format!("{}: {error}", path.display()))
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(bad)).collect()
}
