//! Threads that convert the worker's messages, its output and signals to supervisor events.

use super::worker;
use crate::failed_rungs::FailedRungs;
use crate::signals;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::process::Child;
use std::sync::mpsc::SyncSender;
use std::thread::Builder;
use watch::WorkerMessage;

/// All inputs of the supervisor except the time.
pub enum SupervisorEvent {
    Message(WorkerMessage),
    PipeClosed,
    /// The worker closed its stdout or its stderr.
    OutputClosed,
    Signal(i32),
}

/// Starts a worker process, whose messages are sent to `events` and whose output is copied to this
/// process's.
pub fn start_worker(
    failed: &FailedRungs,
    events: &SyncSender<SupervisorEvent>,
) -> std::io::Result<Child> {
    let (mut child, pipe) = worker::spawn(failed)?;
    relay_output(child.stdout.take(), std::io::stdout(), "worker-stdout", events.clone())?;
    relay_output(child.stderr.take(), std::io::stderr(), "worker-stderr", events.clone())?;
    read_messages(pipe, events.clone())?;
    Ok(child)
}

fn read_messages(pipe: PipeReader, events: SyncSender<SupervisorEvent>) -> std::io::Result<()> {
    let read = move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            // A worker that was killed while writing leaves an incomplete line, which is skipped.
            let Ok(message) = serde_json::from_str(&line) else { continue };
            if events.send(SupervisorEvent::Message(message)).is_err() {
                return;
            }
        }
        let _supervisor_ended = events.send(SupervisorEvent::PipeClosed);
    };
    Builder::new().name("worker-pipe".into()).spawn(read).map(drop)
}

/// Copies the worker's stdout or stderr to that of this process.
fn relay_output(
    from: Option<impl Read + Send + 'static>,
    mut to: impl Write + Send + 'static,
    name: &str,
    events: SyncSender<SupervisorEvent>,
) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let relay = move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // The reader of this process's output has closed it. Closing this end of the worker's
            // pipe makes the worker's next write fail with EPIPE, as if it wrote to that reader.
            if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
        let _supervisor_ended = events.send(SupervisorEvent::OutputClosed);
    };
    Builder::new().name(name.into()).spawn(relay).map(drop)
}

pub fn listen_for_signals(events: SyncSender<SupervisorEvent>) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(signals::ending())?;
    let relay = move || {
        for signal in signals.forever() {
            if events.send(SupervisorEvent::Signal(signal)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("signals".into()).spawn(relay).map(drop)
}
