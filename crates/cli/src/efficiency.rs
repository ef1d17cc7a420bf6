//! What the Slurm tasks of an experiment used of what they asked for, and what to ask for next.

use crate::failure::Failure;
use crate::slurm;
use crate::slurm_accounting::{AccountedTask, accounted};
use crate::submissions::{Submission, submissions};
use results::{JournalEntry, JournalEvent, aligned, journals};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Memory to ask for, as a multiple of the peak that was used.
const MEMORY_MARGIN: f64 = 1.2;
/// Memory to ask for after a task ran out of it, as a multiple of what it had.
const MEMORY_AFTER_OUT: f64 = 1.5;
/// Time to ask for, as a multiple of the longest start of a task.
const TIME_MARGIN: f64 = 1.3;
/// A task that used this share of its time limit was ended by it.
const TIME_USED_UP: f64 = 0.95;
/// Steps of suggested requests: GB and hours.
const MEMORY_STEP_GB: f64 = 0.5;
const TIME_STEP_HOURS: f64 = 0.25;

/// What was asked for and what was used, by task, and a suggestion for each model.
#[derive(Debug, Serialize)]
pub struct Efficiency {
    pub tasks: Vec<TaskUse>,
    pub suggestions: Vec<Suggestion>,
    /// Why Slurm's accounting could not be asked; then all figures are from journals.
    pub sacct_problem: Option<String>,
}

/// One task of a job array, over all its starts. Figures that are not known are `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskUse {
    /// `<array>_<index>`
    pub task: String,
    pub model: String,
    pub starts: u64,
    /// Slurm's state, if its accounting is there.
    pub state: Option<String>,
    pub ran_out_of_memory: bool,
    /// Whether no process of the task runs any more.
    pub ended: bool,
    pub memory_asked_bytes: Option<u64>,
    pub memory_peak_bytes: Option<u64>,
    /// Time limit of one start.
    pub time_asked_s: Option<u64>,
    /// Seconds of the longest start.
    pub time_longest_s: u64,
    /// Seconds of all starts together.
    pub time_total_s: u64,
}

/// The request that the ended tasks of a model suggest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    pub model: String,
    /// `None`: the peak is not known.
    pub memory_gb: Option<f64>,
    /// `None`: no task completed, or [`Suggestion::time_used_up`].
    pub hours: Option<f64>,
    /// Whether tasks used their whole time and went on in another start, so that any limit does.
    pub time_used_up: bool,
    /// The lines of the site file.
    pub site: String,
}

/// What one process of a task wrote to its journal.
#[derive(Debug, Clone, Default)]
struct JournaledTask {
    starts: BTreeSet<u64>,
    longest_s: f64,
    total_s: f64,
    memory_peak_bytes: u64,
    open: bool,
}

/// Compares what was asked for with what was used.
///
/// # Errors
/// The submissions or journals in the folder cannot be read.
pub fn efficiency(folder: &Path) -> Result<Efficiency, Failure> {
    let submissions = submissions(folder)?;
    if submissions.is_empty() {
        return Ok(Efficiency { tasks: vec![], suggestions: vec![], sacct_problem: None });
    }
    let journaled = by_task(&journals(folder, Duration::MAX)?);
    let jobs: Vec<u64> = submissions.iter().map(|submission| submission.job).collect();
    // The journals tell most of it, so a failure of Slurm is part of the document.
    let (accounted, sacct_problem) = match accounted(&jobs) {
        Ok(tasks) => (tasks, None),
        Err(failure) => (BTreeMap::new(), Some(failure.text)),
    };
    // A process that was killed leaves a journal without an end.
    let queue = slurm::queue().ok();
    let queued: Option<BTreeSet<&str>> =
        queue.as_ref().map(|jobs| jobs.iter().map(|job| job.id.as_str()).collect());
    let tasks = tasks(&submissions, &journaled, &accounted, queued.as_ref());
    let models: BTreeSet<&str> = tasks.iter().map(|task| task.model.as_str()).collect();
    let suggestions = models.into_iter().filter_map(|model| suggestion(model, &tasks)).collect();
    Ok(Efficiency { tasks, suggestions, sacct_problem })
}

/// The journals of Slurm's tasks, by task.
fn by_task(journals: &[Vec<JournalEntry>]) -> BTreeMap<String, JournaledTask> {
    let mut tasks: BTreeMap<String, JournaledTask> = BTreeMap::new();
    for entries in journals {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { continue };
        let of_slurm = entries.iter().find_map(|entry| match entry.event {
            JournalEvent::Slurm { job, task, restarts } => {
                Some((format!("{job}_{task}"), restarts))
            }
            _ => None,
        });
        let Some((id, restarts)) = of_slurm else { continue };
        let task = tasks.entry(id).or_default();
        let seconds = (last.at_unix_s - first.at_unix_s).max(0.0);
        task.starts.insert(restarts);
        task.longest_s = task.longest_s.max(seconds);
        task.total_s += seconds;
        let peak = entries.iter().map(|entry| entry.memory_peak_bytes).max().unwrap_or(0);
        task.memory_peak_bytes = task.memory_peak_bytes.max(peak);
        task.open |= last.event != JournalEvent::Ended;
    }
    tasks
}

fn tasks(
    submissions: &[Submission],
    journaled: &BTreeMap<String, JournaledTask>,
    accounted: &BTreeMap<String, AccountedTask>,
    queued: Option<&BTreeSet<&str>>,
) -> Vec<TaskUse> {
    let out_of_memory: BTreeSet<&str> =
        submissions.iter().filter_map(|s| s.after_out_of_memory.as_deref()).collect();
    let mut all = Vec::new();
    for submission in submissions {
        let prefix = format!("{}_", submission.job);
        let known = journaled.keys().chain(accounted.keys()).map(String::as_str);
        // A task that ran out of memory while it loaded its model has no journal.
        let known = known.chain(out_of_memory.iter().copied());
        let mut ids: Vec<&str> = known.filter(|id| id.starts_with(&prefix)).collect();
        ids.sort_by_key(|id| id[prefix.len()..].parse::<u64>().unwrap_or(0));
        ids.dedup();
        for id in ids {
            let (journal, slurm) = (journaled.get(id), accounted.get(id));
            let starts = journal.map_or(1, |journal| journal.starts.len() as u64);
            let journal = journal.cloned().unwrap_or_default();
            let peak = Some(journal.memory_peak_bytes).filter(|bytes| *bytes > 0);
            let asked_mib = submission.memory_mib.or(slurm.and_then(|s| s.memory_asked_mib));
            let minutes = slurm.and_then(|s| s.time_limit_min).or(submission.minutes);
            all.push(TaskUse {
                task: id.to_owned(),
                model: submission.model.clone(),
                starts: slurm.map_or(starts, |s| s.starts),
                state: slurm.map(|s| s.state.clone()),
                ran_out_of_memory: out_of_memory.contains(id)
                    || slurm.is_some_and(AccountedTask::ran_out_of_memory),
                ended: match (slurm, queued) {
                    (Some(slurm), _) => !slurm.is_active(),
                    (None, Some(queued)) => !queued.contains(id),
                    (None, None) => !journal.open,
                },
                memory_asked_bytes: asked_mib.map(|mib| mib << 20),
                memory_peak_bytes: peak.max(slurm.and_then(|s| s.memory_peak_bytes)),
                time_asked_s: minutes.map(|minutes| minutes * 60),
                time_longest_s: slurm.map_or(journal.longest_s as u64, |s| s.longest_s),
                time_total_s: slurm.map_or(journal.total_s as u64, |s| s.total_s),
            });
        }
    }
    all
}

/// What the ended tasks of a model suggest; `None` if none has ended.
fn suggestion(model: &str, tasks: &[TaskUse]) -> Option<Suggestion> {
    let ended: Vec<&TaskUse> =
        tasks.iter().filter(|task| task.model == model && task.ended && task.starts > 0).collect();
    if ended.is_empty() {
        return None;
    }
    let of_failed = |task: &&&TaskUse| task.ran_out_of_memory;
    // A task that ran out of memory would have used more than its peak.
    let failed = ended.iter().filter(of_failed).filter_map(|task| task.memory_asked_bytes).max();
    let good = ended.iter().filter(|task| !task.ran_out_of_memory);
    let peak = good.filter_map(|task| task.memory_peak_bytes).max();
    let with_margin = peak.map(|bytes| bytes as f64 * MEMORY_MARGIN);
    let memory = match (with_margin, failed) {
        (Some(peak), Some(failed)) if peak <= failed as f64 => {
            Some(failed as f64 * MEMORY_AFTER_OUT)
        }
        (None, Some(failed)) => Some(failed as f64 * MEMORY_AFTER_OUT),
        (peak, _) => peak,
    };
    let memory_gb = memory.map(|bytes| rounded_up(bytes / 1e9, MEMORY_STEP_GB));
    let used_up = |task: &&TaskUse| {
        let asked = task.time_asked_s.map_or(f64::INFINITY, |asked| asked as f64);
        task.time_longest_s as f64 >= asked * TIME_USED_UP
    };
    let time_used_up = ended.iter().copied().any(|task| used_up(&task));
    // Canceled and failed tasks would have taken longer.
    let completed = ended.iter().filter(|task| {
        let state = task.state.as_deref().unwrap_or("COMPLETED");
        state.starts_with("COMPLETED") && !task.ran_out_of_memory
    });
    let longest_s = completed.map(|task| task.time_longest_s).max();
    let hours = longest_s.filter(|_| !time_used_up);
    let hours = hours.map(|s| rounded_up(s as f64 / 3600.0 * TIME_MARGIN, TIME_STEP_HOURS));
    let settings: Vec<String> = [
        memory_gb.map(|gb| format!("memory_gb: {gb}")),
        hours.map(|hours| format!("hours: {hours}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let name = serde_json::Value::from(model);
    let site = format!("models: {{{name}: {{{}}}}}", settings.join(", "));
    if memory_gb.is_none() && hours.is_none() && !time_used_up {
        return None;
    }
    Some(Suggestion { model: model.to_owned(), memory_gb, hours, time_used_up, site })
}

/// The smallest positive multiple of `step` that is not below `value`.
fn rounded_up(value: f64, step: f64) -> f64 {
    (value / step).ceil().max(1.0) * step
}

impl fmt::Display for Efficiency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.sacct_problem {
            writeln!(f, "figures are from journals alone: {problem}")?;
        }
        if self.tasks.is_empty() {
            return writeln!(f, "no task of a Slurm job has begun");
        }
        let head = [
            "task",
            "model",
            "state",
            "starts",
            "memory asked",
            "peak",
            "",
            "time asked",
            "longest",
            "",
            "in total",
        ];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        table.extend(self.tasks.iter().map(TaskUse::cells));
        write!(f, "{}", aligned(&table))?;
        for suggestion in &self.suggestions {
            writeln!(f, "next time, in the site file: {}", suggestion.site)?;
            if suggestion.time_used_up {
                writeln!(
                    f,
                    "  tasks used their whole time and went on in another start: hours as they were"
                )?;
            }
        }
        if self.suggestions.is_empty() {
            writeln!(f, "no task has ended: nothing is suggested yet")?;
        }
        Ok(())
    }
}

impl TaskUse {
    fn cells(&self) -> Vec<String> {
        let bytes = |bytes: Option<u64>| bytes.map_or("-".into(), placement::short_text);
        let share = |used: Option<u64>, asked: Option<u64>| match (used, asked) {
            (Some(used), Some(asked)) if asked > 0 => format!("{}%", used * 100 / asked),
            _ => "-".into(),
        };
        let state = match (&self.state, self.ran_out_of_memory) {
            (_, true) => "out of memory".to_owned(),
            (Some(state), _) => state.to_lowercase().replace('_', " "),
            (None, _) => if self.ended { "ended" } else { "runs" }.to_owned(),
        };
        vec![
            self.task.clone(),
            self.model.clone(),
            state,
            self.starts.to_string(),
            bytes(self.memory_asked_bytes),
            bytes(self.memory_peak_bytes),
            share(self.memory_peak_bytes, self.memory_asked_bytes),
            self.time_asked_s.map_or("-".into(), clock),
            clock(self.time_longest_s),
            share(Some(self.time_longest_s), self.time_asked_s),
            clock(self.time_total_s),
        ]
    }
}

/// Seconds as hours, minutes and seconds.
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(peak: Option<u64>, longest_s: u64, ran_out_of_memory: bool) -> TaskUse {
        TaskUse {
            task: "7_0".into(),
            model: "m".into(),
            starts: 1,
            state: None,
            ran_out_of_memory,
            ended: true,
            memory_asked_bytes: Some(8_000_000_000),
            memory_peak_bytes: peak,
            time_asked_s: Some(36_000),
            time_longest_s: longest_s,
            time_total_s: longest_s,
        }
    }

    fn suggested(tasks: &[TaskUse]) -> (Option<f64>, Option<f64>) {
        let suggestion = suggestion("m", tasks).expect("ended tasks");
        (suggestion.memory_gb, suggestion.hours)
    }

    #[test]
    fn the_next_request_has_a_margin_over_what_was_used() {
        let peak = Some(2_000_000_000);
        assert_eq!(suggested(&[task(peak, 3600, false)]), (Some(2.5), Some(1.5)));
        assert_eq!(suggested(&[task(peak, 35_000, false)]), (Some(2.5), None), "time was used up");
        assert_eq!(suggested(&[task(None, 0, false)]), (None, Some(0.25)));
        let out = [task(Some(7_900_000_000), 60, true), task(peak, 3600, false)];
        assert_eq!(suggested(&out), (Some(12.0), Some(1.5)), "8 GB were too few");
        let back = TaskUse { memory_peak_bytes: Some(11_000_000_000), ..task(peak, 3600, false) };
        assert_eq!(suggested(&[task(None, 60, true), back]).0, Some(13.5), "its peak is known");
        assert_eq!(suggested(&[task(None, 60, true)]), (Some(12.0), None), "it did no work");
        let canceled = TaskUse { state: Some("CANCELLED by 0".into()), ..task(peak, 9, false) };
        assert_eq!(suggested(&[canceled]), (Some(2.5), None));
        let running = TaskUse { ended: false, ..task(peak, 3600, false) };
        assert_eq!(suggestion("m", &[running]), None);
    }

    #[test]
    fn a_task_that_ran_out_of_memory_before_its_journal_counts() {
        let log = r#"{"job":7,"model":"m","offset":0,"tasks":1,"script":"/s","submitted_unix_s":1,"memory_mib":1000,"minutes":60}
            {"job":8,"model":"m","offset":0,"tasks":1,"script":"/s","submitted_unix_s":9,"memory_mib":2000,"minutes":60,"after_out_of_memory":"7_0"}"#;
        let log: Vec<Submission> =
            log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let found = tasks(&log, &BTreeMap::new(), &BTreeMap::new(), None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].task == "7_0" && found[0].ran_out_of_memory && found[0].ended);
        let next = suggestion("m", &found).expect("a suggestion");
        assert_eq!((next.memory_gb, next.hours), (Some(2.0), None), "1.57 GB and rounded up");
    }

    #[test]
    fn a_suggestion_is_a_line_of_a_site_file() {
        let odd = TaskUse { model: "org/it's: a".into(), ..task(Some(1_000_000_000), 60, false) };
        let site = suggestion(&odd.model.clone(), &[odd]).expect("ended").site;
        let parsed = experiment::slurm::Site::from_yaml("site.yaml", &site).expect(&site);
        let of_model = parsed.for_model("org/it's: a").expect("a model");
        assert_eq!((of_model.memory_gb, of_model.hours), (Some(1.5), Some(0.25)));
    }
}
