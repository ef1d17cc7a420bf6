//! The script's decisions, executed by bash with stand-ins for Slurm's programs and for vendomini.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder with stand-ins and a script. The stand-ins write their arguments to `calls`.
struct Job {
    folder: tempfile::TempDir,
    site: Site,
}

impl Job {
    fn new(site: &str) -> Job {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Job { folder, site: Site::from_yaml("site.yaml", site).expect("a site") };
        job.stand_in(
            "sbatch",
            "echo \"sbatch $* MEMORY=$VENDOMINI_MEMORY_MIB\" >>\"$0.calls\"\necho '77;cluster'",
        );
        job.stand_in(
            "scontrol",
            "echo \"scontrol $*\" >>\"$0.calls\"\necho 'JobId=5 JobState=RUNNING EndTime=Unknown'",
        );
        job
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stand_in(&self, name: &str, lines: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/bash\n{lines}\n")).expect("a stand-in");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn text(&self) -> String {
        let memory = |mib| (Some(mib), Some(2 * mib));
        let (memory_mib, more_memory_mib) = match self.site.memory_per_node_gb {
            Some(_) => (Some(1000), None),
            None => memory(1000),
        };
        let tasks = ModelTasks {
            model: "it's \"a\" model".into(),
            runs: 9,
            tasks: 3,
            jobs: 1,
            gpus: Some(2),
            cpus: 4,
            memory_mib,
            more_memory_mib,
            minutes: 90,
            hours_estimated: None,
        };
        let paths = ScriptPaths {
            program: &self.path("program"),
            config: Path::new("/c.yaml"),
            out: Path::new("/out"),
            jobs: Path::new("/out/jobs"),
            script: Path::new("/out/jobs/0 $(x).sbatch"),
            submissions: &self.path("submissions.jsonl"),
            sets: &["a=$(touch pwned)".into()],
        };
        script("name", &tasks, &self.site, &paths)
    }

    /// Executes the script as task 2 of job 5; the program is `program`.
    fn run(&self, program: &str, more: &[(&str, &str)]) -> Output {
        self.stand_in("program", program);
        let file = self.path("job.sbatch");
        fs::write(&file, self.text()).expect("a script");
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        Command::new("/bin/bash")
            .arg(&file)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .envs([
                ("SLURM_JOB_ID", "6"),
                ("SLURM_ARRAY_JOB_ID", "5"),
                ("SLURM_ARRAY_TASK_ID", "2"),
            ])
            .envs(more.iter().copied())
            .output()
            .expect("bash")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn submissions(&self) -> Vec<serde_json::Value> {
        let text = self.read("submissions.jsonl");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_task_without_memory_comes_back_once_with_more() {
    let job = Job::new("");
    let output = job.run("exit 71", &[("VENDOMINI_TASK_OFFSET", "10")]);
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let calls = job.read("sbatch.calls");
    assert_eq!(calls.lines().count(), 1, "{calls}");
    assert!(calls.contains("--array=2 ") && calls.contains("--mem=2000M"), "{calls}");
    assert!(calls.contains("MEMORY=2000"), "the successor knows: {calls}");
    let submissions = job.submissions();
    assert_eq!(submissions[0]["job"], 77);
    assert_eq!(submissions[0]["model"], "it's \"a\" model");
    assert_eq!(submissions[0]["offset"], 12);
    assert_eq!(submissions[0]["memory_mib"], 2000);
    assert_eq!(submissions[0]["after_out_of_memory"], "5_2");

    let output = job.run("exit 71", &[("VENDOMINI_MEMORY_MIB", "2000")]);
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert_eq!(job.submissions().len(), 1, "once only");
}

#[test]
fn a_task_that_has_all_memory_of_the_node_does_not_come_back() {
    let job = Job::new("memory_per_node_gb: 1");
    let output = job.run("exit 71", &[]);
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert!(stdout(&output).contains("the site allows no more"), "{}", stdout(&output));
    assert!(job.submissions().is_empty() && job.read("sbatch.calls").is_empty());
}

#[test]
fn a_failed_submission_keeps_the_code_and_records_nothing() {
    let job = Job::new("");
    job.stand_in("sbatch", "echo refused >&2; exit 1");
    let output = job.run("exit 71", &[]);
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    assert!(job.submissions().is_empty());
}

#[test]
fn out_of_time_requeues_or_submits_a_successor_that_keeps_its_memory() {
    let job = Job::new("");
    job.run("exit 124", &[]);
    assert!(job.read("scontrol.calls").contains("scontrol requeue 5_2"));
    assert!(job.read("sbatch.calls").is_empty());

    let job = Job::new("requeue: false");
    job.run("exit 124", &[("VENDOMINI_MEMORY_MIB", "2000")]);
    job.run("exit 124", &[]);
    let calls = job.read("sbatch.calls");
    let calls: Vec<&str> = calls.lines().collect();
    assert!(calls[0].contains("--mem=2000M") && calls[0].contains("MEMORY=2000"), "{calls:?}");
    assert!(!calls[1].contains("--mem") && calls[1].ends_with("MEMORY="), "{calls:?}");
    assert_eq!(job.submissions()[0]["memory_mib"], 2000);
    assert_eq!(job.submissions()[1]["memory_mib"], 1000);
}

#[test]
fn teardown_runs_however_the_program_ends_and_keeps_its_exit_code() {
    let site = "setup: [\"set -eu\", \"export SEEN='a b' \\\\\"]\n\
                teardown: [\"# only once\", \"echo torn >>torn\", \"cat <<EOF >>torn\\n$SEEN\\nEOF\", \"exit 9\"]\n";
    for (program, code) in [("exit 0", 0), ("exit 1", 1), ("exit 71", 71), ("kill -9 $$", 137)] {
        let job = Job::new(site);
        let output = job.run(program, &[]);
        assert_eq!(output.status.code(), Some(code), "{program}: {output:?}");
        assert_eq!(job.read("torn"), "torn\na b\n", "{program}: {output:?}");
        assert!(stdout(&output).contains("teardown ended with 9"), "{}", stdout(&output));
        assert!(!job.path("pwned").exists());
    }
    // Before the job is requeued, which ends the script.
    let job = Job::new("teardown: [\"cat scontrol.calls >torn\"]");
    job.run("exit 124", &[]);
    assert!(!job.read("torn").contains("requeue"), "{}", job.read("torn"));
    assert!(job.read("scontrol.calls").contains("requeue"));
    // A failing setup that ends the script.
    let job = Job::new("setup: [\"exit 5\"]\nteardown: [\"echo torn >>torn\"]");
    let output = job.run("touch started", &[]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(job.read("torn"), "torn\n");
    assert!(!job.path("started").exists());
}

#[test]
fn the_sites_options_are_in_the_script() {
    let site = "partition: gpu\nexclude: \"node[1-3]\"\nreservation: mine\nnodelist: n9\ngpu_type: a100\n\
                gpu_option: gpus-per-node\nmail: {user: me@example.org, types: [end, FAIL]}\n\
                sbatch: [--exclusive, \"--comment='two words # $(touch pwned)'\"]\n";
    let text = Job::new(site).text();
    for line in [
        "#SBATCH --partition=gpu\n",
        "#SBATCH --exclude=node[1-3]\n",
        "#SBATCH --reservation=mine\n",
        "#SBATCH --nodelist=n9\n",
        "#SBATCH --gpus-per-node=a100:2\n",
        "#SBATCH --mail-user=me@example.org\n",
        "#SBATCH --mail-type=END,FAIL\n",
        "#SBATCH --exclusive\n",
        "#SBATCH --comment=\"two words \\# $(touch pwned)\"\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(Job::new("").text().contains("#SBATCH --gres=gpu:2\n"));
    assert!(Job::new("gpu_option: gpus").text().contains("#SBATCH --gpus=2\n"));
}
