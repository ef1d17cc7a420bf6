//! `vendomini submit`: submits an experiment to Slurm as job arrays.

use super::run::{JOBS_DEFAULT, provenance};
use crate::args::{SubmitArgs, TimeArgs};
use crate::failure::Failure;
use crate::needs::{self, Need};
use crate::output;
use crate::provider::Engines;
use crate::slurm;
use error_kind::ErrorKind;
use experiment::slurm::{
    ModelTasks, ScriptPaths, Site, TaskArray, TaskRequest, TaskResources, model_tasks, script,
    split_into_arrays,
};
use experiment::{Config, CostRates, RunOptions, SCRIPTED};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use watch::Watch;

/// The file in an experiment's folder with one line for each submitted job array.
pub const SUBMISSIONS: &str = "submissions.jsonl";

/// A submitted job array: one line of [`SUBMISSIONS`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submission {
    /// The array's job id.
    pub job: u64,
    /// The model whose runs the tasks do.
    pub model: String,
    /// Index of the array's first task among the model's tasks.
    pub offset: usize,
    /// Number of tasks in the array.
    pub tasks: usize,
    pub script: PathBuf,
    pub submitted_unix_s: u64,
}

pub fn run(args: &SubmitArgs) -> Result<u8, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    let site = needs::read_site(args.site.as_deref())?;
    let jobs = args.jobs.unwrap_or(JOBS_DEFAULT).max(1);
    let needs = needs::needs(&config, jobs, &site);
    needs::check_all(&needs)?;
    let arrays = plan(&config, &needs, args, jobs, &site)?;
    let folder = absolute(&config.folder(args.out.as_deref()))?;
    let scripts = scripts(&config, &arrays, args, &site, &folder)?;
    arrays.iter().try_for_each(|tasks| output::line(&tasks_text(tasks)))?;
    if args.dry_run {
        return scripts
            .iter()
            .try_for_each(|(path, text)| output::line(&format!("\n# {}\n{text}", path.display())))
            .map(|()| 0);
    }
    // Slurm is queried before any file is written, so that no files are left behind where Slurm is
    // missing.
    let (array_size_max, submit_jobs_max) = limits(&site)?;
    let queued = slurm::queue()?.len();
    prepare(&config, args, &folder, jobs)?;
    let mut available = submit_jobs_max.map_or(usize::MAX, |max| max.saturating_sub(queued));
    for (tasks, (path, text)) in arrays.iter().zip(&scripts) {
        write_script(path, text)?;
        let parts = split_into_arrays(tasks.tasks, array_size_max, available);
        let submitted: usize = parts.iter().map(|part| part.count).sum();
        available -= submitted;
        parts.into_iter().try_for_each(|part| submit(&folder, &tasks.model, path, part))?;
        if submitted < tasks.tasks {
            let (left, max) = (tasks.tasks - submitted, submit_jobs_max.unwrap_or(0));
            output::line(&format!(
                "{}: {left} tasks are not submitted: {max} jobs may be submitted (MaxSubmitJobs). The submitted tasks do all runs; the same command submits more later",
                tasks.model
            ))?;
        }
    }
    output::line(&format!("vendomini status {} shows the progress", folder.display()))?;
    Ok(0)
}

/// Largest array index bound (MaxArraySize), and most submitted jobs (MaxSubmitJobs; `None` without
/// a limit). Each is the smaller of the cluster's limit and the site file's.
fn limits(site: &Site) -> Result<(usize, Option<usize>), Failure> {
    let cluster = slurm::limits(site.account.as_deref(), site.qos.as_deref())?;
    let array_size =
        site.array_size_max.map_or(cluster.array_size, |max| max.min(cluster.array_size));
    let submit_jobs = [cluster.submit_jobs, site.submit_jobs_max].into_iter().flatten().min();
    Ok((array_size, submit_jobs))
}

fn plan(
    config: &Config,
    needs: &[Need],
    args: &SubmitArgs,
    jobs: usize,
    site: &Site,
) -> Result<Vec<ModelTasks>, Failure> {
    let rates = CostRates { runs_in_flight: jobs as f64, ..CostRates::default() };
    let estimate = experiment::estimate(config, &rates)?;
    let (counts, requested) = (config.counts(), args.tasks.map(|n| n as usize));
    let mut arrays = Vec::new();
    for need in needs {
        let (name, runs) = (&need.model, counts.models.get(&need.model).copied().unwrap_or(0));
        let request = TaskRequest {
            model: name,
            runs,
            resources: need.fit,
            estimate: estimate.models.get(name),
            tasks: requested,
            jobs,
        };
        arrays.push(model_tasks(request, site));
    }
    // People play their runs by `vendomini play`, outside of jobs.
    let human = counts.models.get("human").copied().unwrap_or(0);
    let scripted = counts.runs - human - arrays.iter().map(|tasks| tasks.runs).sum::<usize>();
    if scripted > 0 {
        let request = TaskRequest {
            model: SCRIPTED,
            runs: scripted,
            resources: TaskResources::default(),
            estimate: None,
            tasks: requested,
            jobs,
        };
        arrays.push(model_tasks(request, site));
    }
    Ok(arrays)
}

fn tasks_text(tasks: &ModelTasks) -> String {
    let estimated = tasks
        .hours_estimated
        .map_or("unknown hours".into(), |hours| format!("about {hours:.1} hours in total"));
    format!(
        "{}: {} runs in {} tasks of {} at a time; each task: {} GPUs, {} cores, {} MiB, at most {} min; {estimated}",
        tasks.model,
        tasks.runs,
        tasks.tasks,
        tasks.jobs,
        tasks.gpus,
        tasks.cpus,
        tasks.memory_mib,
        tasks.minutes
    )
}

/// The path and the text of each model's batch script.
fn scripts(
    config: &Config,
    arrays: &[ModelTasks],
    args: &SubmitArgs,
    site: &Site,
    folder: &Path,
) -> Result<Vec<(PathBuf, String)>, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::io("cannot find this program's own path", &e))?;
    let (config_file, jobs, submissions) =
        (absolute(&args.config)?, folder.join("slurm"), folder.join(SUBMISSIONS));
    // The parent folder, because the script's `run` command appends the experiment's folder name.
    let out = folder.parent().unwrap_or(folder).to_path_buf();
    let one = |(at, tasks): (usize, &ModelTasks)| {
        let model: String = tasks
            .model
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let path = jobs.join(format!("{at}-{}.sbatch", model.trim_start_matches(['.', '-'])));
        let places = ScriptPaths {
            program: &program,
            config: &config_file,
            out: &out,
            jobs: &jobs,
            script: &path,
            submissions: &submissions,
            sets: &args.set,
        };
        let text = script(config.name(), tasks, site, &places);
        (path, text)
    };
    Ok(arrays.iter().enumerate().map(one).collect())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io(&path.display().to_string(), &e))
}

/// Creates the experiment's folder; fails if it belongs to another configuration.
fn prepare(config: &Config, args: &SubmitArgs, folder: &Path, jobs: usize) -> Result<(), Failure> {
    let watch = Watch::silent();
    let models = Engines {
        time: TimeArgs { stall_timeout: 120.0, deadline: None },
        fallback: "keep".into(),
        dtype: None,
        kv_dtype: None,
        max_memory: None,
        chat_template: None,
        threads: None,
        watch: &watch,
    };
    let options = RunOptions {
        folder: config.folder(args.out.as_deref()),
        jobs,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: std::time::Duration::ZERO,
        provenance: provenance(),
    };
    experiment::prepare_experiment(config, &models, &options)?;
    let jobs = folder.join("slurm");
    fs::create_dir_all(&jobs).map_err(|e| Failure::io(&jobs.display().to_string(), &e))
}

fn write_script(path: &Path, text: &str) -> Result<(), Failure> {
    // Slurm copies a script when it is submitted, but a successor job reads the file itself, which
    // must never be partly written.
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| Failure::io(&path.display().to_string(), &e))
}

fn submit(folder: &Path, model: &str, script: &Path, array: TaskArray) -> Result<(), Failure> {
    let output = slurm::call(
        "sbatch",
        &[
            "--parsable".into(),
            format!("--array=0-{}", array.count - 1),
            format!("--export=ALL,VENDOMINI_TASK_OFFSET={}", array.offset),
            script.display().to_string(),
        ],
    )?;
    let job = output.trim().split(';').next().and_then(|id| id.parse().ok());
    let job = job.ok_or_else(|| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("the output of sbatch has no job id: {}", output.trim()),
        )
    })?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    record(
        folder,
        &Submission {
            job,
            model: model.to_string(),
            offset: array.offset,
            tasks: array.count,
            script: script.to_path_buf(),
            submitted_unix_s: now.map_or(0, |since| since.as_secs()),
        },
    )?;
    // Recorded first: the job is queued, whether or not stdout can be written.
    output::line(&format!(
        "{model}: tasks {}-{} are job {job}",
        array.offset,
        array.offset + array.count - 1
    ))
}

fn record(folder: &Path, submission: &Submission) -> Result<(), Failure> {
    let path = folder.join(SUBMISSIONS);
    let mut line =
        serde_json::to_string(submission).map_err(|e| Failure::software(format!("JSON: {e}")))?;
    line.push('\n');
    let file = OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|e| Failure::io(&path.display().to_string(), &e))
}

/// Reads the job arrays submitted so far for an experiment; none if the file does not exist.
///
/// # Errors
/// `Io` if the file cannot be read, `BadInput` for an invalid line.
pub fn submissions(folder: &Path) -> Result<Vec<Submission>, Failure> {
    let path = folder.join(SUBMISSIONS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(&path.display().to_string(), &error)),
    };
    let bad = |error: serde_json::Error| {
        Failure::new(ErrorKind::BadInput, format!("{}: {error}", path.display()))
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(bad)).collect()
}
