//! `vendomini submit`: submits experiments to Slurm as job arrays.

mod phase;
mod shell_check;

use super::run::provenance;
use crate::args::{InOrder, StageArgs, SubmitArgs, TimeArgs};
use crate::failure::Failure;
use crate::needs::{self, REMEDY, ShapeSource};
use crate::output;
use crate::provider::Engines;
use crate::slurm;
use crate::submissions::{Submission, record};
use base::shell_word;
use error_kind::ErrorKind;
use experiment::RunOptions;
use experiment::slurm::{ModelTasks, Site, TaskArray, split_into_arrays};
use phase::{ModelScript, Phase};
use shell_check::check_shell_lines;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use watch::Watch;

pub fn run(args: &SubmitArgs) -> Result<u8, Failure> {
    let site = needs::read_site(args.site.as_deref())?;
    // All experiments are planned before the first one is submitted.
    let planned: Result<Vec<Phase>, Failure> =
        args.config.iter().map(|file| Phase::plan(file, args, &site)).collect();
    let phases = planned?;
    check(&phases, args)?;
    for phase in &phases {
        let models = phase.models.iter();
        models.map(|model| tasks_text(&model.tasks)).try_for_each(|text| output::line(&text))?;
    }
    if args.dry_run {
        phases.iter().try_for_each(print_scripts)?;
    } else if args.check {
        test(&phases)?;
    } else {
        return submit_all(&phases, args);
    }
    phases.iter().for_each(note_absent);
    phases.iter().try_for_each(Phase::check_complete)?;
    Ok(0)
}

/// Finds what is wrong between the experiments and with the site's lines, before anything is
/// written.
fn check(phases: &[Phase], args: &SubmitArgs) -> Result<(), Failure> {
    let mut folders = BTreeSet::new();
    for phase in phases {
        if !folders.insert(&phase.folder) {
            return Err(Failure::usage(format!(
                "two of the experiments have the folder {}: give each its own experiment.name",
                phase.folder.display()
            )));
        }
        for model in &phase.models {
            check_shell_lines(&model.site, &model.tasks.model)?;
            let depends = model.site.sbatch.iter().find(|option| option.name() == "dependency");
            if let Some(option) = depends.filter(|_| args.in_order.is_some()) {
                return Err(Failure::usage(format!(
                    "the site file: sbatch: {option} contradicts --in-order: keep one"
                )));
            }
        }
    }
    Ok(())
}

/// Prints each script after the command that submits it.
fn print_scripts(phase: &Phase) -> Result<(), Failure> {
    for model in &phase.models {
        // The limits of the cluster are known only where Slurm is.
        let size = model.site.array_size_max.unwrap_or(usize::MAX);
        for part in split_into_arrays(model.tasks.tasks, size, usize::MAX) {
            let words = sbatch_arguments(&model.site, part, &[]);
            let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
            let script = shell_word(&model.path.display().to_string());
            output::line(&format!("\n# sbatch {} {script}", words.join(" ")))?;
        }
        output::line(&format!("# {}\n{}", model.path.display(), model.text))?;
    }
    Ok(())
}

/// Says which models are absent, and where the sizes shown are from.
fn note_absent(phase: &Phase) {
    for need in phase.needs.iter().filter(|need| need.is_only_absent()) {
        let problem = need.problem.as_deref().unwrap_or_default();
        let sizes = match need.shape {
            Some(ShapeSource::Published) => ". Its sizes are from its published shape",
            _ => "",
        };
        // The list of folders that were searched is in the refusal of a submission.
        let first = problem.lines().next().unwrap_or_default().trim_end_matches("; looked in:");
        let remedy = problem.rsplit_once(REMEDY).filter(|_| first.len() < problem.len());
        let remedy = remedy.map_or(String::new(), |(_, remedy)| format!(". {REMEDY}{remedy}"));
        output::message(&format!("note: {}: {first}{sizes}{remedy}", need.model));
    }
}

/// Asks `sbatch --test-only` for each array that would be submitted, and prints Slurm's answers.
fn test(phases: &[Phase]) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for model in phases.iter().flat_map(|phase| &phase.models) {
        let (array_size_max, _) = limits(&model.site)?;
        for part in split_into_arrays(model.tasks.tasks, array_size_max, usize::MAX) {
            let mut words = vec!["--test-only".to_owned()];
            words.extend(sbatch_arguments(&model.site, part, &[]));
            let tasks = tasks_range(&model.tasks.model, part);
            match slurm::call_with_input("sbatch", &words, &model.text) {
                Ok(printed) => output::line(&format!("{tasks}: {}", answer(&printed.stderr)))?,
                Err(failure) => {
                    output::line(&format!("{tasks}: refused: {}", failure.text))?;
                    refused.push(failure);
                }
            }
        }
    }
    output::line("nothing was submitted")?;
    match refused.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(
            first.kind,
            format!("Slurm would refuse {} of the arrays: {}", refused.len(), first.text),
        )),
    }
}

/// The expected start and the place in an answer of `sbatch --test-only`, which is a line such as
/// `sbatch: Job 7 to start at 2026-01-31T12:00:00 using 8 processors on nodes n1 in partition gpu`.
fn answer(stderr: &str) -> String {
    let line = stderr.lines().find_map(|line| line.split_once(" to start at "));
    line.map_or_else(
        || format!("accepted; Slurm says: {}", stderr.trim().replace('\n', "; ")),
        |(_, rest)| match rest.split_once(' ') {
            Some((start, place)) => format!("accepted, expected start {start}, {place}"),
            None => format!("accepted, expected start {rest}"),
        },
    )
}

/// Submits the experiments one after the other.
fn submit_all(phases: &[Phase], args: &SubmitArgs) -> Result<u8, Failure> {
    // Slurm is queried before any file is written, so that no files are left behind where Slurm is
    // missing.
    let mut limits_of = Vec::new();
    for model in phases.iter().flat_map(|phase| &phase.models) {
        limits_of.push(limits(&model.site)?);
    }
    let submit_jobs_max = limits_of.iter().filter_map(|(_, jobs)| *jobs).min();
    let queued = slurm::queue()?.len();
    let mut available = submit_jobs_max.map_or(usize::MAX, |max| max.saturating_sub(queued));
    let mut array_sizes = limits_of.iter().map(|(size, _)| *size);
    let mut before: Vec<u64> = Vec::new();
    for phase in phases {
        prepare(phase, args)?;
        let dependency = args.in_order.and_then(|when| dependency(when, &before));
        let mut jobs = Vec::new();
        for model in &phase.models {
            write_script(&model.path, &model.text)?;
            let size = array_sizes.next().unwrap_or(usize::MAX);
            let parts = split_into_arrays(model.tasks.tasks, size, available);
            let submitted: usize = parts.iter().map(|part| part.count).sum();
            available -= submitted;
            for part in parts {
                jobs.push(submit(&phase.folder, model, part, dependency.as_deref())?);
            }
            if submitted < model.tasks.tasks {
                let (left, max) = (model.tasks.tasks - submitted, submit_jobs_max.unwrap_or(0));
                output::line(&format!(
                    "{}: {left} tasks are not submitted: {max} jobs may be submitted (MaxSubmitJobs). The submitted tasks do all runs; the same command submits more later",
                    model.tasks.model
                ))?;
            }
        }
        if !jobs.is_empty() {
            before = jobs;
        }
        output::line(&format!("vendomini status {} shows the progress", phase.folder.display()))?;
    }
    Ok(0)
}

/// The option that lets jobs wait for those of the experiment before; `None` for the first one.
fn dependency(when: InOrder, before: &[u64]) -> Option<String> {
    if before.is_empty() {
        return None;
    }
    let kind = match when {
        InOrder::Any => "afterany",
        InOrder::Ok => "afterok",
    };
    let jobs: String = before.iter().map(|job| format!(":{job}")).collect();
    Some(format!("--dependency={kind}{jobs}"))
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

fn tasks_text(tasks: &ModelTasks) -> String {
    let estimated = tasks
        .hours_estimated
        .map_or("unknown hours".into(), |hours| format!("about {hours:.1} hours in total"));
    let gpus = tasks.gpus.map_or("an unknown number of GPUs".into(), |gpus| format!("{gpus} GPUs"));
    let memory = tasks.memory_mib.map_or("unknown memory".into(), |mib| format!("{mib} MiB"));
    format!(
        "{}: {} runs in {} tasks of {} at a time; each task: {gpus}, {} cores, {memory}, at most {} min; {estimated}",
        tasks.model, tasks.runs, tasks.tasks, tasks.jobs, tasks.cpus, tasks.minutes
    )
}

fn tasks_range(model: &str, array: TaskArray) -> String {
    format!("{model}: tasks {}-{}", array.offset, array.offset + array.count - 1)
}

/// Creates the experiment's folder; fails if it belongs to another configuration.
fn prepare(phase: &Phase, args: &SubmitArgs) -> Result<(), Failure> {
    let watch = Watch::silent();
    let models = Engines {
        time: TimeArgs { stall_timeout: 120.0, deadline: None },
        fallback: "keep".into(),
        dtype: None,
        kv_dtype: None,
        max_memory: None,
        chat_template: None,
        threads: None,
        stage: StageArgs::default(),
        watch: &watch,
    };
    let options = RunOptions {
        folder: phase.config.folder(args.out.as_deref()),
        jobs: phase.jobs,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: std::time::Duration::ZERO,
        provenance: provenance(),
    };
    experiment::prepare_experiment(&phase.config, &models, &options)?;
    let jobs = phase.folder.join("slurm");
    fs::create_dir_all(&jobs).map_err(|e| Failure::io(&jobs.display().to_string(), &e))
}

fn write_script(path: &Path, text: &str) -> Result<(), Failure> {
    // Slurm copies a script when it is submitted, but a successor job reads the file itself, which
    // must never be partly written.
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| Failure::io(&path.display().to_string(), &e))
}

/// Arguments of sbatch that are not in the script.
fn sbatch_arguments(site: &Site, array: TaskArray, more: &[String]) -> Vec<String> {
    let throttle = site.array_throttle.map_or(String::new(), |tasks| format!("%{tasks}"));
    let mut words = vec![
        "--parsable".into(),
        format!("--array=0-{}{throttle}", array.count - 1),
        format!("--export=ALL,VENDOMINI_TASK_OFFSET={}", array.offset),
    ];
    words.extend(more.iter().cloned());
    words
}

/// Submits one array and records it; returns its job id.
fn submit(
    folder: &Path,
    model: &ModelScript,
    array: TaskArray,
    dependency: Option<&str>,
) -> Result<u64, Failure> {
    let dependency: Vec<String> = dependency.map(str::to_owned).into_iter().collect();
    let mut words = sbatch_arguments(&model.site, array, &dependency);
    words.push(model.path.display().to_string());
    let output = slurm::call("sbatch", &words)?;
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
            model: model.tasks.model.clone(),
            offset: array.offset,
            tasks: array.count,
            script: model.path.clone(),
            submitted_unix_s: now.map_or(0, |since| since.as_secs()),
            memory_mib: model.tasks.memory_mib,
            minutes: Some(model.tasks.minutes),
            after_out_of_memory: None,
        },
    )?;
    // Recorded first: the job is queued, whether or not stdout can be written.
    output::line(&format!("{} are job {job}", tasks_range(&model.tasks.model, array)))?;
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_slurm_becomes_the_expected_start() {
        let slurms = "sbatch: Job 7 to start at 2026-01-31T12:00:00 using 8 processors on nodes n1 in partition gpu\n";
        assert_eq!(
            answer(slurms),
            "accepted, expected start 2026-01-31T12:00:00, using 8 processors on nodes n1 in partition gpu"
        );
        assert_eq!(answer("odd\nwords\n"), "accepted; Slurm says: odd; words");
    }

    #[test]
    fn a_phase_waits_for_all_jobs_of_the_one_before() {
        assert_eq!(dependency(InOrder::Any, &[]), None);
        assert_eq!(dependency(InOrder::Ok, &[3, 4]).as_deref(), Some("--dependency=afterok:3:4"));
    }
}
