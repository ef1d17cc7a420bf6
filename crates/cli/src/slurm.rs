//! Slurm's programs, each called with a deadline.

use crate::failure::Failure;
use error_kind::ErrorKind;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// How long a program of Slurm's may take: its own message timeout is 10 s, and it tries again.
const CALL_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Calls a program and returns its stdout.
///
/// # Errors
/// 69 where it is not installed, does not answer in time, or refuses: its own words are passed on.
pub fn call(program: &str, arguments: &[String]) -> Result<String, Failure> {
    let unavailable = |text: String| Failure::new(ErrorKind::Unavailable, text);
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => unavailable(format!(
            "{program} is not there: this machine has no Slurm, or it is not in PATH. Use a login node, --dry-run, or vendomini run"
        )),
        _ => unavailable(format!("cannot start {program}: {error}")),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let (stdout, stderr) = (listen(child.stdout.take())?, listen(child.stderr.take())?);
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| Failure::io(&format!("waiting for {program}"), &e))? {
            Some(status) => break status,
            None if begun.elapsed() > CALL_MAX => {
                // It may have ended meanwhile.
                let _gone = child.kill();
                let seconds = CALL_MAX.as_secs();
                return Err(unavailable(format!(
                    "{program} gave no answer in {seconds} s: is slurmctld up?"
                )));
            }
            None => std::thread::sleep(POLL),
        }
    };
    let words = |from: Receiver<std::io::Result<String>>| match from.recv_timeout(CALL_MAX) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::io(&format!("reading what {program} says"), &error)),
        Err(_) => Err(unavailable(format!("{program} ended and something still holds its output"))),
    };
    let (said, complaint) = (words(stdout)?, words(stderr)?);
    if status.success() {
        return Ok(said);
    }
    Err(unavailable(format!("{program} refused ({status}): {}", complaint.trim())))
}

fn listen(
    from: Option<impl Read + Send + 'static>,
) -> Result<Receiver<std::io::Result<String>>, Failure> {
    let (send, words) = sync_channel(1);
    let read = move || {
        let mut bytes = Vec::new();
        let read = from.map_or(Ok(0), |mut from| from.read_to_end(&mut bytes));
        let _nobody_waits = send.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
    };
    let started = std::thread::Builder::new().name("slurm output".into()).spawn(read);
    started.map_err(|e| Failure::software(format!("cannot start a thread: {e}")))?;
    Ok(words)
}

/// What the cluster says of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLimits {
    /// MaxArraySize, which bounds the index.
    pub array_size: usize,
    /// MaxSubmitJobs of this user's associations and their QOS, the least; none where accounting
    /// does not say.
    pub submit_jobs: Option<usize>,
}

/// Asks the cluster. Where there is no accounting, `scontrol` alone answers.
///
/// # Errors
/// 69.
pub fn limits(account: Option<&str>, qos: Option<&str>) -> Result<ClusterLimits, Failure> {
    let settings = call("scontrol", &["show".into(), "config".into()])?;
    let array_size = setting(&settings, "MaxArraySize").and_then(|number| number.parse().ok());
    let array_size = array_size.ok_or_else(|| {
        Failure::new(ErrorKind::Unavailable, "scontrol show config names no MaxArraySize")
    })?;
    let accounting =
        setting(&settings, "AccountingStorageType").is_some_and(|kind| kind.ends_with("slurmdbd"));
    let submit_jobs = if accounting { submit_jobs_max(account, qos)? } else { None };
    Ok(ClusterLimits { array_size, submit_jobs })
}

/// The value of a line `Key = value`.
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
    let mut said = call("sacctmgr", &associations)?;
    if let Some(qos) = qos {
        let format = "format=MaxSubmitJobsPU,GrpSubmitJobs".to_owned();
        said +=
            &call("sacctmgr", &["-nP".into(), "show".into(), "qos".into(), qos.into(), format])?;
    }
    Ok(least(&said))
}

/// The least number in sacctmgr's fields; an empty one is no limit, and -1 is what an older Slurm
/// calls none.
fn least(said: &str) -> Option<usize> {
    said.split(['|', '\n']).filter_map(|field| field.trim().parse().ok()).min()
}

/// A job of ours that Slurm knows: one task of an array.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SlurmJob {
    /// The array's id.
    pub array: u64,
    /// `<array>_<index>`.
    pub id: String,
    /// PENDING, RUNNING, ...
    pub state: String,
    /// Why it waits.
    pub reason: String,
}

/// Jobs of this user that are queued or running, array tasks one by one.
///
/// # Errors
/// 69.
pub fn queue() -> Result<Vec<SlurmJob>, Failure> {
    let said = call("squeue", &["--me", "-h", "-r", "-o", "%F|%i|%T|%r"].map(String::from))?;
    let job = |line: &str| {
        let mut fields = line.splitn(4, '|').map(|field| field.trim().to_string());
        let (array, id, state) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        Some(SlurmJob { array, id, state, reason: fields.next()? })
    };
    said.lines()
        .map(|line| {
            job(line).ok_or_else(|| {
                Failure::new(
                    ErrorKind::Unavailable,
                    format!("squeue says what we cannot read: {line}"),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_apart_from_those_that_begin_alike() {
        let said = "MaxArraySizeOfOthers    = 7\nMaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd\n";
        assert_eq!(setting(said, "MaxArraySize"), Some("1001"));
        assert_eq!(setting(said, "AccountingStorageType"), Some("accounting_storage/slurmdbd"));
        assert_eq!(setting(said, "MaxJobCount"), None);
    }

    #[test]
    fn the_least_of_all_limits_counts_and_an_empty_field_is_none() {
        assert_eq!(least("500|\n|200\n"), Some(200));
        assert_eq!(least("|\n-1|\n"), None);
        assert_eq!(least(""), None);
    }
}
