//! The engine's thread: receives commands, runs steps while there are requests, and reports a fatal
//! error to all requests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use watch::{Stage, ThreadProgress, Watch};

use super::FinishReason;
use super::core::EngineCore;
use super::lifecycle::{FatalError, ShutdownMode};
use super::response::ResponseOutput;
use super::runner::Forward;
use crate::scheduler::Sequence;

/// Interval at which an idle engine checks for a shutdown, in case the wake-up command was not
/// sent.
const IDLE: Duration = Duration::from_millis(200);

/// A command that the handle sends to the thread.
pub(super) enum EngineCommand {
    Submit(Box<Sequence<ResponseOutput>>),
    /// Check for a shutdown.
    Wake,
}

/// Runs the engine until it is shut down or its handle is dropped. A panic or a fatal error is
/// reported to all requests.
pub(super) fn run_engine<F: Forward>(
    mut core: EngineCore<F>,
    commands: Receiver<EngineCommand>,
    watch: Watch,
) {
    let outcome =
        catch_unwind(AssertUnwindSafe(|| step_until_shutdown(&mut core, &commands, &watch)));
    let error = match outcome {
        Ok(None) => return,
        Ok(Some(error)) => error,
        Err(panic) => FatalError::bug(&format!("it panicked: {}", panic_message(panic.as_ref()))),
    };
    core.state.set_fatal_error(error.clone());
    core.fail_all(&error);
    for command in commands.try_iter() {
        if let EngineCommand::Submit(sequence) = command {
            sequence.output.fail(&error);
        }
    }
}

/// Runs steps until a shutdown, after which it returns `None`, or until a fatal error, which it
/// returns.
fn step_until_shutdown<F: Forward>(
    core: &mut EngineCore<F>,
    commands: &Receiver<EngineCommand>,
    watch: &Watch,
) -> Option<FatalError> {
    let mut progress: Option<ThreadProgress> = None;
    loop {
        let connected = take_commands(core, commands);
        let shutdown = core.state.shutdown();
        if shutdown == ShutdownMode::Abort || watch.canceled() {
            core.state.request_shutdown(ShutdownMode::Abort);
            // Receives requests that were accepted before the mode was set, so that they are
            // canceled too.
            take_commands(core, commands);
            core.finish_all(&FinishReason::Canceled);
            core.publish(true);
            return None;
        }
        if core.scheduler.is_idle() {
            progress = None;
            core.publish(true);
            if shutdown == ShutdownMode::Drain || !connected {
                return None;
            }
            wait_for_command(core, commands);
            continue;
        }
        // The thread is registered only while there are requests, so that an idle engine does not
        // look stalled.
        let progress = progress.get_or_insert_with(|| watch.thread("engine"));
        progress.at(Stage::Generate, "step", core.steps());
        core.step();
        progress.item_done();
        if let Some(error) = core.fatal_error.take() {
            return Some(error);
        }
    }
}

/// Handles all commands that have arrived; returns false if the handle was dropped.
fn take_commands<F: Forward>(core: &mut EngineCore<F>, commands: &Receiver<EngineCommand>) -> bool {
    loop {
        match commands.try_recv() {
            Ok(EngineCommand::Submit(sequence)) => core.scheduler.add(*sequence),
            Ok(EngineCommand::Wake) => {}
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

fn wait_for_command<F: Forward>(core: &mut EngineCore<F>, commands: &Receiver<EngineCommand>) {
    match commands.recv_timeout(IDLE) {
        Ok(EngineCommand::Submit(sequence)) => core.scheduler.add(*sequence),
        Ok(EngineCommand::Wake)
        | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
