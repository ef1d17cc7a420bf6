//! The sbatch script of a model's tasks.

mod bash;
mod options;
#[cfg(test)]
mod tests;

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

/// The sbatch script of one model's tasks. `site` has the settings of this model
/// ([`Site::for_model`]).
pub fn script(name: &str, tasks: &ModelTasks, site: &Site, paths: &ScriptPaths<'_>) -> String {
    let mut text = String::from("#!/bin/bash\n");
    for option in options::options(name, tasks, site, paths) {
        text += &format!("#SBATCH {option}\n");
    }
    text += &header(name, tasks);
    text += bash::BEGIN;
    text += &environment(site);
    if !site.teardown.is_empty() {
        text += bash::TEARDOWN_BEGIN;
        text += &shell_lines(&site.teardown);
        text += bash::TEARDOWN_END;
    }
    if !site.setup.is_empty() {
        text += &shell_lines(&site.setup);
        text += bash::AFTER_SETUP;
    }
    text += &variables(tasks, site, paths);
    text += bash::TIME_LEFT;
    text += &run(tasks, paths);
    text += bash::WAIT;
    if !site.teardown.is_empty() {
        // Before the job is requeued, because Slurm then ends this script.
        text += "teardown\n";
    }
    text += bash::DECIDE;
    text += if site.requeue { bash::REQUEUE } else { bash::SUCCESSOR };
    text
}

/// A comment that says what the script does.
fn header(name: &str, tasks: &ModelTasks) -> String {
    // A name with a line break would end the comment.
    let one_line = |text: &str| text.replace(char::is_control, " ");
    let gpus =
        tasks.gpus.map_or("a number of GPUs that is not known".into(), |n| format!("{n} GPUs"));
    let unknown = match tasks.memory_mib {
        Some(_) => "",
        None => "# The model's shape is not known: options --mem and of GPUs are missing above.\n",
    };
    format!(
        "\n# {}: {} on {gpus}. Each task takes runs from the shared folder until none is left or time is short.\n{unknown}",
        one_line(name),
        one_line(&tasks.model),
    )
}

fn environment(site: &Site) -> String {
    let mut text = String::new();
    if !site.modules.is_empty() {
        let modules: Vec<String> = site.modules.iter().map(|m| shell_word(m)).collect();
        text += &format!("module load {}\n", modules.join(" "));
    }
    if let Some(home) = &site.hf_home {
        text += &format!("export HF_HOME={}\n", shell_word(home));
    }
    text + "export HF_HUB_OFFLINE=1\n"
}

/// Lines of the site file. An empty line follows, so that a backslash at the end of the last one
/// takes in nothing of the script.
fn shell_lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect::<String>() + "\n"
}

/// Values that the constant parts of the script use.
fn variables(tasks: &ModelTasks, site: &Site, paths: &ScriptPaths<'_>) -> String {
    let json = |text: &str| shell_word(&serde_json::Value::from(text).to_string());
    let more = tasks.more_memory_mib.map_or(String::new(), |mib| mib.to_string());
    let memory = tasks.memory_mib.map_or("null".to_owned(), |mib| mib.to_string());
    format!(
        "lead_s={}\nscript={}\nsubmissions={}\nmodel_json={}\nscript_json={}\nmemory_json={memory}\nmore_memory_mib={more}\nminutes={}\n",
        site.signal_lead_s,
        quoted_path(paths.script),
        quoted_path(paths.submissions),
        json(&tasks.model),
        json(&paths.script.display().to_string()),
        tasks.minutes,
    )
}

/// Starts the program in the background.
fn run(tasks: &ModelTasks, paths: &ScriptPaths<'_>) -> String {
    format!(
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
    )
}

fn quoted_path(path: &Path) -> String {
    shell_word(&path.display().to_string())
}
