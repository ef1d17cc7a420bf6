//! The supervisor: a small process that owns the terminal, the signals and the exit code.
//!
//! No thread can end a process whose other thread is stuck in the kernel, and a process killed for
//! memory says nothing. So every command that moves weights runs in a *worker*, the same program
//! executed again, which reports over a pipe. The supervisor holds no memory and no device;
//! whatever happens to the worker, it says what the worker was doing and comes back.

mod console;
mod dashboard;
mod ending;
mod pane;
mod worker;

pub use console::{Console, Verbosity};
pub use worker::{connect, is_worker};

use crate::failed_rungs::FailedRungs;
use crate::failure::exit;
use placement::{FailedRung, Rung};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use watch::{NoteLevel, Snapshot, Stage, WatchEvent, WatchLimits, Watchdog, WorkerMessage};

/// How often the supervisor looks at its worker when nothing happens.
const TICK: Duration = Duration::from_millis(20);
/// How long a worker may take to stop after it was asked to.
const GRACE: Duration = Duration::from_millis(700);
/// How long a worker may take to end once it has said why: drivers and their exit handlers can wait
/// for a GPU for ever.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the kernel may take to reap a killed worker.
const REAP: Duration = Duration::from_secs(1);
/// Messages that may wait between the pipe and the loop.
const QUEUE_MESSAGES: usize = 1024;

/// Everything that can happen to a supervisor.
enum SupervisorEvent {
    Said(WorkerMessage),
    PipeClosed,
    /// The worker's stdout or stderr.
    OutputClosed,
    Signalled(i32),
}

/// Runs this program again as a worker with the same arguments, and returns its exit code.
pub fn supervise(limits: WatchLimits, console: Console) -> u8 {
    let (send, events) = sync_channel(QUEUE_MESSAGES);
    let failed_rungs = FailedRungs::default();
    let started = listen_for_signals(send.clone()).and_then(|()| start(&failed_rungs, &send));
    match started {
        Ok(child) => Supervisor::new(child, limits, console, send).run(&events),
        Err(error) => {
            eprintln!("vendomini: {}", cannot_start(&error));
            exit::SOFTWARE
        }
    }
}

fn cannot_start(error: &std::io::Error) -> String {
    format!("cannot start the worker process: {error}. Is /proc or /dev/fd mounted?")
}

/// A worker, all of whose words come to `send`.
fn start(failed: &FailedRungs, send: &SyncSender<SupervisorEvent>) -> std::io::Result<Child> {
    let (mut child, pipe) = worker::spawn(failed)?;
    pass_on(child.stdout.take(), std::io::stdout(), "worker-stdout", send.clone())?;
    pass_on(child.stderr.take(), std::io::stderr(), "worker-stderr", send.clone())?;
    listen_to_worker(pipe, send.clone())?;
    Ok(child)
}

fn listen_to_worker(
    pipe: std::io::PipeReader,
    send: SyncSender<SupervisorEvent>,
) -> std::io::Result<()> {
    let read = move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            // A torn line is the last word of a worker that was killed while it spoke.
            let Ok(message) = serde_json::from_str(&line) else { continue };
            if send.send(SupervisorEvent::Said(message)).is_err() {
                return;
            }
        }
        let _closed_already = send.send(SupervisorEvent::PipeClosed);
    };
    std::thread::Builder::new().name("worker-pipe".into()).spawn(read).map(drop)
}

/// Writes what comes `from` the worker `to` where it belongs, as it comes.
fn pass_on(
    from: Option<impl Read + Send + 'static>,
    mut to: impl Write + Send + 'static,
    name: &str,
    send: SyncSender<SupervisorEvent>,
) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let relay = move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // Nobody reads us any more: closing our end tells the worker.
            if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
        let _closed_already = send.send(SupervisorEvent::OutputClosed);
    };
    std::thread::Builder::new().name(name.into()).spawn(relay).map(drop)
}

fn listen_for_signals(send: SyncSender<SupervisorEvent>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
    let relay = move || {
        for signal in signals.forever() {
            if send.send(SupervisorEvent::Signalled(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(relay).map(drop)
}

struct Supervisor {
    child: Child,
    watchdog: Watchdog,
    console: Console,
    began: Instant,
    seen: Snapshot,
    failed: Option<Stopping>,
    pipe_open: bool,
    outputs_open: usize,
    stopping: Option<Stopping>,
    limits: WatchLimits,
    /// The model that is being brought up, by which rung, and what the next may take of host
    /// memory.
    rung: Option<(String, Rung, u64)>,
    failed_rungs: FailedRungs,
    /// Files that the worker uses from a map, and their sizes.
    mapped: Vec<(String, u64)>,
    oom_kills_before: Option<u64>,
    /// For the threads that listen to the next worker.
    send: SyncSender<SupervisorEvent>,
}

/// Why the worker stops, and since when.
struct Stopping {
    exit: u8,
    text: String,
    since: Instant,
}

impl Supervisor {
    fn new(
        child: Child,
        limits: WatchLimits,
        console: Console,
        send: SyncSender<SupervisorEvent>,
    ) -> Self {
        Supervisor {
            child,
            watchdog: Watchdog::new(limits),
            console,
            began: Instant::now(),
            seen: Snapshot::default(),
            failed: None,
            pipe_open: true,
            outputs_open: 2,
            stopping: None,
            limits,
            rung: None,
            failed_rungs: FailedRungs::default(),
            mapped: Vec::new(),
            oom_kills_before: ending::oom_kills(),
            send,
        }
    }

    fn run(mut self, events: &Receiver<SupervisorEvent>) -> u8 {
        loop {
            match events.recv_timeout(TICK) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
            if let Some(code) = self.look(events) {
                return code;
            }
        }
    }

    fn hear(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Said(WorkerMessage::Event(event)) => {
                self.console.event(&event);
                self.follow(&event);
            }
            SupervisorEvent::Said(WorkerMessage::Heartbeat(seen)) => {
                self.console.progress(&seen);
                self.seen = *seen;
            }
            SupervisorEvent::Said(WorkerMessage::Failed { exit, text }) => {
                self.failed = Some(Stopping { exit, text, since: Instant::now() });
            }
            SupervisorEvent::PipeClosed => self.pipe_open = false,
            SupervisorEvent::OutputClosed => {
                self.outputs_open = self.outputs_open.saturating_sub(1)
            }
            SupervisorEvent::Signalled(signal) => self.interrupted(signal),
        }
    }

    /// Keeps the stages up to date between heartbeats: a worker that dies early has sent few.
    fn follow(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Entered { stage } => self.seen.stages.push(*stage),
            WatchEvent::Left { stage, .. } => {
                if let Some(at) = self.seen.stages.iter().rposition(|s| s == stage) {
                    self.seen.stages.remove(at);
                }
                // The model has computed its first tokens.
                if *stage == Stage::SmokeTest {
                    self.rung = None;
                }
            }
            WatchEvent::Rung { model, rung, next_host_bytes } => {
                let rung = Rung::ALL.into_iter().find(|known| known.name() == rung);
                self.rung = rung.map(|rung| (model.clone(), rung, *next_host_bytes));
            }
            WatchEvent::Mapped { path, bytes } => self.mapped.push((path.clone(), *bytes)),
            WatchEvent::Total { .. } | WatchEvent::Note { .. } => {}
        }
    }

    /// Looks at worker and clock; `Some` is the end.
    fn look(&mut self, events: &Receiver<SupervisorEvent>) -> Option<u8> {
        match self.child.try_wait() {
            Ok(Some(status)) => return self.ended(status, events),
            Ok(None) => {}
            Err(error) => {
                return Some(
                    self.say(exit::SOFTWARE, &format!("cannot wait for the worker: {error}")),
                );
            }
        }
        if let Some(stopping) = &self.stopping {
            if stopping.since.elapsed() > GRACE {
                return Some(self.kill(events));
            }
        } else if let Some(failed) = &self.failed {
            if failed.since.elapsed() > FAREWELL {
                return Some(self.kill(events));
            }
        } else if let Some(verdict) =
            self.watchdog.observe(self.began.elapsed().as_secs_f64(), &self.seen)
        {
            let text = ending::verdict(&verdict, &self.seen) + &ending::held_files(self.child.id());
            self.stopping = Some(Stopping { exit: exit::STALLED, text, since: Instant::now() });
            return Some(self.kill(events));
        }
        None
    }

    fn interrupted(&mut self, signal: i32) {
        let (code, name) = ending::signal_exit(signal);
        if self.stopping.is_none() {
            let text = format!("interrupted by {name}; what was done is kept");
            self.stopping = Some(Stopping { exit: code, text, since: Instant::now() });
            self.signal(Signal::TERM);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended meanwhile; the next look will see that.
            let _gone = kill_process(pid, signal);
        }
    }

    fn kill(&mut self, events: &Receiver<SupervisorEvent>) -> u8 {
        self.signal(Signal::KILL);
        let since = Instant::now();
        while since.elapsed() < REAP {
            if let Ok(Some(status)) = self.child.try_wait()
                && let Some(code) = self.ended(status, events)
            {
                return code;
            }
            std::thread::sleep(TICK / 4);
        }
        let pid = self.child.id();
        let (code, why) = match self.stopping.take().or(self.failed.take()) {
            Some(stopping) => (stopping.exit, stopping.text),
            None => (exit::STALLED, "the worker was ended".to_owned()),
        };
        let stuck = "is stuck in the kernel and could not be reaped; it goes when its read returns";
        self.say(code, &format!("{why}\n  worker process {pid} {stuck}"))
    }

    /// The worker is gone: hears its last words, and says why it ended; `None`: another goes on.
    fn ended(&mut self, status: ExitStatus, events: &Receiver<SupervisorEvent>) -> Option<u8> {
        let since = Instant::now();
        // What it wrote is passed on to the last byte, at the pace of who reads it, unless it was
        // ended.
        let ended_itself = status.code().is_some();
        let waits = |this: &Self| this.outputs_open > 0 && ended_itself && this.stopping.is_none();
        while waits(self) || ((self.pipe_open || self.outputs_open > 0) && since.elapsed() < REAP) {
            if let Ok(event) = events.recv_timeout(TICK) {
                self.hear(event);
            }
        }
        self.console.finish();
        let failed = self.failed.take();
        if let Some(stopping) = self.stopping.take() {
            return Some(self.say(stopping.exit, &stopping.text));
        }
        Some(match (failed, status.code()) {
            (Some(failed), _) => self.say(failed.exit, &failed.text),
            (None, Some(code)) => u8::try_from(code).unwrap_or(exit::SOFTWARE),
            (None, None) => {
                let (code, text) =
                    ending::killed(status, &self.seen, self.oom_kills_before, &self.mapped);
                if code == exit::MEMORY && self.next_rung(&text) {
                    return None;
                }
                self.say(code, &text)
            }
        })
    }

    /// After a kill for memory in mid-load: another worker, which plans the next rung from what is
    /// free now. `false`: there is no more to try, or nothing of the dead one's is left to wait
    /// for.
    fn next_rung(&mut self, why: &str) -> bool {
        let Some((model, rung, next_host_bytes)) = self.rung.take() else { return false };
        let why = why.lines().next().unwrap_or_default().to_owned();
        let heard_all = !self.pipe_open && self.outputs_open == 0;
        let known_cause = ending::oom_kills() > self.oom_kills_before;
        let failed = FailedRung { rung, why: why.clone(), next_host_bytes, gpu: None };
        if !(heard_all && known_cause && self.failed_rungs.add(&model, failed)) {
            return false;
        }
        let words = format!(
            "{why}\nin mid-load, on the rung {}: the next is planned from what is free now",
            rung.name()
        );
        self.console.event(&WatchEvent::Note { text: words, level: NoteLevel::Normal });
        match start(&self.failed_rungs, &self.send) {
            Ok(child) => {
                self.child = child;
                self.watchdog = Watchdog::new(self.limits);
                (self.seen, self.mapped) = (Snapshot::default(), Vec::new());
                (self.pipe_open, self.outputs_open) = (true, 2);
                self.oom_kills_before = ending::oom_kills();
                true
            }
            Err(error) => {
                self.console.event(&WatchEvent::Note {
                    text: cannot_start(&error),
                    level: NoteLevel::Normal,
                });
                false
            }
        }
    }

    fn say(&mut self, code: u8, text: &str) -> u8 {
        self.console.finish();
        eprintln!("vendomini: {text}");
        code
    }
}
