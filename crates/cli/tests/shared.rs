//! Tests of many processes that share one results folder.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time until all processes have ended.
const ALL_MAX: Duration = Duration::from_secs(540);
/// Tolerated time in seconds between two runs of a process. It is multiplied by the number of
/// processes, because these share the machine's cores.
const BETWEEN_RUNS_S: f64 = 0.5;

/// Runs that a process started and finished, with Unix times in seconds, according to its journal.
#[derive(Default)]
struct ProcessHistory {
    started: Vec<(String, f64)>,
    finished: Vec<(String, f64)>,
    began_unix_s: f64,
    ended_unix_s: f64,
}

fn processes_on_one_folder(processes: usize, replications: usize, steps: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, out) = (folder.path().join("experiment.yaml"), folder.path().join("out"));
    let text = format!(
        "experiment: {{name: shared, replications: {replications}, seed: 3}}\nagent: {{policy: careful}}\ncrash_detector: \
         {{continue_after_crash: 1000000}}\ndemand: {{max_lost_share: 1}}\nenv: {{max_steps: {steps}, complexity_level: 2, \
         initial_budget: 1000000}}\ngrid: {{pe_induction.p_shock: [0.2, 0.4]}}\n"
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut running: Vec<Child> = (0..processes).map(|_| begin(&config, &out)).collect();
    let begun = Instant::now();
    while let Some(child) = running.last_mut() {
        if let Some(status) = child.try_wait().expect("a status") {
            assert!(status.success(), "{status}");
            running.pop();
        } else if begun.elapsed() > ALL_MAX {
            running.iter_mut().for_each(|child| drop(child.kill()));
            panic!("the processes do not end");
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let histories = histories(&out.join("shared/journals"));
    assert_eq!(histories.len(), processes);
    each_run_was_started_once(&histories, 2 * replications);
    none_was_idle(&histories, BETWEEN_RUNS_S * processes as f64);
    each_run_has_one_attempt(&out.join("shared/runs"), 2 * replications);
}

fn begin(config: &Path, out: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["run", "--shared", "-q", "-j", "1", "--config"])
        .arg(config)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts")
}

fn histories(journals: &Path) -> Vec<ProcessHistory> {
    let files =
        std::fs::read_dir(journals).expect("journals").map(|entry| entry.expect("an entry").path());
    files.map(|file| of_process(&std::fs::read_to_string(file).expect("a journal"))).collect()
}

fn of_process(journal: &str) -> ProcessHistory {
    let mut history = ProcessHistory::default();
    for line in journal.lines() {
        let entry: Value = serde_json::from_str(line).expect("an entry");
        let (at, run) = (
            entry["at_unix_s"].as_f64().expect("a time"),
            entry["run_id"].as_str().map(str::to_owned),
        );
        match (entry["deed"].as_str(), run) {
            (Some("started"), Some(run)) => history.started.push((run, at)),
            (Some("finished"), Some(run)) => history.finished.push((run, at)),
            (Some("began"), None) => history.began_unix_s = at,
            (Some("ended"), None) => history.ended_unix_s = at,
            _ => {}
        }
    }
    history
}

fn each_run_was_started_once(histories: &[ProcessHistory], runs: usize) {
    let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
    for (run, _) in histories.iter().flat_map(|history| &history.started) {
        *starts.entry(run).or_default() += 1;
    }
    assert_eq!(starts.len(), runs);
    assert!(starts.values().all(|count| *count == 1), "a run was started twice: {starts:?}");
    assert_eq!(histories.iter().map(|history| history.finished.len()).sum::<usize>(), runs);
}

/// Asserts that no process was without a run while another one started a run, which the first could
/// have done instead.
fn none_was_idle(histories: &[ProcessHistory], between_s: f64) {
    // A process may end only when every run is committed or claimed by a running process.
    let starts: Vec<f64> =
        histories.iter().flat_map(|history| history.started.iter().map(|(_, at)| *at)).collect();
    let last_start = starts.iter().copied().fold(0.0, f64::max);
    for history in histories {
        assert!(
            history.ended_unix_s >= last_start,
            "a process ended, and another started a run after that"
        );
        let free_from =
            std::iter::once(history.began_unix_s).chain(history.finished.iter().map(|(_, at)| *at));
        let free_to = history.started.iter().map(|(_, at)| *at).chain(std::iter::once(f64::MAX));
        for (from, to) in free_from.zip(free_to) {
            let missed = starts.iter().filter(|at| **at > from + between_s && **at < to).count();
            assert_eq!(
                missed, 0,
                "a process had no run from {from} to {to} (end {}), others started runs",
                history.ended_unix_s
            );
        }
    }
}

fn each_run_has_one_attempt(folder: &Path, runs: usize) {
    let inside = |path: &Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(path)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let mut seen = 0;
    for run in inside(folder).iter().flat_map(|fan| inside(fan)) {
        let names: Vec<String> = inside(&run)
            .iter()
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        assert!(names.iter().any(|name| name == "run.json"), "{names:?}");
        assert_eq!(names.iter().filter(|name| name.starts_with("steps.")).count(), 1, "{names:?}");
        seen += 1;
    }
    assert_eq!(seen, runs);
}

#[test]
fn eight_processes_share_one_folder() {
    processes_on_one_folder(8, 24, 600);
}

#[test]
#[ignore = "64 processes: .ci/full, or cargo test -p vendomini --test shared -- --ignored"]
fn sixty_four_processes_share_one_folder() {
    processes_on_one_folder(64, 160, 1000);
}
