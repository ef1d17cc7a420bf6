//! Slurm's programs, each called with a deadline.

use crate::failure::{Failure, exit};
use std::io::{ErrorKind, Read};
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
    let unavailable = |text: String| Failure::new(exit::UNAVAILABLE, text);
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => unavailable(format!(
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
                return Err(unavailable(format!("{program} gave no answer in {seconds} s: is slurmctld up?")));
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

fn listen(from: Option<impl Read + Send + 'static>) -> Result<Receiver<std::io::Result<String>>, Failure> {
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

/// MaxArraySize of the cluster.
///
/// # Errors
/// 69.
pub fn array_size_max() -> Result<usize, Failure> {
    let settings = call("scontrol", &["show".into(), "config".into()])?;
    let line = settings.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"));
    let number = line.and_then(|rest| rest.trim_start_matches([' ', '=']).trim().parse().ok());
    number.ok_or_else(|| Failure::new(exit::UNAVAILABLE, "scontrol show config names no MaxArraySize"))
}

/// A job of ours that Slurm knows: one task of an array.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Job {
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
pub fn queue() -> Result<Vec<Job>, Failure> {
    let said = call("squeue", &["--me", "-h", "-r", "-o", "%F|%i|%T|%r"].map(String::from))?;
    let job = |line: &str| {
        let mut fields = line.splitn(4, '|').map(|field| field.trim().to_string());
        let (array, id, state) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        Some(Job { array, id, state, reason: fields.next()? })
    };
    said.lines()
        .map(|line| {
            job(line).ok_or_else(|| Failure::new(exit::UNAVAILABLE, format!("squeue says what we cannot read: {line}")))
        })
        .collect()
}
