//! The log of the job arrays that were submitted for an experiment.

use crate::failure::Failure;
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

/// Begins each line of the log.
const LINE_BEGIN: &str = "{\"job\":";

/// Reads the job arrays submitted so far for an experiment; none if the file does not exist.
///
/// # Errors
/// `Io` if the file cannot be read.
pub fn submissions(folder: &Path) -> Result<Vec<Submission>, Failure> {
    let path = folder.join(SUBMISSIONS);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(parse).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::io(&path.display().to_string(), &error)),
    }
}

/// Parses a line. One that was torn by a kill or a full disk is skipped; the next one may follow it
/// without a line break.
fn parse(line: &str) -> Option<Submission> {
    let whole = serde_json::from_str(line);
    whole.or_else(|_| serde_json::from_str(&line[line.rfind(LINE_BEGIN).unwrap_or(0)..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_lines_cost_no_other_line() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(submissions(folder.path()).expect("no file").is_empty());
        let submission = |job| Submission {
            job,
            model: "m".into(),
            offset: 0,
            tasks: 2,
            script: "/s".into(),
            submitted_unix_s: 5,
            memory_mib: None,
            minutes: Some(3),
            after_out_of_memory: None,
        };
        record(folder.path(), &submission(1)).expect("written");
        let path = folder.path().join(SUBMISSIONS);
        let mut file = OpenOptions::new().append(true).open(&path).expect("a log");
        file.write_all(b"{\"job\":2,\"mod").expect("half a line");
        record(folder.path(), &submission(3)).expect("written");
        // A line of a version that recorded less.
        file.write_all(b"{\"job\":4,\"model\":\"m\",\"offset\":0,\"tasks\":1,\"script\":\"/s\",\"submitted_unix_s\":1}\n{\"jo")
            .expect("a line and a half");
        let read = submissions(folder.path()).expect("readable");
        let jobs: Vec<(u64, Option<u64>)> = read.iter().map(|s| (s.job, s.minutes)).collect();
        assert_eq!(jobs, [(1, Some(3)), (3, Some(3)), (4, None)]);
    }
}
