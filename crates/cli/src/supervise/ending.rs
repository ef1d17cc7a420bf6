//! Messages and exit codes for every way in which a worker process can end.

use crate::failure::exit;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use watch::{Snapshot, Stage, Stall};

/// The report of a stalled worker: the exceeded limit, and what each thread was doing.
pub fn stall_report(stall: &Stall, seen: &Snapshot) -> String {
    let mut text = match stall {
        Stall::NoProgress { stage, idle_s, limit_s } => format!(
            "stalled in stage {}: no progress for {idle_s:.1} s (limit {limit_s} s, --stall-timeout)",
            name(*stage)
        ),
        Stall::PastDeadline { stage, deadline_s } => {
            format!("past the deadline of {deadline_s:.0} s (--deadline) in stage {}", name(*stage))
        }
        Stall::TooSlow { stage, bytes_per_s, projected_s, deadline_s } => format!(
            "too slow in stage {stage}: at {:.2} MB/s it would be done {projected_s:.0} s after the start, past the \
             deadline of {deadline_s:.0} s. Copy the checkpoint to a faster disk, or allow more with --deadline",
            bytes_per_s / 1e6
        ),
    };
    text.push_str(&activity(seen));
    text
}

/// The exit code and the message for a worker that a signal ended.
pub fn killed(
    status: ExitStatus,
    seen: &Snapshot,
    oom_kills_before: Option<u64>,
    mapped: &[(String, u64)],
) -> (u8, String) {
    let signal = status.signal().unwrap_or(0);
    let (code, why) = match signal {
        9 => (exit::MEMORY, killed_for_memory(oom_kills_before)),
        7 => (exit::IO, lost_map(mapped)),
        2 | 15 => {
            return (
                if signal == 2 { 130 } else { 143 },
                "interrupted; what was done is kept".to_owned(),
            );
        }
        _ => (
            exit::SOFTWARE,
            format!("the worker was ended by signal {signal}: a bug in vendomini, or in a driver"),
        ),
    };
    (code, format!("{why}{}", activity(seen)))
}

/// The file systems of mapped files have this long to report the files' sizes.
const SIZES_TIMEOUT: Duration = Duration::from_secs(1);

/// The message for a page of a memory-mapped file that could not be read: either the file was
/// truncated or the disk failed. `mapped`: each file's path and its size in bytes when it was
/// mapped.
fn lost_map(mapped: &[(String, u64)]) -> String {
    // The sizes are read on another thread, because a failed file system may never answer.
    let (send, sizes) = std::sync::mpsc::sync_channel(1);
    let files = mapped.to_vec();
    let check = move || {
        let size_now = |path: &String| std::fs::metadata(path).map(|file| file.len());
        let shrank = files
            .iter()
            .find(|(path, bytes)| size_now(path).is_ok_and(|now| now < *bytes))
            .cloned();
        let gone =
            |(path, bytes): &(String, u64)| size_now(path).is_err().then(|| (path.clone(), *bytes));
        let found = shrank.or_else(|| files.iter().find_map(gone));
        let message = found.map(|(path, bytes)| match size_now(&path) {
            Ok(now) => {
                format!("{path}: {bytes} bytes were mapped, {now} are left: it was truncated")
            }
            Err(error) => format!("{path}: {bytes} bytes were mapped, but now: {error}"),
        });
        // Sending fails after the timeout, when the receiver has been dropped.
        drop(send.send(message));
    };
    let started = std::thread::Builder::new().name("sizes".into()).spawn(check);
    let found = started.ok().and_then(|_| sizes.recv_timeout(SIZES_TIMEOUT).ok().flatten());
    let names =
        || mapped.iter().map(|(path, _)| path.as_str()).take(8).collect::<Vec<_>>().join(", ");
    let what = found.unwrap_or_else(|| {
        format!("a page of a mapped file could not be read; the mapped files are {}", names())
    });
    format!(
        "{what} (SIGBUS while the worker used it). Load again when no process writes to the checkpoint, or check its disk"
    )
}

fn killed_for_memory(oom_kills_before: Option<u64>) -> String {
    let remedy = "Lower --max-memory cpu=..., ask the job for more memory, or use --dtype int8";
    match (oom_kills_before, oom_kills()) {
        (Some(before), Some(after)) if after > before => {
            format!("the worker was killed for memory by the kernel (OOM). {remedy}")
        }
        _ => format!(
            "the worker was killed (SIGKILL): for memory, unless another process sent the signal. {remedy}"
        ),
    }
}

/// The number of processes that the kernel has killed for memory since boot; `None` if it does not
/// count them.
pub fn oom_kills() -> Option<u64> {
    let vmstat = std::fs::read_to_string("/proc/vmstat").ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// The exit code and the name of a signal that the supervisor received.
pub fn signal_exit(signal: i32) -> (u8, &'static str) {
    match signal {
        2 => (130, "SIGINT (Ctrl-C)"),
        1 => (129, "SIGHUP"),
        10 => (138, "SIGUSR1"),
        _ => (143, "SIGTERM"),
    }
}

fn name(stage: Option<Stage>) -> &'static str {
    stage.map_or("start", Stage::label)
}

/// Lists regular files that a process has open: a read that does not return is probably of one of
/// them. Only `/proc` is read, because the files' own file systems may not answer.
pub fn open_files(pid: u32) -> String {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut files: Vec<String> = links
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .map(|file| file.display().to_string())
        .filter(|file| {
            file.starts_with('/') && !file.starts_with("/dev/") && !file.starts_with("/proc/")
        })
        .collect();
    files.sort();
    files.dedup();
    files.truncate(8);
    if files.is_empty() { String::new() } else { format!("\n  open files: {}", files.join(", ")) }
}

fn activity(seen: &Snapshot) -> String {
    let mut text = String::new();
    if let Some(stage) = seen.stages.last() {
        let _infallible =
            write!(text, "\n  stage {stage}: {} of {} bytes", seen.bytes_done, seen.bytes_total);
    }
    for progress in &seen.threads {
        let _infallible = write!(text, "\n  {progress}");
    }
    text
}
