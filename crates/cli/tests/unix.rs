//! Tests of the program as a Unix process: signals that it inherits, messages that cannot be
//! written, and results that cannot be written.

mod common;

use common::running::Running;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vendomini");
const LIMIT: Duration = Duration::from_secs(120);

fn model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama-gqa");
    path.to_str().expect("UTF-8").to_owned()
}

/// The program, started by env(1) with these options. Without options, it handles signals by
/// default, also if this test does not: the background jobs of a script ignore SIGINT.
fn after(env: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,USR1,TERM,CHLD").args(env).arg(PROGRAM).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

fn ends(command: &mut Command) -> Output {
    Running::new(command.spawn().expect("the program starts")).ends(LIMIT)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// The write end of a pipe whose read end is closed.
fn dead_pipe() -> std::io::PipeWriter {
    std::io::pipe().expect("a pipe").1
}

/// A terminal: what a program writes to the second file is read from the first one.
fn terminal() -> (File, Stdio) {
    // A process that inherits the first file keeps the terminal from hanging up.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).expect("a terminal");
    let slave = ioctl_tiocgptpeer(&master, flags).expect("a terminal");
    (master.into(), slave.into())
}

/// An experiment of scripted runs that takes some seconds.
struct Experiment {
    folder: tempfile::TempDir,
    runs: usize,
}

impl Experiment {
    fn of(runs: usize) -> Experiment {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "experiment: {{name: t, replications: {runs}, seed: 1}}\nenv: {{max_steps: 3000}}\n\
             agent: {{policy: careful}}\n"
        );
        std::fs::write(folder.path().join("t.yaml"), text).expect("a configuration");
        Experiment { folder, runs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, env: &[&str]) -> Command {
        let mut command = after(env, &["run", "-j", "1"]);
        command.arg("--config").arg(self.path("t.yaml")).arg("--out").arg(self.path("out"));
        command
    }

    /// Starts it, and waits until it works on its runs.
    fn begin(&self, command: &mut Command) -> Running {
        drop(std::fs::remove_dir_all(self.path("out")));
        let running = Running::new(command.spawn().expect("the program starts"));
        let (since, journals) = (Instant::now(), self.path("out/t/journals"));
        while !journals.exists() {
            assert!(since.elapsed() < LIMIT, "no run was begun");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    fn assert_all_done(&self) {
        let output = ends(after(&[], &["status", "--json"]).arg(self.path("out/t")));
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(status["done"], self.runs, "{status}");
    }
}

/// Sends a signal to the supervisor and its worker, as a terminal does.
fn send(running: &Running, signal: Signal) {
    kill_process_group(Pid::from_child(&running.child), signal).expect("a running process");
}

#[test]
fn signals_ignored_at_the_start_stay_ignored_and_others_end_a_run() {
    let experiment = Experiment::of(400);
    let signals =
        [("HUP", Signal::HUP, 129), ("INT", Signal::INT, 130), ("USR1", Signal::USR1, 138)];
    for (name, signal, code) in signals {
        let mut ended = experiment.begin(&mut experiment.run(&[]));
        send(&ended, signal);
        assert_eq!(ended.ends(LIMIT).status.code(), Some(code), "SIG{name}");
        let mut running =
            experiment.begin(&mut experiment.run(&[&format!("--ignore-signal={name}")]));
        send(&running, signal);
        std::thread::sleep(Duration::from_millis(300));
        assert!(running.child.try_wait().expect("a child").is_none(), "SIG{name} ended it");
        send(&running, Signal::TERM);
        let output = running.ends(LIMIT);
        assert_eq!(output.status.code(), Some(143), "SIG{name}: {}", stderr(&output));
    }
}

#[test]
fn an_ignored_sigterm_leaves_ctrl_c() {
    let experiment = Experiment::of(400);
    let mut running = experiment.begin(&mut experiment.run(&["--ignore-signal=TERM"]));
    send(&running, Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.child.try_wait().expect("a child").is_none(), "SIGTERM ended it");
    send(&running, Signal::INT);
    assert_eq!(running.ends(LIMIT).status.code(), Some(130));
}

#[test]
fn a_blocked_sigterm_ends_a_run() {
    let experiment = Experiment::of(400);
    let mut running = experiment.begin(&mut experiment.run(&["--block-signal=TERM"]));
    send(&running, Signal::TERM);
    assert_eq!(running.ends(LIMIT).status.code(), Some(143));
}

#[test]
fn a_parent_that_ignores_sigchld_does_no_harm() {
    let output = ends(&mut after(&["--ignore-signal=CHLD"], &["plan", &model()]));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn messages_that_cannot_be_written_are_lost_and_the_result_is_not() {
    let model = model();
    let score = ["score", &model, "--tokens", "1,2,3"];
    let expected = ends(&mut after(&[], &score)).stdout;
    assert!(!expected.is_empty());
    let hung_up = terminal().1;
    let outputs: [(&str, Stdio); 3] =
        [("reader gone", dead_pipe().into()), ("full", full_disk().into()), ("hung up", hung_up)];
    for (name, unwritable) in outputs {
        let output = ends(after(&[], &score).stderr(unwritable));
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(output.stdout, expected, "{name}");
    }
    let output = ends(after(&[], &["plan", "/no/such/model"]).stderr(full_disk()));
    assert_eq!(output.status.code(), Some(66));
}

#[test]
fn a_run_survives_the_reader_of_its_log_and_its_terminal() {
    let experiment = Experiment::of(10);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut running = experiment.begin(experiment.run(&[]).stderr(writer));
    drop(reader);
    assert_eq!(running.ends(LIMIT).status.code(), Some(0));
    experiment.assert_all_done();

    let (mut screen, terminal) = terminal();
    let mut running = experiment.begin(experiment.run(&[]).stderr(terminal));
    let mut seen = Vec::new();
    // The title of the dashboard.
    while !String::from_utf8_lossy(&seen).contains("scripted operators") {
        let mut bytes = [0; 4096];
        let count = screen.read(&mut bytes).expect("a screen");
        seen.extend_from_slice(&bytes[..count]);
    }
    drop(screen);
    assert_eq!(running.ends(LIMIT).status.code(), Some(0));
    experiment.assert_all_done();
}

#[test]
fn a_result_that_cannot_be_written_exits_with_74_and_the_reason() {
    let model = model();
    let experiment = Experiment::of(1);
    assert!(ends(&mut experiment.run(&[])).status.success());
    let results = experiment.path("out/t");
    let results = results.to_str().expect("UTF-8");
    let commands: [&[&str]; 8] = [
        &["score", &model, "-q", "--tokens", "1,2"],
        &["plan", &model],
        &["load", &model, "--json"],
        &["status", results],
        &["export", results],
        &["export", results, "--format", "parquet"],
        &["--help"],
        &["--version"],
    ];
    for command in commands {
        // Whether the worker or the supervisor notices it first must make no difference.
        for _ in 0..3 {
            let output = ends(after(&[], command).stdout(full_disk()));
            let stderr = stderr(&output);
            assert_eq!(output.status.code(), Some(74), "{command:?}: {stderr}");
            let reason = "vendomini: cannot write to stdout: No space left on device";
            assert!(stderr.contains(reason), "{command:?}: {stderr}");
        }
    }
}

#[test]
fn a_write_beyond_the_limit_of_a_file_is_an_error_and_not_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let limit = ["sh", "-c", "ulimit -f 0; exec \"$0\" \"$@\""];
    for command in [["plan", &model()].as_slice(), &["--help"]] {
        let file = File::create(folder.path().join("out")).expect("a file");
        let output = ends(after(&limit, command).stdout(file));
        assert_eq!(output.status.code(), Some(74), "{command:?}");
        assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    }
}

#[test]
fn a_command_whose_reader_goes_away_exits_with_74_and_says_nothing() {
    let model = model();
    for command in [["score", &model, "-q", "--tokens", "1,2"].as_slice(), &["--help"]] {
        let output = ends(after(&[], command).stdout(dead_pipe()));
        assert_eq!((output.status.code(), stderr(&output)), (Some(74), String::new()));
    }
}
