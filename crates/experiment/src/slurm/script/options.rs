//! The `#SBATCH` lines of a script.

use super::ScriptPaths;
use crate::slurm::sbatch_option::sbatch_word;
use crate::slurm::{GpuOption, ModelTasks, Site};
use std::path::Path;

/// The options of the jobs, one a line. Those of the site file come last; none of them is among the
/// others.
pub(super) fn options(
    name: &str,
    tasks: &ModelTasks,
    site: &Site,
    paths: &ScriptPaths<'_>,
) -> Vec<String> {
    let mut options = vec![format!("--job-name={}", safe_name(name))];
    for (option, value) in [
        ("account", &site.account),
        ("partition", &site.partition),
        ("qos", &site.qos),
        ("constraint", &site.constraint),
        ("reservation", &site.reservation),
        ("exclude", &site.exclude),
        ("nodelist", &site.nodelist),
    ] {
        options.extend(value.as_ref().map(|value| format!("--{option}={}", sbatch_word(value))));
    }
    options.push("--nodes=1".into());
    options.push("--ntasks=1".into());
    options.push(format!("--cpus-per-task={}", tasks.cpus));
    options.extend(tasks.memory_mib.map(|mib| format!("--mem={mib}M")));
    options.extend(tasks.gpus.filter(|gpus| *gpus > 0).map(|gpus| gpu_request(gpus, site)));
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
    options.push(format!("--output={}", log_pattern(paths.jobs)));
    if let Some(mail) = &site.mail {
        options.extend(mail.user.as_ref().map(|user| format!("--mail-user={}", sbatch_word(user))));
        if !mail.types.is_empty() {
            options.push(format!("--mail-type={}", mail.types.join(",")));
        }
    }
    options.extend(site.sbatch.iter().map(ToString::to_string));
    options
}

fn gpu_request(gpus: u64, site: &Site) -> String {
    let kind = site.gpu_type.as_ref().map_or(String::new(), |kind| format!("{kind}:"));
    match site.gpu_option {
        GpuOption::Gres => format!("--gres=gpu:{kind}{gpus}"),
        GpuOption::GpusPerNode => format!("--gpus-per-node={kind}{gpus}"),
        GpuOption::Gpus => format!("--gpus={kind}{gpus}"),
    }
}

/// The logs' path with the array's id and the task's index. In it, `%` begins a pattern of Slurm.
fn log_pattern(jobs: &Path) -> String {
    let folder = jobs.display().to_string().replace('%', "%%");
    format!("\"{}/%A_%a.log\"", escaped(&folder))
}

fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '"' | '\'' | '\\' | '#');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
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

    #[test]
    fn the_path_of_logs_is_taken_literally() {
        assert_eq!(log_pattern(Path::new("/a b/50%j")), "\"/a b/50%%j/%A_%a.log\"");
        assert_eq!(log_pattern(Path::new("/a#\"b")), "\"/a\\#\\\"b/%A_%a.log\"");
    }
}
