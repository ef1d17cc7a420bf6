//! Tests of `vendomini play` by scripts of answers and at a terminal: rows of the same form as those
//! of models, resuming, replay, and what is refused.

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

const STUDY: &str = "experiment:\n  name: study\n  replications: 2\nenv:\n  max_steps: 6\n  actions_per_day: 2\n  complexity_level: 0\ngrid:\n  pe_induction.p_shock: [0.0, 0.5]\n";
const WAIT: &str = r#"{"tool":"wait","arguments":{},"card":{"success":true,"cost":0,"storage_after":150,"budget_after":10000,"fees_today":35}}"#;
const ORDER: &str = "order S2 P1\n5\nyes\n1\n5\n50\n155\n9900\n\n35.5\n\n";

struct Study {
    folder: tempfile::TempDir,
}

impl Study {
    fn new() -> Study {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.yaml"), STUDY).unwrap();
        Study { folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Runs a command on the study, with these lines on stdin.
    fn run(&self, command: &str, arguments: &[&str], lines: &str) -> Output {
        let mut process = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .arg(command)
            .args(["--config", "study.yaml", "--out", "out"])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that is refused does not read its input.
        let _unread = process.stdin.take().unwrap().write_all(lines.as_bytes());
        #[allow(clippy::disallowed_methods, reason = "the command ends with its input")]
        process.wait_with_output().unwrap()
    }

    fn play(&self, arguments: &[&str], lines: &str) -> (i32, String, String) {
        let output = self.run("play", arguments, lines);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

fn vendomini(arguments: &[&str], folder: &Path) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vendomini")).args(arguments).arg(folder).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

/// The only run of an experiment: its record, and its rows without the chain.
fn only_run(experiment: &Path) -> (Value, Vec<String>) {
    let fan = std::fs::read_dir(experiment.join("runs")).unwrap().next().unwrap().unwrap().path();
    let run = std::fs::read_dir(fan).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read_to_string(run.join("run.json")).expect("a committed run");
    let record: Value = serde_json::from_str(&record).unwrap();
    let attempt = record["timing"]["attempt"].as_u64().unwrap();
    let log = std::fs::read_to_string(run.join(format!("steps.{attempt}.jsonl"))).unwrap();
    let row = |line: &str| line.rsplit_once(",\"chain\":").unwrap().0.to_string();
    (record, log.lines().map(row).collect())
}

#[test]
fn a_run_is_played_in_two_sittings_and_replays() {
    let (whole, halves) = (Study::new(), Study::new());
    let waits = |n| format!("{WAIT}\n").repeat(n);
    let (code, shown, _) = whole.play(&[], &format!("{ORDER}{}", waits(5)));
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("You run a warehouse") && shown.contains("The run has ended (horizon)"));
    let (code, _, kept) = halves.play(&[], &format!("{ORDER}{}2\nS1\nquit\n", waits(1)));
    assert!(code == 0 && kept.contains("is kept"), "{code} {kept}");
    let (code, shown, _) = halves.play(&[], &format!("history\nmarket\n{}", waits(4)));
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("-- step 3") && !shown.contains("-- step 2 "), "{shown}");
    let experiment = |study: &Study| study.out().join("study_human");
    let ((record, rows), (_, of_halves)) =
        (only_run(&experiment(&whole)), only_run(&experiment(&halves)));
    assert!(rows == of_halves && rows.len() == 6, "two sittings give the same rows");
    let first: Value = serde_json::from_str(&format!("{}}}", rows[0])).unwrap();
    assert_eq!(first["action"]["arguments"]["quantity"], 5);
    assert_eq!(first["card"]["unit_price"], Value::Null);
    assert_eq!(first["card"]["fees_today"], 35.5);
    assert!(first.get("card_problem").is_none(), "{first}");
    let second: Value = serde_json::from_str(&format!("{}}}", rows[1])).unwrap();
    assert_eq!(second["card"]["delivery_days"], Value::Null);
    assert_eq!((&record["model"], &record["model_identity"]), (&"human".into(), &"human".into()));
    assert!(record["timing"]["reply_seconds"].as_f64().unwrap() > 0.0);
    for command in [&["replay"][..], &["export", "--table", "steps"], &["report"]] {
        let (code, text) = vendomini(command, &experiment(&whole));
        assert_eq!(code, 0, "{command:?}: {text}");
    }
}

#[test]
fn people_models_and_players_never_share_runs() {
    let study = Study::new();
    let ids = |arguments: &[&str]| -> Vec<String> {
        let (code, listed, problem) = study.play(&[arguments, &["--list"]].concat(), "");
        assert_eq!(code, 0, "{problem}");
        let id = |line: &str| line.split_whitespace().nth(3).unwrap().to_string();
        listed.lines().skip(1).map(id).collect()
    };
    let (nobody, anna, ben) = (ids(&[]), ids(&["--player", "anna"]), ids(&["--player", "ben"]));
    let mut all = [nobody.clone(), anna.clone(), ben].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 12, "three people in two cells and two worlds");
    assert_eq!(ids(&["--cell", "2"]).len(), 2);
    assert_eq!(ids(&["--replicate", "1"]).len(), 2);
    assert_eq!(ids(&["--run", &nobody[3][..8]]), nobody[3..]);
    for refused in [
        &["--player", "a/b"][..],
        &["--player", ""],
        &["--cell", "9"],
        &["--run", "zz"],
        &["--set", "agent.player=../x", "--set", "agent.policy=human"],
    ] {
        let (code, _, problem) = study.play(refused, "");
        assert!(code == 2 && problem.contains("expected"), "{refused:?}: {code} {problem}");
    }
    // A configuration that names people has their runs and those of operators in one folder.
    let both = ["--set", "grid.agent.policy=[careful, human]"];
    let run = study.run("run", &both, "");
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && text.contains("4 runs are for people"), "{text}");
    assert!(study.out().join("study/runs").exists());
    let (code, listed, _) = study.play(&[&both[..], &["--list"]].concat(), "");
    assert!(code == 0 && listed.lines().count() == 5, "{listed}");
    let only = ["--set", "agent.policy=human", "--set", "experiment.name=only"];
    let run = study.run("run", &only, "");
    assert_eq!(run.status.code(), Some(2));
    assert!(!study.out().join("only").exists(), "nothing is written");
}

#[test]
fn what_does_not_fit_is_asked_again_and_no_input_is_an_error() {
    let study = Study::new();
    let (code, _, problem) = study.play(&[], "");
    assert!(code == 2 && problem.contains("expected a terminal"), "{code} {problem}");
    let lines = "\n99\nfly\nc\n{\"tool\":\"wait\"}\n{\"tool\":\"fly\"}\n{oops\nwait 3\nback\n\
                 write_s note two words \nno\n1\n2\n3\n4\nno\norder S9 P1 7\nS1\nmaybe\nyes\n-1\n3\n7\n10\n157\n9900\n\n35\nno\n\
                 help\ntools\nlook\nrules\nhistory 2\nquit\n";
    let (code, shown, _) = study.play(&[], lines);
    assert_eq!(code, 0, "{shown}");
    for expected in [
        "tool: expected 1 to 11, found 99",
        "found fly",
        "c begins several names",
        "card: expected an object",
        "takes no more arguments",
        "supplier_id: expected S1 or S2, found S9",
        "success: expected yes or no, found maybe",
        "delivery_days: expected 0 to 99, whole; Enter: null, found -1",
        "nothing was done; choose again",
        "write_scratchpad: key note, text two words",
        "a whole reply as JSON",
        "there is nothing before this step",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let (_, listed, _) = study.play(&["--list"], "");
    assert!(!listed.contains("1 steps"), "an uncommitted decision is no step: {listed}");
}

/// A terminal of 50 columns with a game in it; what it shows is collected by a thread.
struct Game {
    process: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
    /// Keeps the terminal open, whose settings are compared.
    terminal: std::os::fd::OwnedFd,
}

impl Game {
    fn start(folder: &Path) -> Game {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).unwrap();
        unlockpt(&screen).unwrap();
        let terminal = ioctl_tiocgptpeer(&screen, flags).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let copy = || Stdio::from(terminal.try_clone().unwrap());
        let process = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args(["play", "--config", "study.yaml", "--out", "out"])
            .current_dir(folder)
            .env("TERM", "xterm")
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap();
        let keys = File::from(screen);
        let (mut reader, shown) = (keys.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let collected = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                collected.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Game { process, keys, shown, terminal }
    }

    /// Waits until the terminal shows this text after the last key, and then presses these keys.
    fn at(&mut self, text: &str, keys: &str) {
        let since = Instant::now();
        while !self.shown.lock().unwrap().contains(text) {
            assert!(since.elapsed() < LIMIT, "{text}: {}", self.shown.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        // What is shown is wrapped between words, without colors and the editor's own lines.
        let shown = std::mem::take(&mut *self.shown.lock().unwrap());
        for line in shown.lines().filter(|line| !line.contains('\u{1b}') && !line.contains('{')) {
            assert!(line.trim_end().chars().count() <= 50, "{line}");
        }
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn exit(&mut self) -> Option<i32> {
        let since = Instant::now();
        while since.elapsed() < LIMIT {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the game goes on: {}", self.shown.lock().unwrap());
    }

    fn is_canonical(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        let _ended = self.process.kill();
    }
}

#[test]
fn a_terminal_has_completion_wraps_and_is_left_as_it_was() {
    let study = Study::new();
    let mut game = Game::start(study.folder.path());
    game.at("tool> ", "");
    // Tab completes the name of the tool.
    game.keys.write_all(b"wai\t\r").unwrap();
    for answer in ["yes\r", "0\r", "150\r", "10000\r", "35\r"] {
        game.at(")> ", answer);
    }
    game.at("commit?", "\r");
    game.at("tool> ", "\u{3}");
    assert_eq!((game.exit(), game.is_canonical()), (Some(130), true), "Ctrl-C");
    let mut game = Game::start(study.folder.path());
    game.at("tool> ", "");
    let pid = rustix::process::Pid::from_child(&game.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!((game.exit(), game.is_canonical()), (Some(143), true), "SIGTERM");
    let mut game = Game::start(study.folder.path());
    game.at("tool> ", "\u{4}");
    assert_eq!((game.exit(), game.is_canonical()), (Some(0), true), "Ctrl-D");
}
