//! Journals: files of progress entries, one per process, from which `status` computes throughput.

use crate::disk;
use crate::error::ResultsError;
use crate::owner::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Subfolder of an experiment's folder that holds the journals.
const FOLDER: &str = "journals";
/// Minimum time between progress entries.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Number of bytes read from the end of a long journal: about 500 entries.
const TAIL_BYTES: u64 = 128 << 10;

/// The journal of one process. `status` computes throughput from it; results do not depend on it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    counts: JournalCounts,
    /// Run id -> steps completed so far, of the runs in flight.
    steps_in_flight: BTreeMap<String, u64>,
    written: SystemTime,
}

/// Counts of a process at the time of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalCounts {
    /// Steps completed since the start of the process, without replayed ones.
    pub steps: u64,
    pub reply_tokens: u64,
    /// Number of runs in flight.
    pub in_flight: u64,
    /// Steps completed so far in the runs in flight, including replayed ones.
    pub steps_open: u64,
    pub runs_done: u64,
}

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Unix time of the entry, in seconds.
    pub at_unix_s: f64,
    #[serde(flatten)]
    pub event: JournalEvent,
    #[serde(flatten)]
    pub counts: JournalCounts,
    /// Peak resident memory of the process so far; 0 in journals of versions that did not count it.
    #[serde(default)]
    pub memory_peak_bytes: u64,
}

/// An event that a process reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "deed")]
pub enum JournalEvent {
    /// The process opened the experiment's folder.
    Began {
        /// Upper bound on the steps of the remaining runs.
        steps_left_max: u64,
        /// Number of remaining runs.
        runs_left: u64,
    },
    /// The process is a task of a Slurm array. Follows `Began`.
    Slurm {
        /// Job id of the array, or of the job if it is none.
        job: u64,
        /// Index of the task in the array; 0 without one.
        task: u64,
        /// How often the job was requeued before.
        restarts: u64,
    },
    /// A run was started or resumed.
    Started {
        run_id: String,
    },
    /// A run was committed.
    Finished {
        run_id: String,
    },
    /// An attempt failed.
    Failed {
        run_id: String,
    },
    Progress,
    /// The process completed its runs or was interrupted.
    Ended,
}

impl Journal {
    /// Creates the journal of this process in the experiment's folder `root`.
    ///
    /// # Errors
    /// The folder or file cannot be created.
    pub fn begin(
        root: &Path,
        steps_left_max: u64,
        runs_left: u64,
    ) -> Result<Journal, ResultsError> {
        let owner = Owner::here();
        let folder = root.join(FOLDER);
        disk::make_folder(&folder)?;
        let path = folder.join(format!("{}.jsonl", owner.file_stem()));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| ResultsError::from_io("create", &path, None, source))?;
        let mut journal = Journal {
            path,
            file,
            counts: JournalCounts::default(),
            steps_in_flight: BTreeMap::new(),
            written: SystemTime::now(),
        };
        journal.write(JournalEvent::Began { steps_left_max, runs_left })?;
        if let Some(task) = slurm_task(&|name| std::env::var(name).ok()) {
            journal.write(task)?;
        }
        Ok(journal)
    }

    /// Records that a run starts, or is resumed after `replayed` steps.
    ///
    /// # Errors
    /// The entry cannot be written.
    pub fn started(&mut self, run_id: &str, replayed: u64) -> Result<(), ResultsError> {
        self.steps_in_flight.insert(run_id.into(), replayed);
        self.write(JournalEvent::Started { run_id: run_id.into() })
    }

    /// Counts a step; writes a progress entry if the last entry is old enough.
    ///
    /// # Errors
    /// The entry cannot be written.
    pub fn step(&mut self, run_id: &str, reply_tokens: u64) -> Result<(), ResultsError> {
        self.counts.steps += 1;
        self.counts.reply_tokens += reply_tokens;
        if let Some(steps) = self.steps_in_flight.get_mut(run_id) {
            *steps += 1;
        }
        match self.written.elapsed() {
            Ok(since) if since < PROGRESS_INTERVAL => Ok(()),
            _ => self.write(JournalEvent::Progress),
        }
    }

    /// Records that a run is committed.
    ///
    /// # Errors
    /// The entry cannot be written.
    pub fn finished(&mut self, run_id: &str) -> Result<(), ResultsError> {
        self.steps_in_flight.remove(run_id);
        self.counts.runs_done += 1;
        self.write(JournalEvent::Finished { run_id: run_id.into() })
    }

    /// Records that an attempt failed.
    ///
    /// # Errors
    /// The entry cannot be written.
    pub fn failed(&mut self, run_id: &str) -> Result<(), ResultsError> {
        self.steps_in_flight.remove(run_id);
        self.write(JournalEvent::Failed { run_id: run_id.into() })
    }

    /// Records that the process ends.
    ///
    /// # Errors
    /// The entry cannot be written.
    pub fn ended(&mut self) -> Result<(), ResultsError> {
        self.write(JournalEvent::Ended)
    }

    fn write(&mut self, event: JournalEvent) -> Result<(), ResultsError> {
        self.written = SystemTime::now();
        (self.counts.in_flight, self.counts.steps_open) =
            (self.steps_in_flight.len() as u64, self.steps_in_flight.values().sum());
        let entry = JournalEntry {
            at_unix_s: unix_s(self.written),
            event,
            counts: self.counts,
            memory_peak_bytes: memory_peak_bytes(),
        };
        let mut line = serde_json::to_vec(&entry)
            .map_err(|source| ResultsError::Unwritable { what: "a journal's entry", source })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| ResultsError::from_io("write", &self.path, None, source))
    }
}

/// The Slurm task that this process is, from the variables that Slurm sets (sbatch(1)).
fn slurm_task(variable: &dyn Fn(&str) -> Option<String>) -> Option<JournalEvent> {
    let number = |name: &str| variable(name)?.parse().ok();
    Some(JournalEvent::Slurm {
        job: number("SLURM_ARRAY_JOB_ID").or_else(|| number("SLURM_JOB_ID"))?,
        task: number("SLURM_ARRAY_TASK_ID").unwrap_or(0),
        restarts: number("SLURM_RESTART_COUNT").unwrap_or(0),
    })
}

/// Peak resident memory of this process, from `VmHWM` in `/proc/self/status` (proc(5)); 0 if the
/// kernel does not tell.
fn memory_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) << 10
}

pub(crate) fn unix_s(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Entries of each journal that was modified within the last `within`, ordered by file name. Of a
/// long journal, only the first entry and the last few hundred.
///
/// # Errors
/// A journal cannot be read. Torn lines, which a kill leaves, are skipped.
pub fn journals(root: &Path, within: Duration) -> Result<Vec<Vec<JournalEntry>>, ResultsError> {
    let folder = root.join(FOLDER);
    let mut all = Vec::new();
    for name in disk::names(&folder)? {
        let path = folder.join(name);
        let fail = |source| ResultsError::from_io("read", &path, None, source);
        let mut file = File::open(&path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        // A modification time in the future counts as recent.
        if metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > within)) {
            continue;
        }
        let mut bytes = Vec::new();
        if metadata.len() > 2 * TAIL_BYTES {
            Read::by_ref(&mut file).take(4096).read_to_end(&mut bytes).map_err(fail)?;
            let first_line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.truncate(first_line);
            file.seek(SeekFrom::End(-(TAIL_BYTES as i64))).map_err(fail)?;
        }
        file.read_to_end(&mut bytes).map_err(fail)?;
        all.push(
            bytes
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_without_the_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::begin(folder.path(), 500, 5).expect("a journal");
        journal.started("a", 4).expect("written");
        for _ in 0..3 {
            journal.step("a", 7).expect("counted");
        }
        journal.started("b", 9).expect("written");
        journal.finished("a").expect("written");
        journal.file.write_all(b"{\"at_unix_s\": 1").expect("half a line");
        let read = journals(folder.path(), Duration::from_secs(60)).expect("readable");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].len(), 4);
        assert_eq!(read[0][2].counts.steps_open, 16);
        assert_eq!(read[0][0].event, JournalEvent::Began { steps_left_max: 500, runs_left: 5 });
        let last = &read[0][3];
        assert_eq!(last.event, JournalEvent::Finished { run_id: "a".into() });
        assert_eq!(
            last.counts,
            JournalCounts { steps: 3, reply_tokens: 21, in_flight: 1, steps_open: 9, runs_done: 1 }
        );
        assert!(last.memory_peak_bytes > 100_000, "{}", last.memory_peak_bytes);
        assert!(
            journals(&folder.path().join("none"), Duration::MAX).expect("no journals").is_empty()
        );
    }

    #[test]
    fn the_slurm_task_is_read_from_slurms_variables() {
        let of = |variables: &[(&str, &str)]| {
            let find = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            slurm_task(&find)
        };
        let (array, index) = (("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "3"));
        assert_eq!(
            of(&[("SLURM_JOB_ID", "9"), array, index, ("SLURM_RESTART_COUNT", "2")]),
            Some(JournalEvent::Slurm { job: 7, task: 3, restarts: 2 })
        );
        let plain = JournalEvent::Slurm { job: 9, task: 0, restarts: 0 };
        assert_eq!(of(&[("SLURM_JOB_ID", "9")]), Some(plain));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_long_journal_is_read_at_its_first_entry_and_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::begin(folder.path(), 1, 1).expect("a journal");
        (0..4000).for_each(|run| journal.started(&run.to_string(), 0).expect("written"));
        let read = journals(folder.path(), Duration::from_secs(60)).expect("readable");
        assert!(matches!(read[0][0].event, JournalEvent::Began { .. }));
        assert_eq!(read[0].last().map(|entry| entry.counts.in_flight), Some(4000));
        assert!((100..4000).contains(&read[0].len()), "{}", read[0].len());
    }
}
