//! The engine's thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use watch::{Stage, ThreadProgress, Watch};

use super::forward::Forward;
use super::lifecycle::ShutdownMode;
use super::scheduler::Scheduler;
use super::sequence::Sequence;
use super::{FatalError, FinishReason};

/// How long an idle engine sleeps if nobody wakes it: then it looks whether it is still wanted.
const IDLE: Duration = Duration::from_millis(200);

/// What comes through the channel.
pub(super) enum Command {
    Take(Box<Sequence>),
    /// Look at the wish.
    Wake,
}

/// Runs until it is asked to end or nobody can ask any more. Tickets hear of a panic, and of a
/// device that nothing comes back from.
pub(super) fn work<F: Forward>(
    mut scheduler: Scheduler<F>,
    commands: Receiver<Command>,
    watch: Watch,
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut scheduler, &commands, &watch)));
    let death = match outcome {
        Ok(None) => return,
        Ok(Some(death)) => death,
        Err(panic) => FatalError::defect(format!("it panicked: {}", words(panic.as_ref()))),
    };
    scheduler.life.die(death.clone());
    scheduler.die(&death);
    for command in commands.try_iter() {
        if let Command::Take(sequence) = command {
            sequence.outbox.die(&death);
        }
    }
}

/// `Some` where it cannot go on though it is wanted.
fn run<F: Forward>(
    scheduler: &mut Scheduler<F>,
    commands: &Receiver<Command>,
    watch: &Watch,
) -> Option<FatalError> {
    let mut progress: Option<ThreadProgress> = None;
    loop {
        let open = take_commands(scheduler, commands);
        let wish = scheduler.life.wish();
        if wish == ShutdownMode::Stop || watch.canceled() {
            scheduler.life.ask(ShutdownMode::Stop);
            // Those that were taken while this was decided, too.
            take_commands(scheduler, commands);
            scheduler.end_all(&FinishReason::Canceled);
            scheduler.publish(true);
            return None;
        }
        if scheduler.is_idle() {
            progress = None;
            scheduler.publish(true);
            if wish == ShutdownMode::Drain || !open {
                return None;
            }
            wait(scheduler, commands);
            continue;
        }
        // An idle engine has no progress: it is not stalled. A working one tells where it is.
        let progress = progress.get_or_insert_with(|| watch.thread("engine"));
        progress.at(Stage::Generate, "step", scheduler.stats.steps);
        scheduler.step();
        progress.item_done();
        if let Some(death) = scheduler.death.take() {
            return Some(death);
        }
    }
}

/// Takes what is there; false if nobody can send any more.
fn take_commands<F: Forward>(scheduler: &mut Scheduler<F>, commands: &Receiver<Command>) -> bool {
    use std::sync::mpsc::TryRecvError;
    loop {
        match commands.try_recv() {
            Ok(Command::Take(sequence)) => scheduler.take_in(*sequence),
            Ok(Command::Wake) => {}
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        }
    }
}

fn wait<F: Forward>(scheduler: &mut Scheduler<F>, commands: &Receiver<Command>) {
    match commands.recv_timeout(IDLE) {
        Ok(Command::Take(sequence)) => scheduler.take_in(*sequence),
        Ok(Command::Wake) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
