//! The supervisor: a small process that owns the terminal, the signals and the exit code.
//!
//! A process cannot be ended while one of its threads is stuck in the kernel, and a process that is
//! killed for memory prints nothing. Therefore every command that reads or computes with weights
//! runs in a *worker*: the same program, executed again, which reports over a pipe. The supervisor
//! opens no device and uses little memory; however the worker ends, the supervisor reports what it
//! was doing and returns.

mod console;
mod dashboard;
mod ending;
mod listeners;
mod pane;
mod stage_bar;
mod worker;

pub use console::{Console, ConsoleOptions, Verbosity};
pub use worker::{catch_panic, connect, is_worker};

use crate::colors::print_error;
use crate::failed_rungs::FailedRungs;
use crate::failure::exit;
use crate::output;
use listeners::{SupervisorEvent, listen_for_signals, start_worker};
use placement::{FailedRung, Rung};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use watch::{Snapshot, Stage, WatchEvent, WatchLimits, Watchdog, WorkerMessage};

/// Interval at which the supervisor checks the worker while no event arrives.
const TICK: Duration = Duration::from_millis(20);
/// After SIGTERM, a worker has this long to stop.
const STOP_TIMEOUT: Duration = Duration::from_millis(700);
/// A worker that has reported its error has this long to exit: GPU drivers and their exit handlers
/// may wait forever.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// After SIGKILL, the supervisor waits this long until the worker can be reaped.
const REAP_TIMEOUT: Duration = Duration::from_secs(1);
/// Capacity of the supervisor's event queue.
const QUEUED_EVENTS_MAX: usize = 1024;

/// Runs this program again as a worker with the same arguments, supervises it, and returns the exit
/// code.
pub fn supervise(limits: WatchLimits, console: Console) -> u8 {
    let (sender, events) = sync_channel(QUEUED_EVENTS_MAX);
    let started = listen_for_signals(sender.clone())
        .and_then(|()| start_worker(&FailedRungs::default(), &sender));
    match started {
        Ok(child) => Supervisor::new(child, limits, console, sender).run(&events),
        Err(error) => {
            print_error(&cannot_start(&error));
            exit::SOFTWARE
        }
    }
}

fn cannot_start(error: &std::io::Error) -> String {
    format!("cannot start the worker process: {error}. Is /proc or /dev/fd mounted?")
}

struct Supervisor {
    worker: Worker,
    limits: WatchLimits,
    console: Console,
    started: Instant,
    /// The fallback rungs on which a worker was killed for memory.
    failed_rungs: FailedRungs,
    /// The sender of events, for the threads that listen to the next worker.
    sender: SyncSender<SupervisorEvent>,
}

/// The current worker process, and its state according to its messages.
struct Worker {
    process: Child,
    watchdog: Watchdog,
    last_seen: Snapshot,
    /// The error that the worker reported, if any.
    failed: Option<PendingExit>,
    /// Why the supervisor is ending the worker, if it is.
    stopping: Option<PendingExit>,
    pipe_open: bool,
    outputs_open: usize,
    loading: Option<LoadingRung>,
    /// Path of each file that the worker has memory-mapped, and its size in bytes at that time.
    mapped: Vec<(String, u64)>,
    oom_kills_before: Option<u64>,
}

/// The model that is being loaded, and its rung of the fallback ladder.
struct LoadingRung {
    model: String,
    rung: Rung,
    /// Bytes of host memory that the next rung may use if this one runs out of memory.
    next_host_bytes: u64,
}

/// The exit code and message for a worker that is expected to end, and since when.
struct PendingExit {
    exit: u8,
    text: String,
    since: Instant,
}

impl PendingExit {
    fn new(exit: u8, text: String) -> Self {
        PendingExit { exit, text, since: Instant::now() }
    }
}

impl Worker {
    fn new(process: Child, limits: WatchLimits) -> Self {
        Worker {
            process,
            watchdog: Watchdog::new(limits),
            last_seen: Snapshot::default(),
            failed: None,
            stopping: None,
            pipe_open: true,
            outputs_open: 2,
            loading: None,
            mapped: Vec::new(),
            oom_kills_before: ending::oom_kills(),
        }
    }

    /// Updates the worker's state with an event. Heartbeats alone are not enough: a worker that
    /// dies early has sent few of them.
    fn follow(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Entered { stage } => self.last_seen.stages.push(*stage),
            WatchEvent::Left { stage, .. } => {
                let stages = &mut self.last_seen.stages;
                if let Some(at) = stages.iter().rposition(|s| s == stage) {
                    stages.remove(at);
                }
                // The smoke test is the last stage of a load.
                if *stage == Stage::SmokeTest {
                    self.loading = None;
                }
            }
            WatchEvent::Rung { model, rung, next_host_bytes } => {
                let rung = Rung::ALL.into_iter().find(|known| known.name() == rung);
                self.loading = rung.map(|rung| LoadingRung {
                    model: model.clone(),
                    rung,
                    next_host_bytes: *next_host_bytes,
                });
            }
            WatchEvent::Mapped { path, bytes } => self.mapped.push((path.clone(), *bytes)),
            WatchEvent::Total { .. } | WatchEvent::Note { .. } => {}
        }
    }

    fn signal(&mut self, signal: Signal) {
        // The id of a worker that has been waited for may belong to another process.
        let is_running = matches!(self.process.try_wait(), Ok(None));
        if let Some(pid) = Pid::from_raw(self.process.id() as i32).filter(|_| is_running) {
            // Sending a signal fails if the worker has already ended, which the next poll notices.
            let _ended = kill_process(pid, signal);
        }
    }
}

impl Supervisor {
    fn new(
        process: Child,
        limits: WatchLimits,
        console: Console,
        sender: SyncSender<SupervisorEvent>,
    ) -> Self {
        Supervisor {
            worker: Worker::new(process, limits),
            limits,
            console,
            started: Instant::now(),
            failed_rungs: FailedRungs::default(),
            sender,
        }
    }

    fn run(mut self, events: &Receiver<SupervisorEvent>) -> u8 {
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if let Some(code) = self.poll(events) {
                return code;
            }
        }
    }

    fn handle(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Message(WorkerMessage::Event(event)) => {
                self.console.event(&event);
                self.worker.follow(&event);
            }
            SupervisorEvent::Message(WorkerMessage::Heartbeat(seen)) => {
                self.console.progress(&seen);
                self.worker.last_seen = *seen;
            }
            SupervisorEvent::Message(WorkerMessage::Failed { exit, text }) => {
                self.worker.failed = Some(PendingExit::new(exit, text));
            }
            SupervisorEvent::PipeClosed => self.worker.pipe_open = false,
            SupervisorEvent::OutputClosed { unwritable } => {
                self.worker.outputs_open = self.worker.outputs_open.saturating_sub(1);
                if let Some(error) = unwritable.filter(|_| self.worker.failed.is_none()) {
                    let failure = output::unwritable(&error);
                    self.stop(failure.exit(), failure.text);
                }
            }
            SupervisorEvent::Signal(signal) => self.interrupted(signal),
        }
    }

    /// Checks whether the worker has ended, must be killed or has stalled; returns the exit code if
    /// the command is over.
    fn poll(&mut self, events: &Receiver<SupervisorEvent>) -> Option<u8> {
        let worker = &mut self.worker;
        match worker.process.try_wait() {
            Ok(Some(status)) => return self.ended(status, events),
            Ok(None) => {}
            Err(error) => {
                let text = format!("cannot wait for the worker: {error}");
                return Some(self.exit(exit::SOFTWARE, &text));
            }
        }
        let pending = match (&worker.stopping, &worker.failed) {
            (Some(stopping), _) => Some((stopping, STOP_TIMEOUT)),
            (None, Some(failed)) => Some((failed, EXIT_TIMEOUT)),
            (None, None) => None,
        };
        if let Some((exit, timeout)) = pending {
            return (exit.since.elapsed() > timeout).then(|| self.kill(events));
        }
        let now_s = self.started.elapsed().as_secs_f64();
        let stall = worker.watchdog.observe(now_s, &worker.last_seen)?;
        let text = ending::stall_report(&stall, &worker.last_seen)
            + &ending::open_files(worker.process.id());
        worker.stopping = Some(PendingExit::new(exit::STALLED, text));
        Some(self.kill(events))
    }

    fn interrupted(&mut self, signal: i32) {
        let (code, name) = ending::signal_exit(signal);
        self.stop(code, format!("interrupted by {name}; what was done is kept"));
    }

    /// Tells the worker to stop, unless it has been told before. A worker that does not, also
    /// because SIGTERM was ignored when the program started, is killed after [`STOP_TIMEOUT`].
    fn stop(&mut self, exit: u8, text: String) {
        if self.worker.stopping.is_none() {
            self.worker.stopping = Some(PendingExit::new(exit, text));
            self.worker.signal(Signal::TERM);
        }
    }

    fn kill(&mut self, events: &Receiver<SupervisorEvent>) -> u8 {
        self.worker.signal(Signal::KILL);
        let since = Instant::now();
        while since.elapsed() < REAP_TIMEOUT {
            if let Ok(Some(status)) = self.worker.process.try_wait()
                && let Some(code) = self.ended(status, events)
            {
                return code;
            }
            std::thread::sleep(TICK / 4);
        }
        let pid = self.worker.process.id();
        let (code, why) = match self.worker.stopping.take().or(self.worker.failed.take()) {
            Some(pending) => (pending.exit, pending.text),
            None => (exit::STALLED, "the worker was ended".to_owned()),
        };
        let stuck = "is stuck in the kernel and could not be reaped; it ends when its read returns";
        self.exit(code, &format!("{why}\n  worker process {pid} {stuck}"))
    }

    /// Handles a worker that has ended: drains its output, reports the cause and returns the exit
    /// code. `None` if another worker was started on the next rung.
    fn ended(&mut self, status: ExitStatus, events: &Receiver<SupervisorEvent>) -> Option<u8> {
        self.drain(status, events);
        self.console.finish();
        let worker = &mut self.worker;
        let failed = worker.failed.take();
        if let Some(stopping) = worker.stopping.take() {
            return Some(self.exit(stopping.exit, &stopping.text));
        }
        match (failed, status.code()) {
            (Some(failed), _) => Some(self.exit(failed.exit, &failed.text)),
            (None, Some(0)) => Some(match output::finish() {
                Ok(()) => 0,
                Err(failure) => self.exit(failure.exit(), &failure.text),
            }),
            (None, Some(code)) => Some(u8::try_from(code).unwrap_or(exit::SOFTWARE)),
            (None, None) => {
                let (code, text) = ending::killed(
                    status,
                    &worker.last_seen,
                    worker.oom_kills_before,
                    &worker.mapped,
                );
                if code == exit::MEMORY && self.start_next_rung(&text) {
                    return None;
                }
                Some(self.exit(code, &text))
            }
        }
    }

    /// Waits for the rest of the worker's messages and output. If the worker exited by itself, this
    /// takes as long as the reader of its output needs, else at most [`REAP_TIMEOUT`].
    fn drain(&mut self, status: ExitStatus, events: &Receiver<SupervisorEvent>) {
        let since = Instant::now();
        let exited_by_itself = status.code().is_some();
        loop {
            let worker = &self.worker;
            let is_open = worker.pipe_open || worker.outputs_open > 0;
            let may_take_long =
                worker.outputs_open > 0 && exited_by_itself && worker.stopping.is_none();
            if !(may_take_long || is_open && since.elapsed() < REAP_TIMEOUT) {
                return;
            }
            if let Ok(event) = events.recv_timeout(TICK) {
                self.handle(event);
            }
        }
    }

    /// After the worker was killed for memory during a load: starts another worker, which plans the
    /// next rung from the memory free at that time. `false` if this rung had failed before, the
    /// cause is uncertain, or the worker cannot be started.
    fn start_next_rung(&mut self, why: &str) -> bool {
        let worker = &mut self.worker;
        let Some(LoadingRung { model, rung, next_host_bytes }) = worker.loading.take() else {
            return false;
        };
        let why = why.lines().next().unwrap_or_default().to_owned();
        let is_drained = !worker.pipe_open && worker.outputs_open == 0;
        let known_cause = ending::oom_kills() > worker.oom_kills_before;
        let failed = FailedRung { rung, why: why.clone(), next_host_bytes, gpu: None };
        if !(is_drained && known_cause && self.failed_rungs.add(&model, failed)) {
            return false;
        }
        let name = rung.name();
        self.console.print(&format!(
            "{why}\nin mid-load, on the rung {name}: the next rung is planned from the memory free now"
        ));
        match start_worker(&self.failed_rungs, &self.sender) {
            Ok(process) => {
                self.worker = Worker::new(process, self.limits);
                true
            }
            Err(error) => {
                self.console.print(&cannot_start(&error));
                false
            }
        }
    }

    /// Prints the error and returns its exit code.
    fn exit(&mut self, code: u8, text: &str) -> u8 {
        self.console.finish();
        print_error(text);
        code
    }
}
