//! `submit`, `cancel` and `status` against stand-ins for Slurm's programs on the PATH, for what a
//! one-node Slurm cannot show: accounting, refusals, limits. `slurm.rs` tests the real one.

mod common;

use common::running::Running;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with configurations, results, and a folder of stand-ins that is the PATH. Each stand-in
/// appends its arguments to `calls`.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster(tempfile::tempdir().expect("a folder"));
        fs::create_dir(cluster.path("bin")).expect("a folder");
        cluster.program(
            "scontrol",
            "echo 'AccountingStorageType = accounting_storage/none'; echo 'MaxArraySize = 5'",
        );
        cluster.program("squeue", "cat queue 2>/dev/null; exit 0");
        // Jobs are numbered from 100.
        cluster.program(
            "sbatch",
            "n=$(cat jobs 2>/dev/null || echo 100); echo $((n + 1)) >jobs; echo $n",
        );
        cluster.program("scancel", "rm -f queue");
        cluster.experiment("a", "agent: {policy: careful}");
        cluster.experiment("b", "agent: {policy: careful}");
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, lines: &str) {
        let path = self.path("bin").join(name);
        let text =
            format!("#!/bin/bash\nPATH=/usr/bin:/bin\necho \"{name} $*\" >>calls\n{lines}\n");
        fs::write(&path, text).expect("a stand-in");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn experiment(&self, name: &str, agent: &str) {
        let text = format!(
            "experiment: {{name: {name}, replications: 8, seed: 3}}\n{agent}\nenv: {{max_steps: 5}}\n"
        );
        fs::write(self.path(&format!("{name}.yaml")), text).expect("a configuration");
    }

    fn site(&self, text: &str) {
        fs::write(self.path("site.yaml"), text).expect("a site");
    }

    fn vendomini(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args(line.split(' '))
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.0.path())
            .output()
            .expect("the program starts")
    }

    /// The stdout of a command that succeeds.
    fn stdout(&self, line: &str) -> String {
        let output = self.vendomini(line);
        assert!(output.status.success(), "{line}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.stdout(line)).expect("JSON")
    }

    fn calls(&self, program: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.starts_with(program)).map(str::to_owned).collect()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn phases_wait_for_all_jobs_of_the_one_before() {
    let cluster = Cluster::new();
    cluster.site("array_throttle: 3\n");
    cluster
        .stdout("submit --config a.yaml --config b.yaml --site site.yaml --tasks 7 --in-order=ok");
    let calls = cluster.calls("sbatch");
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(
        calls[0].contains("--array=0-4%3 ") && calls[1].contains("--array=0-1%3 "),
        "{calls:?}"
    );
    assert!(!calls[1].contains("--dependency"), "{calls:?}");
    for call in &calls[2..] {
        assert!(call.contains("--dependency=afterok:100:101 "), "{calls:?}");
    }
    let log = fs::read_to_string(cluster.path("results/b/submissions.jsonl")).expect("a log");
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["job"], &last["memory_mib"]), (&103.into(), &2048.into()));

    cluster.stdout("submit --config a.yaml --config b.yaml --in-order");
    assert!(cluster.calls("sbatch").last().expect("a call").contains("--dependency=afterany:104"));
    cluster.stdout("submit --config a.yaml --config b.yaml");
    assert!(!cluster.calls("sbatch").last().expect("a call").contains("--dependency"));
}

#[test]
fn what_cannot_be_submitted_is_refused_before_anything_is_written() {
    let cluster = Cluster::new();
    for (site, more, expected) in [
        (
            "sbatch: [\"--array=0-9\"]",
            "",
            "site.yaml line 1: sbatch: --array=0-9 is set by vendomini: use",
        ),
        ("partition: a\nsbatch: [-p b]", "", "--partition=b contradicts the key partition"),
        ("setup: [\"if true\"]", "", "setup (for scripted): expected lines of bash"),
        ("teardown: [\"cat <<EOF\"]", "", "here-document"),
        (
            "sbatch: [\"--dependency=singleton\"]",
            " --config b.yaml --in-order",
            "contradicts --in-order",
        ),
        ("models:\n  's*': {qos: x}\n  '*d': {sbatch: [--qos=y]}", "", "contradicts the key qos"),
        ("", " --config a.yaml", "two of the experiments have the folder"),
    ] {
        cluster.site(site);
        for mode in ["", " --dry-run", " --check"] {
            let output =
                cluster.vendomini(&format!("submit --config a.yaml --site site.yaml{more}{mode}"));
            assert_eq!(output.status.code(), Some(2), "{site}: {}", text(&output));
            assert!(text(&output).contains(expected), "{site}: {}", text(&output));
        }
    }
    assert!(!cluster.path("results").exists() && cluster.calls("sbatch").is_empty());
}

#[test]
fn a_dry_run_plans_absent_models_from_their_published_shape() {
    let cluster = Cluster::new();
    cluster.experiment("a", "model: {name: meta-llama/Llama-3.3-70B-Instruct}");
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/../../machines/a100-80gb-x4.yaml");
    cluster.site(&format!(
        "machine: {machine}\nmodels: {{\"*70b*\": {{gpu_type: a100, gpu_option: gpus-per-node, partition: big}}}}\n"
    ));
    let output = cluster.vendomini("submit --config a.yaml --site site.yaml --dry-run");
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("#SBATCH --gpus-per-node=a100:3\n#SBATCH --time=0-"), "{shown}");
    assert!(shown.contains("#SBATCH --partition=big"), "{shown}");
    let note = "Its sizes are from its published shape. On a machine with internet: vendomini fetch meta-llama";
    assert!(shown.contains(note), "{shown}");
    let output = cluster.vendomini("submit --config a.yaml --site site.yaml");
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));

    cluster.experiment("a", "model: {name: nobody/nothing}");
    let output = cluster.vendomini("submit --config a.yaml --site site.yaml --dry-run");
    assert_eq!(output.status.code(), Some(66), "{}", text(&output));
    assert!(text(&output).contains("The model's shape is not known"), "{}", text(&output));
    assert!(!text(&output).contains("#SBATCH --mem"), "{}", text(&output));
    assert!(!cluster.path("results").exists());
}

#[test]
fn check_passes_on_slurms_answers_and_writes_nothing() {
    let cluster = Cluster::new();
    let answer = "echo 'sbatch: Job 7 to start at 2026-01-31T12:00:00 using 1 processors on nodes n1 in partition p' >&2";
    cluster.program("sbatch", &format!("cat >script; {answer}"));
    let shown = cluster.stdout("submit --config a.yaml --tasks 7 --check");
    let expected = "scripted: tasks 5-6: accepted, expected start 2026-01-31T12:00:00, using 1 processors on nodes n1 in partition p";
    assert!(shown.contains(expected) && shown.contains("nothing was submitted"), "{shown}");
    let calls = cluster.calls("sbatch");
    assert!(calls.len() == 2 && calls.iter().all(|call| call.contains("--test-only")), "{calls:?}");
    let script = fs::read_to_string(cluster.path("script")).expect("sbatch read the script");
    assert!(script.starts_with("#!/bin/bash\n#SBATCH --job-name=a\n"), "{script}");
    cluster.program("sbatch", "cat >/dev/null; echo 'sbatch: error: Invalid account' >&2; exit 1");
    let output = cluster.vendomini("submit --config a.yaml --tasks 7 --check");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("refused") && text(&output).contains("Invalid account"));
    assert!(!cluster.path("results").exists());
}

#[test]
fn cancel_ends_the_jobs_of_this_experiment_only_and_may_be_repeated() {
    let cluster = Cluster::new();
    cluster.stdout("submit --config a.yaml --tasks 3");
    assert!(cluster.stdout("cancel results/a").contains("nothing to cancel"));
    let queue = "100|100_0|RUNNING|None\n100|100_1|PENDING|Priority\n100|100_2|COMPLETING|None\n5|5_0|RUNNING|None\n";
    fs::write(cluster.path("queue"), queue).expect("a queue");
    let shown = cluster.stdout("cancel results/a");
    assert!(shown.contains("canceled job 100: 1 running (scripted)"), "{shown}");
    assert!(shown.contains("canceled job 100: 1 pending (scripted)"), "{shown}");
    assert_eq!(cluster.calls("scancel"), ["scancel 100"]);
    let again = cluster.json("cancel results/a --json");
    assert_eq!(again["canceled"].as_array().map(Vec::len), Some(0));
    assert_eq!(cluster.vendomini("cancel nothing").status.code(), Some(66));
    // A cluster that does not obey.
    fs::write(cluster.path("queue"), queue).expect("a queue");
    cluster.program("scancel", "echo 'scancel: error: Access denied' >&2; exit 1");
    let output = cluster.vendomini("cancel results/a");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("Access denied"), "{}", text(&output));
}

#[test]
fn efficiency_compares_what_was_asked_for_with_what_was_used() {
    let cluster = Cluster::new();
    cluster.site("memory_gb: 8\nhours: 10\n");
    cluster.stdout("submit --config a.yaml --site site.yaml --tasks 3");
    let rows = "100_0|COMPLETED|0:0|7200|600|7630M||8\n100_0.batch|COMPLETED|0:0|7200|||2000000K|8\n\
                100_1|COMPLETED|0:0|3600|600|7630M||8\n100_1.batch|COMPLETED|0:0|3600|||1000000K|8\n\
                100_2|RUNNING|0:0|60|600|7630M||8\n";
    cluster.program("sacct", &format!("printf '%s' '{rows}'"));
    let shown = cluster.stdout("status results/a --efficiency");
    let lines: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let first = "100_0 scripted completed 1 7.45 GiB 1.91 GiB 25% 10:00:00 2:00:00 20% 2:00:00";
    assert!(lines.iter().any(|words| words.join(" ") == first), "{shown}");
    let next = "next time, in the site file: models: {\"scripted\": {memory_gb: 2.5, hours: 2.75}}";
    assert!(shown.contains(next), "{shown}");
    let call = cluster.calls("sacct").pop().expect("a call");
    assert!(call.contains("-j 100 --parsable2 --noheader --duplicates --format=JobID,"), "{call}");
    let document = cluster.json("status results/a --efficiency --json");
    let efficiency = &document["efficiency"];
    assert_eq!(efficiency["tasks"][2]["ended"], false);
    assert_eq!(efficiency["suggestions"][0]["memory_gb"], 2.5);
    assert_eq!(efficiency["sacct_problem"], Value::Null);

    cluster.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1");
    let document = cluster.json("status results/a --efficiency --json");
    let problem = document["efficiency"]["sacct_problem"].as_str().expect("a problem").to_owned();
    assert!(problem.contains("accounting storage is disabled"), "{problem}");
    assert!(cluster.json("status results/a --json")["efficiency"].is_null());
}

#[test]
fn without_sacct_the_journals_of_the_tasks_tell() {
    let cluster = Cluster::new();
    cluster.stdout("submit --config a.yaml --tasks 1");
    let ran = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["-q", "run", "--config", "a.yaml", "--shared"])
        .current_dir(cluster.0.path())
        .envs([
            ("SLURM_ARRAY_JOB_ID", "100"),
            ("SLURM_ARRAY_TASK_ID", "0"),
            ("SLURM_JOB_ID", "100"),
        ])
        .output()
        .expect("the program starts");
    assert!(ran.status.success(), "{}", text(&ran));
    let document = cluster.json("status results/a --efficiency --json");
    let task = &document["efficiency"]["tasks"][0];
    assert_eq!(
        (&task["task"], &task["ended"], &task["starts"]),
        (&"100_0".into(), &true.into(), &1.into())
    );
    assert!(task["memory_peak_bytes"].as_u64() > Some(1 << 20), "{task}");
    assert_eq!(document["efficiency"]["suggestions"][0]["memory_gb"], 0.5);
}

#[test]
fn watching_ends_when_nothing_runs_and_at_a_signal() {
    let cluster = Cluster::new();
    cluster.stdout("submit --config a.yaml --tasks 1");
    let shown = cluster.stdout("--plain status results/a --watch=1");
    assert!(shown.contains("a: 0 of ") && shown.contains("no job queued or running"), "{shown}");
    fs::write(cluster.path("queue"), "100|100_0|PENDING|Priority\n").expect("a queue");
    let before = cluster.calls("squeue").len();
    let watching = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["status", "results/a", "--watch=600"])
        .current_dir(cluster.0.path())
        .env("PATH", cluster.path("bin"))
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the program starts");
    let mut watching = Running::new(watching);
    let asked = Instant::now();
    while cluster.calls("squeue").len() == before {
        assert!(asked.elapsed().as_secs() < 60, "Slurm is not asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The progress is printed after Slurm was asked.
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&watching.child), Signal::INT).expect("a signal");
    // Well before the next interval.
    let output = watching.ends(Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).starts_with("a: 0 of "), "{}", text(&output));
}
