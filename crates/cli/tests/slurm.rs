//! Tests of submission to a real Slurm cluster with one node, on the loopback interface. The tests
//! that need the cluster print SKIPPED without root or Debian's packages.
#![allow(clippy::print_stderr, reason = "a test")]

use base::unpoisoned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Longest time until the queue is empty. A requeued job first has to wait until its old credential
/// expires.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);

fn one_node(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../slurm/test/one_node.sh");
    Command::new(script).args(arguments).output().expect("bash")
}

/// A Slurm cluster and a folder for results, both removed when dropped.
struct Cluster {
    folder: tempfile::TempDir,
    /// Held while the cluster runs, so that only one cluster runs at a time.
    _alone: std::sync::MutexGuard<'static, ()>,
}

/// Allows one cluster at a time, because each uses the whole machine.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Cluster {
    fn start(test: &str, array_size_max: usize) -> Option<Cluster> {
        let root =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc"))
                == 0;
        // Also held while Slurm is installed, which one test does for all.
        let one = unpoisoned(ONE.lock());
        if !root || !one_node(&["install"]).status.success() {
            eprintln!(
                "SKIPPED {test}: Slurm's programs are not installed and cannot be (root and Debian's packages needed)"
            );
            return None;
        }
        let cluster = Cluster { folder: tempfile::tempdir().expect("a folder"), _alone: one };
        let started = one_node(&["start", cluster.path("").to_str()?, &array_size_max.to_string()]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        Some(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.path("slurm.conf"))
            .output()
            .expect(program)
    }

    fn stdout_of(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.call(program, arguments);
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {out}{error}");
        out.into_owned()
    }

    fn submit(&self, config: &Path, site: &str, more: &[&str]) -> Output {
        let site_file = self.path("site.yaml");
        let common = ["cpus_per_task: 1\n", "memory_per_node_gb: 0.5\n", "hours_max: 1\n"];
        let not_in_site = |line: &&str| !site.contains(line.split(':').next().unwrap_or_default());
        let common: String = common.into_iter().filter(not_in_site).collect();
        std::fs::write(&site_file, format!("{common}{site}")).expect("a site");
        let (out, site) = (self.path("out"), site_file.to_str().expect("UTF-8"));
        let mut arguments =
            vec!["submit", "--config", config.to_str().expect("UTF-8"), "--site", site];
        arguments.extend(["--out", out.to_str().expect("UTF-8"), "-j", "1"]);
        arguments.extend(more);
        self.call(env!("CARGO_BIN_EXE_vendomini"), &arguments)
    }

    /// Submits an experiment; returns the job ids of the arrays.
    fn submitted(&self, config: &Path, site: &str, more: &[&str]) -> Vec<String> {
        let output = self.submit(config, site, more);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
            .lines()
            .filter_map(|line| Some(line.split_once(" are job ")?.1.to_string()))
            .collect()
    }

    fn status(&self) -> Value {
        let folder = self.path("out/slurm_test");
        let status = self.stdout_of(
            env!("CARGO_BIN_EXE_vendomini"),
            &["status", folder.to_str().expect("UTF-8"), "--json"],
        );
        serde_json::from_str(&status).expect("JSON")
    }

    fn wait_until(&self, what: &str, mut seen: impl FnMut() -> bool) {
        let started = Instant::now();
        while !seen() {
            assert!(
                started.elapsed() < QUEUE_TIMEOUT,
                "{what}: {:?}\n{}",
                self.status(),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_until_empty(&self) {
        self.wait_until("the queue does not become empty", || {
            self.stdout_of("squeue", &["-h"]).trim().is_empty()
        });
    }

    /// Waits until a run has begun; asserts that some runs are not done yet.
    fn wait_until_in_the_middle(&self) {
        self.wait_until("no run begins", || self.status()["begun"].as_u64() > Some(0));
        std::thread::sleep(Duration::from_millis(300));
        assert!(self.status()["left"].as_u64() > Some(0), "the runs are too short for this test");
    }

    fn logs(&self) -> String {
        let folder =
            std::fs::read_dir(self.path("out/slurm_test/slurm")).into_iter().flatten().flatten();
        let logs = folder
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"));
        logs.map(|log| std::fs::read_to_string(log).expect("a log")).collect()
    }

    fn steps(&self, folder: &str) -> String {
        let folder = self.path(folder);
        self.stdout_of(
            env!("CARGO_BIN_EXE_vendomini"),
            &["export", folder.to_str().expect("UTF-8"), "--table", "rows"],
        )
    }

    /// Asserts that all runs are done, with the same rows as those of an undisturbed run.
    fn assert_complete(&self, config: &Path, runs: u64) {
        let status = self.status();
        assert_eq!(
            (status["done"].as_u64(), status["failed"].as_u64()),
            (Some(runs), Some(0)),
            "{}",
            self.logs()
        );
        let (config, out) = (config.to_str().expect("UTF-8"), self.path("undisturbed"));
        let local = ["run", "--config", config, "--out", out.to_str().expect("UTF-8"), "-j", "2"];
        self.stdout_of(env!("CARGO_BIN_EXE_vendomini"), &local);
        let (ours, local) = (self.steps("out/slurm_test"), self.steps("undisturbed/slurm_test"));
        assert!(ours.lines().count() as u64 > runs);
        assert!(ours == local, "rows differ from those of an undisturbed run");
    }

    /// The number of attempts of each run, which is the number of files with steps in its folder.
    fn attempts(&self) -> Vec<usize> {
        fn count(folder: &Path, found: &mut Vec<usize>) {
            let inside: Vec<PathBuf> =
                std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
            if inside.iter().any(|path| path.ends_with("run.json")) {
                let name = |path: &PathBuf| {
                    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                };
                found.push(inside.iter().filter(|path| name(path).starts_with("steps.")).count());
            }
            inside.iter().filter(|path| path.is_dir()).for_each(|path| count(path, found));
        }
        let mut found = Vec::new();
        count(&self.path("out/slurm_test/runs"), &mut found);
        found
    }

    fn experiment(&self, replications: usize, steps: usize) -> PathBuf {
        let file = self.path("experiment.yaml");
        write_experiment(&file, replications, steps, "agent: {policy: careful}");
        file
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        one_node(&["stop", self.folder.path().to_str().unwrap_or_default()]);
    }
}

/// Scripted runs in release take a second for 30,000 steps, and the tests interrupt some of them.
fn write_experiment(file: &Path, replications: usize, steps: usize, agent: &str) {
    let text = format!(
        "experiment: {{name: slurm_test, replications: {replications}, seed: 3}}\n{agent}\ncrash_detector: \
         {{continue_after_crash: 1000000}}\ndemand: {{max_lost_share: 1}}\nenv: {{max_steps: {steps}, complexity_level: 2, \
         initial_budget: 1000000}}\ngrid: {{pe_induction.p_shock: [0.2, 0.4]}}\n"
    );
    std::fs::write(file, text).expect("a configuration");
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn twelve_tasks_in_arrays_of_five_do_each_run_once() {
    let Some(cluster) = Cluster::start("arrays", 5) else { return };
    let config = cluster.experiment(12, 1000);
    let output = cluster.submit(&config, "", &["--tasks", "12"]);
    let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
    for tasks in ["tasks 0-4 are", "tasks 5-9 are", "tasks 10-11 are"] {
        assert!(
            output_text.contains(tasks),
            "{output_text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let jobs = cluster.status()["slurm"]["arrays"].as_array().map(Vec::len);
    assert_eq!(jobs, Some(3), "status knows the arrays");
    cluster.wait_until_empty();
    for task in 0..12 {
        assert!(
            cluster.logs().contains(&format!("task {task}: ended with 0")),
            "{}",
            cluster.logs()
        );
    }
    assert_eq!(cluster.attempts(), vec![1; 24], "no run was done twice");
    cluster.assert_complete(&config, 24);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_signaled_task_requeues_itself_and_a_killed_one_resumes() {
    let Some(cluster) = Cluster::start("requeue", 1001) else { return };
    let config = cluster.experiment(4, 60_000);
    let ids = cluster.submitted(&config, "", &["--tasks", "2"]);
    cluster.wait_until_in_the_middle();
    cluster.stdout_of("scancel", &["--batch", "--signal=USR1", &format!("{}_0", ids[0])]);
    cluster.stdout_of("scontrol", &["requeue", &format!("{}_1", ids[0])]);
    cluster.wait_until_empty();
    let logs = cluster.logs();
    assert!(logs.contains("task 0: ended with 138"), "{logs}");
    assert!(logs.contains("task 0: job") && logs.matches("start 1,").count() == 2, "{logs}");
    assert!(logs.contains("resumes after"), "a run resumes from its rows: {logs}");
    cluster.assert_complete(&config, 8);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_canceled_array_stays_canceled_until_submitted_again() {
    let Some(cluster) = Cluster::start("scancel", 1001) else { return };
    let config = cluster.experiment(4, 60_000);
    let ids = cluster.submitted(&config, "", &[]);
    cluster.wait_until_in_the_middle();
    cluster.stdout_of("scancel", &[&ids[0]]);
    cluster.wait_until_empty();
    // Longer than a requeued job waits before it starts.
    std::thread::sleep(Duration::from_secs(8));
    assert!(cluster.stdout_of("squeue", &["-h"]).trim().is_empty(), "a canceled job came back");
    assert_eq!(cluster.status()["slurm"]["jobs"].as_array().map(Vec::len), Some(0));
    assert!(cluster.status()["done"].as_u64() < Some(8), "{}", cluster.logs());
    cluster.submitted(&config, "", &[]);
    cluster.wait_until_empty();
    cluster.assert_complete(&config, 8);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_task_that_runs_out_of_time_requeues_itself() {
    let Some(cluster) = Cluster::start("time", 1001) else { return };
    let config = cluster.experiment(6, 60_000);
    // The job's time limit is one minute, of which 2 s are left for runs.
    let ids =
        cluster.submitted(&config, "hours_max: 0.016\nsignal_lead_s: 58\n", &["--tasks", "1"]);
    cluster.wait_until("time does not become short", || {
        cluster.logs().contains("task 0: ended with 124")
    });
    // The requeued job gets an hour.
    let (job, hour) = (format!("JobId={}_0", ids[0]), "TimeLimit=60");
    cluster.wait_until("no more time", || {
        cluster.call("scontrol", &["update", &job, hour]).status.success()
    });
    cluster.wait_until_empty();
    let logs = cluster.logs();
    assert!(logs.contains("task 0: ended with 124") && logs.contains("start 1,"), "{logs}");
    cluster.assert_complete(&config, 12);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_node_failure_loses_no_rows_and_a_second_submission_is_harmless() {
    let Some(cluster) = Cluster::start("node down", 1001) else { return };
    let config = cluster.experiment(4, 60_000);
    cluster.submitted(&config, "", &["--tasks", "2"]);
    cluster.wait_until_in_the_middle();
    let node = cluster.stdout_of("sinfo", &["-h", "-o", "%n"]);
    let name = format!("NodeName={}", node.trim());
    cluster.stdout_of("scontrol", &["update", &name, "State=DOWN", "Reason=test"]);
    cluster.wait_until("jobs still run on a node that is down", || {
        cluster.stdout_of("squeue", &["-h", "-t", "R"]).trim().is_empty()
    });
    assert!(cluster.status()["done"].as_u64() < Some(8), "the runs are too short for this test");
    cluster.wait_until("the node does not come back", || {
        // The update fails if the node has already returned to service by itself
        // (ReturnToService=2).
        let _back_already = cluster.call("scontrol", &["update", &name, "State=RESUME"]);
        ["idle", "mixed", "allocated"]
            .contains(&cluster.stdout_of("sinfo", &["-h", "-o", "%T"]).trim())
    });
    cluster.submitted(&config, "", &["--tasks", "2"]);
    cluster.wait_until_empty();
    cluster.assert_complete(&config, 8);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn where_requeueing_is_forbidden_a_successor_resumes() {
    let Some(cluster) = Cluster::start("successor", 1001) else { return };
    let config = cluster.experiment(4, 60_000);
    let ids = cluster.submitted(&config, "requeue: false\n", &["--tasks", "1"]);
    cluster.wait_until_in_the_middle();
    cluster.stdout_of("scancel", &["--batch", "--signal=USR1", &format!("{}_0", ids[0])]);
    cluster.wait_until_empty();
    let successor: u64 = ids[0].parse::<u64>().expect("an id") + 1;
    assert!(cluster.logs().contains(&format!("job {successor}_0 on")), "{}", cluster.logs());
    let arrays = cluster.status()["slurm"]["arrays"].clone();
    assert_eq!(arrays, serde_json::json!([successor - 1, successor]), "status knows the successor");
    cluster.assert_complete(&config, 8);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_failed_submission_passes_on_slurms_message() {
    let Some(cluster) = Cluster::start("refused", 1001) else { return };
    let config = cluster.experiment(1, 10);
    let output = cluster.submit(&config, "partition: nosuch\n", &[]);
    let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{output_text}");
    assert!(output_text.contains("invalid partition"), "{output_text}");
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn doctor_reports_the_gpus_that_slurm_allots() {
    let Some(cluster) = Cluster::start("gpus", 1001) else { return };
    let seen = cluster.path("doctor.json");
    let doctor = format!("{} doctor --json > {}", env!("CARGO_BIN_EXE_vendomini"), seen.display());
    cluster.stdout_of(
        "sbatch",
        &["--gres=gpu:2", "--mem=200M", "--output=/dev/null", "--wrap", &doctor],
    );
    cluster.wait_until_empty();
    let output_text: Value =
        serde_json::from_slice(&std::fs::read(seen).expect("doctor's output")).expect("JSON");
    let gpus = &output_text["gpus"];
    assert_eq!(gpus["cuda_visible_devices"], "0,1", "{gpus}");
    assert_eq!(gpus["allotted"][1], "0,1", "{gpus}");
    if !Path::new("/proc/driver/nvidia").exists() {
        let problem = gpus["problems"][0].as_str().expect("a problem");
        assert!(
            problem.starts_with("2 GPUs were allotted, and this node has no NVIDIA driver"),
            "{problem}"
        );
    }
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn smollm2_gives_the_same_rows_through_slurm_and_locally() {
    let fetched = Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(["-q", "fetch", "smollm2"])
        .output()
        .expect("fetch");
    if !fetched.status.success() {
        eprintln!("SKIPPED smollm2: {}", String::from_utf8_lossy(&fetched.stderr));
        return;
    }
    let Some(cluster) = Cluster::start("smollm2", 1001) else { return };
    let config = cluster.path("experiment.yaml");
    let model =
        "model: {name: smollm2-135m-instruct, max_tokens_per_call: 24, context_length: 4096}";
    write_experiment(&config, 1, 3, model);
    let needs = ["doctor", "--json", "--for", config.to_str().expect("UTF-8")];
    let needs: Value =
        serde_json::from_str(&cluster.stdout_of(env!("CARGO_BIN_EXE_vendomini"), &needs))
            .expect("JSON");
    assert_eq!(needs["needs"][0]["problem"], Value::Null, "{needs}");
    let output_text = cluster.submit(&config, "memory_per_node_gb: 4\n", &["--tasks", "2"]);
    assert!(output_text.status.success(), "{}", String::from_utf8_lossy(&output_text.stderr));
    cluster.wait_until_empty();
    assert!(cluster.logs().contains("load returned"), "{}", cluster.logs());
    cluster.assert_complete(&config, 2);
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn a_phases_script_works_with_plain_sbatch() {
    let Some(cluster) = Cluster::start("sbatch", 1001) else { return };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (log, out) = (cluster.path("submit.log"), cluster.path("out"));
    let submitted = Command::new("sbatch")
        .arg(format!("--output={}", log.display()))
        .args([
            "slurm/submit_phase1_small.sh",
            "--set",
            "agent.policy=careful",
            "--set",
            "experiment.replications=1",
        ])
        .args([
            "--set",
            "experiment.replications_by={}",
            "--set",
            "env.max_steps=5",
            "--out",
            out.to_str().expect("UTF-8"),
        ])
        .env("SLURM_CONF", cluster.path("slurm.conf"))
        .env("VENDOMINI", env!("CARGO_BIN_EXE_vendomini"))
        .current_dir(repository)
        .output()
        .expect("sbatch");
    assert!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));
    let output_text = || std::fs::read_to_string(&log).unwrap_or_default();
    let started = Instant::now();
    while !output_text().contains("shows the progress") {
        assert!(started.elapsed() < QUEUE_TIMEOUT, "nothing was submitted: {}", output_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    while !cluster.stdout_of("squeue", &["-h"]).trim().is_empty() {
        assert!(started.elapsed() < QUEUE_TIMEOUT, "the array does not end: {}", output_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let folder = out.join("phase1_small");
    let status = cluster.stdout_of(
        env!("CARGO_BIN_EXE_vendomini"),
        &["status", folder.to_str().expect("UTF-8"), "--json"],
    );
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["done"], status["total"], "{status}");
    assert_eq!(status["total"], 14);
}

#[test]
fn an_invalid_submission_fails_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, site) = (folder.path().join("experiment.yaml"), folder.path().join("site.yaml"));
    let out = folder.path().join("out");
    let assert_exit = |more: &[&str], code: i32, text: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_vendomini"))
            .args([
                "submit",
                "--config",
                config.to_str().expect("UTF-8"),
                "--out",
                out.to_str().expect("UTF-8"),
            ])
            .args(more)
            .env("PATH", folder.path())
            .output()
            .expect("the program starts");
        let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{output_text}");
        assert!(output_text.contains(text), "{output_text}");
        assert!(!out.exists(), "nothing is left behind");
    };
    write_experiment(&config, 1, 10, "agent: {policy: careful}");
    std::fs::write(&site, "acount: physics\n").expect("a site");
    assert_exit(
        &["--site", site.to_str().expect("UTF-8")],
        2,
        "unknown key acount: did you mean account?",
    );
    assert_exit(&["--site", "/no/such.yaml"], 66, "/no/such.yaml");
    assert_exit(&[], 69, "no Slurm");
    assert_exit(&["--dry-run"], 0, "");
    write_experiment(&config, 1, 10, "model: {name: nobody/nothing}");
    assert_exit(&["--dry-run"], 66, "nobody/nothing: ");
}

#[test]
#[ignore = "installs and starts Slurm: .ci/full, or cargo test -p vendomini --test slurm -- --ignored"]
fn slurm_takes_the_sites_options_throttles_orders_and_cancels() {
    let Some(cluster) = Cluster::start("site", 1001) else { return };
    let config = cluster.experiment(4, 60_000);
    let second = cluster.path("second.yaml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&second, text.replace("slurm_test", "second")).expect("a configuration");
    let site = "array_throttle: 1\nreservation: \nsetup: [\"set -eu; export MARK='set up'\"]\n\
                teardown: [\"echo torn $MARK\"]\ngpu_option: gpus-per-node\n\
                sbatch: [\"--comment='it is # \\\"1\\\" $(x)'\", \"-b now\"]\n";
    let second = second.to_str().expect("UTF-8");
    let checked = cluster.submit(&config, site, &["--config", second, "--tasks", "2", "--check"]);
    let shown = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{shown}{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(shown.matches("tasks 0-1: accepted, expected start 20").count(), 2, "{shown}");
    assert!(!cluster.path("out").exists(), "a check writes nothing");

    let more = ["--config", second, "--tasks", "2", "--in-order"];
    let ids = cluster.submitted(&config, site, &more);
    cluster.wait_until_in_the_middle();
    let jobs = cluster.stdout_of("scontrol", &["show", "job", &ids[0]]);
    assert!(jobs.contains("Comment=it is # \"1\" $(x)"), "{jobs}");
    assert!(jobs.contains("Reason=JobArrayTaskLimit"), "{jobs}");
    let jobs = cluster.stdout_of("scontrol", &["show", "job", &ids[1]]);
    assert!(jobs.contains(&format!("Dependency=afterany:{}_*(unfulfilled)", ids[0])), "{jobs}");

    let cancel = |name: &str| {
        let folder = cluster.path("out").join(name);
        let folder = folder.to_str().expect("UTF-8").to_owned();
        cluster.stdout_of(env!("CARGO_BIN_EXE_vendomini"), &["cancel", &folder])
    };
    assert!(cancel("second").contains(&format!("canceled job {}: 2 pending", ids[1])));
    let shown = cancel("slurm_test");
    assert!(shown.contains(&format!("canceled job {}: 1 running", ids[0])), "{shown}");
    assert!(shown.contains(&format!("canceled job {}: 1 pending", ids[0])), "{shown}");
    assert!(cancel("slurm_test").contains("nothing to cancel"));
    cluster.wait_until_empty();
    assert!(cluster.logs().contains("torn set up"), "{}", cluster.logs());
    let out = cluster.path("out/slurm_test");
    let efficiency = cluster.stdout_of(
        env!("CARGO_BIN_EXE_vendomini"),
        &["status", out.to_str().expect("UTF-8"), "--efficiency", "--json"],
    );
    let efficiency: Value = serde_json::from_str(&efficiency).expect("JSON");
    let task = &efficiency["efficiency"]["tasks"][0];
    assert_eq!(task["task"], format!("{}_0", ids[0]), "{efficiency}");
    assert_eq!(task["ended"], true, "{efficiency}");
}
