//! Threads that convert the worker's messages, its output and signals to supervisor events.

use super::worker;
use crate::failed_rungs::FailedRungs;
use crate::{output, signals};
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::process::Child;
use std::sync::mpsc::SyncSender;
use std::thread::Builder;
use watch::WorkerMessage;

/// All inputs of the supervisor except the time.
pub enum SupervisorEvent {
    Message(WorkerMessage),
    PipeClosed,
    /// The worker closed its stdout or its stderr, or this process's stdout cannot be written.
    OutputClosed {
        unwritable: Option<std::io::Error>,
    },
    Signal(i32),
}

/// Starts a worker process, whose messages are sent to `events` and whose output is copied to this
/// process's.
pub fn start_worker(
    failed: &FailedRungs,
    events: &SyncSender<SupervisorEvent>,
) -> std::io::Result<Child> {
    let (mut child, pipe) = worker::spawn(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    relay_output(stdout, output::write_through, "worker-stdout", events.clone())?;
    let write_message = |bytes: &[u8]| {
        output::write_message(bytes);
        Ok(())
    };
    relay_output(stderr, write_message, "worker-stderr", events.clone())?;
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

/// Copies the worker's stdout or stderr to that of this process, until a write fails.
fn relay_output(
    from: Option<impl Read + Send + 'static>,
    write: impl Fn(&[u8]) -> std::io::Result<()> + Send + 'static,
    name: &str,
    events: SyncSender<SupervisorEvent>,
) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let relay = move || {
        let mut buffer = [0; 8192];
        let unwritable = loop {
            let Ok(count @ 1..) = from.read(&mut buffer) else { break None };
            if let Err(error) = write(&buffer[..count]) {
                break Some(error);
            }
        };
        // This end of the worker's pipe closes after the event, so that the supervisor knows why
        // the worker's next write fails.
        let _supervisor_ended = events.send(SupervisorEvent::OutputClosed { unwritable });
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
