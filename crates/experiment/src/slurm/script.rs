//! The sbatch script of a model's tasks.

use super::{ModelTasks, Site};
use base::shell_word;
use std::path::Path;

/// Paths and options in a script, which must be valid on every node.
pub struct ScriptPaths<'a> {
    /// The `vendomini` executable.
    pub program: &'a Path,
    /// The configuration file of the experiment.
    pub config: &'a Path,
    /// Value of the option `--out` of `run`.
    pub out: &'a Path,
    /// Folder of the scripts and job logs.
    pub jobs: &'a Path,
    /// The script itself, which is submitted again for a successor job.
    pub script: &'a Path,
    /// Log of submitted jobs, with one JSON line for each job.
    pub submissions: &'a Path,
    /// Values of the `--set` options.
    pub sets: &'a [String],
}

/// The sbatch script of one model's tasks.
pub fn script(name: &str, tasks: &ModelTasks, site: &Site, paths: &ScriptPaths<'_>) -> String {
    let mut text = String::from("#!/bin/bash\n");
    for option in options(name, tasks, site, paths) {
        text += &format!("#SBATCH {option}\n");
    }
    text += &format!(
        "\n# {name}: {} on {} GPUs. Each task takes runs from the shared folder until none is left or time is short.\n\n",
        tasks.model, tasks.gpus
    );
    if !site.modules.is_empty() {
        text += &format!(
            "module load {}\n",
            site.modules.iter().map(|m| shell_word(m)).collect::<Vec<_>>().join(" ")
        );
    }
    if let Some(home) = &site.hf_home {
        text += &format!("export HF_HOME={}\n", shell_word(home));
    }
    text += "export HF_HUB_OFFLINE=1\n";
    text += &format!("lead_s={}\n", site.signal_lead_s);
    text += &format!("script={}\n", quoted_path(paths.script));
    text += PROLOGUE;
    text += &format!(
        "{} run --config {} --out {} \\\n  --model {} --jobs {} --threads {} --shared --time-left \"$time_left_s\"{} &\n",
        quoted_path(paths.program),
        quoted_path(paths.config),
        quoted_path(paths.out),
        shell_word(&tasks.model),
        tasks.jobs,
        tasks.cpus,
        paths
            .sets
            .iter()
            .map(|set| format!(" \\\n  --set {}", shell_word(set)))
            .collect::<String>(),
    );
    text += WAIT_AND_DECIDE;
    match site.requeue {
        true => text + REQUEUE,
        false => text + &successor(tasks, paths),
    }
}

/// The end of the script on clusters that forbid requeueing: it submits a successor job that
/// continues the work.
fn successor(tasks: &ModelTasks, paths: &ScriptPaths<'_>) -> String {
    let json = |text: &str| shell_word(&serde_json::Value::from(text).to_string());
    format!(
        "model_json={}\nscript_json={}\nsubmissions={}\n{SUCCESSOR}",
        json(&tasks.model),
        json(&paths.script.display().to_string()),
        quoted_path(paths.submissions)
    )
}

fn options(name: &str, tasks: &ModelTasks, site: &Site, paths: &ScriptPaths<'_>) -> Vec<String> {
    let mut options = vec![format!("--job-name={}", safe_name(name))];
    for (option, value) in [
        ("account", &site.account),
        ("partition", &site.partition),
        ("qos", &site.qos),
        ("constraint", &site.constraint),
    ] {
        options.extend(value.as_ref().map(|value| format!("--{option}={value}")));
    }
    options.push("--nodes=1".into());
    options.push("--ntasks=1".into());
    options.push(format!("--cpus-per-task={}", tasks.cpus));
    options.push(format!("--mem={}M", tasks.memory_mib));
    if tasks.gpus > 0 {
        let kind = site.gpu_type.as_ref().map_or(String::new(), |kind| format!("{kind}:"));
        options.push(format!("--gres=gpu:{kind}{}", tasks.gpus));
    }
    let minutes = tasks.minutes;
    options.push(format!(
        "--time={}-{:02}:{:02}:00",
        minutes / 1440,
        minutes / 60 % 24,
        minutes % 60
    ));
    options.push(format!("--signal=B:USR1@{}", site.signal_lead_s));
    options.push(if site.requeue { "--requeue" } else { "--no-requeue" }.into());
    options.push("--open-mode=append".into());
    options.push(format!("--output=\"{}/%A_%a.log\"", paths.jobs.display()));
    options
}

const PROLOGUE: &str = r#"
# The trap must be set first: a signal without it would end the job without requeueing it.
child= signaled=
trap 'signaled=1; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1 TERM

task=$((${VENDOMINI_TASK_OFFSET:-0} + ${SLURM_ARRAY_TASK_ID:-0}))
job=$SLURM_JOB_ID
[ -n "${SLURM_ARRAY_JOB_ID:-}" ] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

# The job's end according to Slurm; without one, a year from now.
end=$(scontrol show job "$job" | sed -n 's/.* EndTime=\([^ ]*\).*/\1/p' | head -n 1)
end_s=$(date -d "$end" +%s 2>/dev/null) || end_s=$(($(date +%s) + 31536000))
time_left_s=$((end_s - $(date +%s) - lead_s))
[ "$time_left_s" -gt 0 ] || time_left_s=1
echo "task $task: job $job on $(hostname), start ${SLURM_RESTART_COUNT:-0}, $time_left_s s"

"#;

const WAIT_AND_DECIDE: &str = r#"child=$!
[ -z "$signaled" ] || kill -USR1 "$child" 2>/dev/null
# Every step is on disk before the next one begins, so ending the program loses at most the step in
# flight. A trapped signal ends `wait` before the program ends.
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
echo "task $task: ended with $code"

# 124: out of time. 129, 130, 138, 143: stopped by a signal.
case $code in
  124 | 129 | 130 | 138 | 143) ;;
  *) exit "$code" ;;
esac
about=$(scontrol show job "$job")
case $about in
  *JobState=RUNNING*) ;;
  # Preempted or requeued by Slurm itself.
  *JobState=PENDING* | *JobState=REQUEUED*) exit "$code" ;;
  # Slurm is ending the job, and COMPLETING does not tell why. Preempted or out of time: continue.
  # Canceled by a user: stop.
  *)
    preempted=$(sed -n 's/.*PreemptTime=\([0-9][^ ]*\).*/\1/p' <<<"$about" | head -n 1)
    [ -n "$preempted" ] || [ "$(date +%s)" -ge "$end_s" ] || exit "$code"
    ;;
esac
"#;

const REQUEUE: &str = r#"scontrol requeue "$job"
"#;

const SUCCESSOR: &str = r#"successor=$(sbatch --parsable --array="${SLURM_ARRAY_TASK_ID:-0}" --export=ALL "$script") || exit
echo "task $task: job $successor goes on"
# Read by `vendomini status`.
printf '{"job":%s,"model":%s,"offset":%s,"tasks":1,"script":%s,"submitted_unix_s":%s}\n' "${successor%%;*}" "$model_json" \
  "$task" "$script_json" "$(date +%s)" >>"$submissions"
"#;

fn quoted_path(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// Replaces characters that names of jobs and files should not contain.
fn safe_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reduced() {
        assert_eq!(safe_name("Qwen/Qwen3 32B"), "Qwen-Qwen3-32B");
    }
}
