//! Tests that kill -9 at random times does not change results: the committed bytes are those of an
//! undisturbed experiment.
#![allow(clippy::print_stderr, reason = "a test")]

mod common;

use common::{folder_options, run_to_end, steps_of};
use experiment::{Config, NoModels, RunEvent, run_experiment};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 100;
const CHILD: &str = "VENDOMINI_KILL_TEST_FOLDER";

fn study() -> Config {
    let text = "experiment:\n  name: killed\n  replications: 2\nenv:\n  max_steps: 120\n  complexity_level: 2\nagent:\n  policy: random\n\
                crash_detector:\n  continue_after_crash: 1000\ndemand:\n  max_lost_share: 1\ngrid:\n  pe_induction.p_shock: [0.1, 0.6]\n";
    Config::parse(text, "kill.yaml", &[]).unwrap()
}

/// Not a test: the process that the test below starts and kills. Each step is slowed down, so that
/// kills occur within runs.
#[test]
fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let config = study();
    let slowly = |event: &RunEvent| {
        if matches!(event, RunEvent::StepDone(_)) {
            std::thread::sleep(Duration::from_micros(300));
        }
    };
    let options = folder_options(Path::new(&folder), 3);
    run_experiment(&config, &NoModels, &options, &slowly, &|| false)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_hundred_kills_do_not_change_the_committed_bytes() {
    let undisturbed = tempfile::tempdir().unwrap();
    run_to_end(&study(), undisturbed.path(), 2);
    let expected = steps_of(undisturbed.path());
    let (mut kills, mut studies, mut random) = (0, 0, 0x9e37_79b9_7f4a_7c15_u64);
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        studies += 1;
        // A study whose process is always killed early would never end, so it may end after 30
        // kills.
        let mut here = 0;
        loop {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let time = if here < 30 {
                Duration::from_micros(2_000 + random % 90_000)
            } else {
                Duration::from_secs(60)
            };
            if run_and_kill(folder.path(), time) {
                break;
            }
            (kills, here) = (kills + 1, here + 1);
        }
        // The remaining runs are carried out without kills.
        run_to_end(&study(), folder.path(), 2);
        assert_eq!(steps_of(folder.path()), expected, "after {kills} kills");
    }
    eprintln!("{kills} kills over {studies} studies");
}

/// Runs the child process for at most `time`, then kills it. Returns whether it ended before that.
fn run_and_kill(folder: &Path, time: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while begun.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the child failed: {status}");
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    // A killed process remains a zombie until its parent waits for it.
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}
