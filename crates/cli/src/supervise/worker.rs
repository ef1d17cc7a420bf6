//! The worker's side of supervision: how a worker is started, and the pipe on which it reports.

use crate::colors::print_error;
use crate::failed_rungs::{self, FailedRungs};
use crate::failure::Failure;
use crate::signals;
use base::unpoisoned;
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watch::{Watch, WorkerMessage};

/// The environment variable with the file descriptor of the pipe's write end.
const PIPE_VARIABLE: &str = "VENDOMINI_WORKER_PIPE";
/// Interval at which a worker sends a snapshot of its progress.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Whether this process was started by a supervisor.
pub fn is_worker() -> bool {
    std::env::var_os(PIPE_VARIABLE).is_some()
}

/// Starts this program again with the same arguments and with a pipe for its reports. The worker's
/// output is piped through the supervisor, because a worker stuck in the kernel would otherwise
/// keep the caller's pipe open, and `vendomini load | tee log` would never end.
pub(super) fn spawn(failed: &FailedRungs) -> std::io::Result<(Child, PipeReader)> {
    let (reader, writer) = std::io::pipe()?;
    // The write end must stay open in the new program; Rust opens all other files close-on-exec.
    fcntl_setfd(&writer, FdFlags::empty())?;
    let child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(PIPE_VARIABLE, writer.as_raw_fd().to_string())
        .env(failed_rungs::VARIABLE, failed.to_variable()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((child, reader))
}

/// The worker's end of the pipe to the supervisor, shared by its threads.
#[derive(Clone)]
pub struct SupervisorPipe(Arc<Mutex<File>>);

impl SupervisorPipe {
    fn send(&self, message: &WorkerMessage) -> std::io::Result<()> {
        let mut text = serde_json::to_string(message)?;
        text.push('\n');
        let mut pipe = unpoisoned(self.0.lock());
        pipe.write_all(text.as_bytes())
    }

    /// Reports the error that ends the worker: to the supervisor, or on stderr if the supervisor is
    /// gone.
    pub fn report_failure(&self, failure: &Failure) {
        let message = WorkerMessage::Failed { exit: failure.exit(), text: failure.text.clone() };
        if self.send(&message).is_err() {
            print_error(&failure.text);
        }
    }
}

/// Connects a worker to its supervisor: events and heartbeats are sent on the pipe, SIGTERM cancels
/// the watch, and the kernel kills the worker when the supervisor ends.
///
/// # Errors
/// If the pipe cannot be opened or a thread cannot be started.
pub fn connect() -> std::io::Result<(Watch, SupervisorPipe)> {
    let number = std::env::var(PIPE_VARIABLE).map_err(std::io::Error::other)?;
    let pipe = OpenOptions::new().write(true).open(format!("/dev/fd/{number}"))?;
    let pipe = SupervisorPipe(Arc::new(Mutex::new(pipe)));
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let events = pipe.clone();
    // Sending fails only if the supervisor has ended; then the kernel kills this process, too.
    let watch = Watch::new(Box::new(move |event| drop(events.send(&WorkerMessage::Event(event)))));
    send_heartbeats(watch.clone(), pipe.clone())?;
    cancel_on_sigterm(watch.clone())?;
    note_panics(watch.clone());
    Ok((watch, pipe))
}

fn send_heartbeats(watch: Watch, pipe: SupervisorPipe) -> std::io::Result<()> {
    let run = move || {
        while pipe.send(&WorkerMessage::Heartbeat(Box::new(watch.snapshot()))).is_ok() {
            std::thread::sleep(HEARTBEAT);
        }
    };
    std::thread::Builder::new().name("heartbeat".into()).spawn(run).map(drop)
}

fn cancel_on_sigterm(watch: Watch) -> std::io::Result<()> {
    // On Ctrl-C the terminal sends SIGINT to both processes. The worker ignores it, and stops when
    // the supervisor sends SIGTERM.
    let mut signals = signal_hook::iterator::Signals::new(signals::ending())?;
    let run = move || {
        for signal in signals.forever() {
            if signal == signal_hook::consts::SIGTERM {
                watch.cancel();
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(run).map(drop)
}

/// Runs a command; a panic that reaches the main thread is its failure.
pub fn catch_panic(run: impl FnOnce() -> Result<u8, Failure>) -> Result<u8, Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let text = unpoisoned(LAST_PANIC.lock()).take();
        Err(Failure::software(text.unwrap_or_else(|| "a bug in vendomini".to_owned())))
    })
}

/// The text of the last panic of any thread.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Prints panics as notes. They do not end the command by themselves: libraries that parse the
/// input of a request panic on some, and only that request fails. A panic of the main thread, or of
/// a thread that it waits for, ends the command by [`catch_panic`].
fn note_panics(watch: Watch) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let text = format!("a bug in vendomini, please report it: thread {thread}: {panic}");
        if thread != "main" {
            watch.note(text.clone());
        }
        *unpoisoned(LAST_PANIC.lock()) = Some(text);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::exit;
    use watch::WatchEvent;

    #[test]
    fn a_panic_is_noted_and_ends_the_command_if_it_reaches_the_main_thread() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&notes);
        let before = std::panic::take_hook();
        note_panics(Watch::new(Box::new(move |event| {
            if let WatchEvent::Note { text, .. } = event {
                unpoisoned(seen.lock()).push(text);
            }
        })));
        let request = || {
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().name("request".into());
                let thread = thread.spawn_scoped(scope, || panic!("no such schema"));
                thread.expect("a thread").join()
            })
        };
        let survived = catch_panic(|| Ok(u8::from(request().is_err())));
        let ended = catch_panic(|| panic!("no such layer"));
        std::panic::set_hook(before);
        assert_eq!(survived.map_err(|failure| failure.text), Ok(1));
        let notes = unpoisoned(notes.lock()).join("\n");
        assert!(notes.contains("please report it: thread request"), "{notes}");
        assert!(notes.contains("no such schema"), "{notes}");
        let failure = ended.expect_err("a panic");
        assert_eq!(failure.exit(), exit::SOFTWARE);
        assert!(failure.text.contains("please report it"), "{}", failure.text);
        assert!(failure.text.contains("no such layer"), "{}", failure.text);
    }
}
