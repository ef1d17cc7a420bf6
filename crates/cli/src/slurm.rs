//! Calls Slurm's programs, each with a timeout.

use crate::failure::Failure;
use error_kind::ErrorKind;
use std::io::{Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Longest time that a call may take. Slurm's own message timeout is 10 s, and Slurm retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Variable of a task that came back with more memory. It must not reach other jobs that are
/// submitted from one.
const MEMORY_VARIABLE: &str = "VENDOMINI_MEMORY_MIB";

/// What a program printed.
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program and returns its stdout.
///
/// # Errors
/// `Unavailable` if the program is not installed, does not answer in time, or fails (the message
/// includes its stderr); `Io` if its output cannot be read.
pub fn call(program: &str, arguments: &[String]) -> Result<String, Failure> {
    Ok(call_with_input(program, arguments, "")?.stdout)
}

/// Runs a program that reads `input` from its stdin, and returns what it printed.
///
/// # Errors
/// As for [`call`].
pub fn call_with_input(
    program: &str,
    arguments: &[String],
    input: &str,
) -> Result<Printed, Failure> {
    let unavailable = |text: String| Failure::new(ErrorKind::Unavailable, text);
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => unavailable(format!(
            "{program} was not found: this machine has no Slurm, or it is not in PATH. Use a login node, --dry-run, or vendomini run"
        )),
        _ => unavailable(format!("cannot start {program}: {error}")),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove(MEMORY_VARIABLE)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let (stdout, stderr) = (read_aside(child.stdout.take())?, read_aside(child.stderr.take())?);
    write_aside(child.stdin.take(), input.to_owned())?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| Failure::io(&format!("waiting for {program}"), &e))? {
            Some(status) => break status,
            None if started.elapsed() > CALL_TIMEOUT => {
                // Killing fails if the program has ended in the meantime, which does not matter.
                let _ended = child.kill();
                let seconds = CALL_TIMEOUT.as_secs();
                return Err(unavailable(format!(
                    "{program} did not answer within {seconds} s: is slurmctld up?"
                )));
            }
            None => std::thread::sleep(POLL),
        }
    };
    let text = |from: Receiver<std::io::Result<String>>| match from.recv_timeout(CALL_TIMEOUT) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::io(&format!("reading the output of {program}"), &error)),
        Err(_) => {
            Err(unavailable(format!("{program} ended, but another process holds its output open")))
        }
    };
    let (stdout, stderr) = (text(stdout)?, text(stderr)?);
    if status.success() {
        return Ok(Printed { stdout, stderr });
    }
    Err(unavailable(format!("{program} failed ({status}): {}", stderr.trim())))
}

/// Writes to a pipe on another thread. A program that ended or that reads less gets less.
fn write_aside(to: Option<ChildStdin>, text: String) -> Result<(), Failure> {
    let Some(mut to) = to else { return Ok(()) };
    let write = move || {
        let _unread = to.write_all(text.as_bytes());
    };
    let thread = std::thread::Builder::new().name("slurm input".into()).spawn(write);
    thread.map(drop).map_err(|e| Failure::software(format!("cannot start a thread: {e}")))
}

/// Reads a pipe to its end on another thread, so that the caller can stop waiting after a timeout.
fn read_aside(
    from: Option<impl Read + Send + 'static>,
) -> Result<Receiver<std::io::Result<String>>, Failure> {
    let (send, output) = sync_channel(1);
    let read = move || {
        let mut bytes = Vec::new();
        let read = from.map_or(Ok(0), |mut from| from.read_to_end(&mut bytes));
        let _receiver_gone = send.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
    };
    let thread = std::thread::Builder::new().name("slurm output".into()).spawn(read);
    thread.map_err(|e| Failure::software(format!("cannot start a thread: {e}")))?;
    Ok(output)
}

/// Slurm's limits on job arrays and submitted jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLimits {
    /// MaxArraySize: the index of a task must be below it.
    pub array_size: usize,
    /// The smallest limit on submitted jobs of this user's associations and of the QOS; `None` if
    /// accounting sets no limit.
    pub submit_jobs: Option<usize>,
}

/// Queries the cluster's limits. If Slurm has no accounting database, only `scontrol` is called.
///
/// # Errors
/// `Unavailable` or `Io`, as for [`call`].
pub fn limits(account: Option<&str>, qos: Option<&str>) -> Result<ClusterLimits, Failure> {
    let settings = call("scontrol", &["show".into(), "config".into()])?;
    let array_size = setting(&settings, "MaxArraySize").and_then(|number| number.parse().ok());
    let array_size = array_size.ok_or_else(|| {
        Failure::new(
            ErrorKind::Unavailable,
            "the output of scontrol show config has no MaxArraySize",
        )
    })?;
    let accounting =
        setting(&settings, "AccountingStorageType").is_some_and(|kind| kind.ends_with("slurmdbd"));
    let submit_jobs = if accounting { submit_jobs_max(account, qos)? } else { None };
    Ok(ClusterLimits { array_size, submit_jobs })
}

/// The value of a key in lines of the form `Key = value`.
fn setting<'a>(settings: &'a str, key: &str) -> Option<&'a str> {
    settings.lines().find_map(|line| {
        line.trim().strip_prefix(key)?.trim_start().strip_prefix('=').map(str::trim)
    })
}

fn submit_jobs_max(account: Option<&str>, qos: Option<&str>) -> Result<Option<usize>, Failure> {
    let user = call("id", &["-un".into()])?;
    let mut associations: Vec<String> =
        ["-nP", "show", "assoc", "format=MaxSubmitJobs,GrpSubmitJobs"].map(String::from).into();
    associations.push(format!("user={}", user.trim()));
    associations.extend(account.map(|account| format!("account={account}")));
    let mut output = call("sacctmgr", &associations)?;
    if let Some(qos) = qos {
        let format = "format=MaxSubmitJobsPU,GrpSubmitJobs".to_owned();
        output +=
            &call("sacctmgr", &["-nP".into(), "show".into(), "qos".into(), qos.into(), format])?;
    }
    Ok(smallest(&output))
}

/// The smallest number in the fields of sacctmgr's output. An empty field means no limit, as does
/// -1, which older versions print.
fn smallest(output: &str) -> Option<usize> {
    output.split(['|', '\n']).filter_map(|field| field.trim().parse().ok()).min()
}

/// A queued or running task of a job array.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlurmJob {
    /// The job id of the array.
    pub array: u64,
    /// The task's id, `<array>_<index>`.
    pub id: String,
    /// Slurm's job state: PENDING, RUNNING, ...
    pub state: String,
    /// Slurm's reason why the task is pending.
    pub reason: String,
}

impl SlurmJob {
    /// Whether the task is queued or runs, and is not just ending.
    pub fn is_active(&self) -> bool {
        self.state != "COMPLETING"
    }
}

/// This user's queued and running jobs, one entry for each array task.
///
/// # Errors
/// `Unavailable` or `Io`, as for [`call`].
pub fn queue() -> Result<Vec<SlurmJob>, Failure> {
    let output = call("squeue", &["--me", "-h", "-r", "-o", "%F|%i|%T|%r"].map(String::from))?;
    let job = |line: &str| {
        let mut fields = line.splitn(4, '|').map(|field| field.trim().to_string());
        let (array, id, state) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        Some(SlurmJob { array, id, state, reason: fields.next()? })
    };
    output
        .lines()
        .map(|line| {
            job(line).ok_or_else(|| {
                Failure::new(
                    ErrorKind::Unavailable,
                    format!("cannot parse the output of squeue: {line}"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_among_others_with_the_same_prefix() {
        let output = "MaxArraySizeOfOthers    = 7\nMaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd\n";
        assert_eq!(setting(output, "MaxArraySize"), Some("1001"));
        assert_eq!(setting(output, "AccountingStorageType"), Some("accounting_storage/slurmdbd"));
        assert_eq!(setting(output, "MaxJobCount"), None);
    }

    #[test]
    fn the_smallest_limit_counts_and_an_empty_field_is_none() {
        assert_eq!(smallest("500|\n|200\n"), Some(200));
        assert_eq!(smallest("|\n-1|\n"), None);
        assert_eq!(smallest(""), None);
    }
}
