use crate::{Owner, ResultsError, disk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the journals lie, below an experiment's folder.
const FOLDER: &str = "journals";
/// Steps are written down this often at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Only the end of a long journal is read: some 500 entries.
const TAIL_BYTES: u64 = 128 << 10;

/// What one process does on an experiment, and when. It tells `status` how fast things go; no
/// result is made from it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    counts: JournalCounts,
    /// Runs in flight, and their steps so far.
    open: BTreeMap<String, u64>,
    written: SystemTime,
}

/// What a process has done since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalCounts {
    /// Steps, replayed ones left out.
    pub steps: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
    /// Runs in flight.
    pub in_flight: u64,
    /// Steps of these, replayed ones included.
    pub steps_open: u64,
    /// Runs committed.
    pub runs_done: u64,
}

/// An entry: a line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Seconds since 1970.
    pub at_unix_s: f64,
    /// What happened.
    #[serde(flatten)]
    pub deed: JournalEvent,
    /// What was done until then.
    #[serde(flatten)]
    pub counts: JournalCounts,
}

/// What a process can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "deed")]
pub enum JournalEvent {
    /// It opened the folder.
    Began {
        /// The most steps of the runs that were left then.
        steps_left_max: u64,
        /// Runs that were left then.
        runs_left: u64,
    },
    /// It began a run, or went on with it.
    Started {
        /// The run.
        run_id: String,
    },
    /// It committed a run.
    Finished {
        /// The run.
        run_id: String,
    },
    /// An attempt of its failed.
    Failed {
        /// The run.
        run_id: String,
    },
    /// It goes on.
    Progress,
    /// It is done, or was asked to stop.
    Ended,
}

impl Journal {
    /// Begins the journal of this process.
    ///
    /// # Errors
    /// The folder or file cannot be made.
    pub fn begin(
        root: &Path,
        steps_left_max: u64,
        runs_left: u64,
    ) -> Result<Journal, ResultsError> {
        let owner = Owner::here();
        let folder = root.join(FOLDER);
        disk::make_folder(&folder)?;
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        let host: String = owner.host.chars().map(safe).collect();
        let path = folder.join(format!("{host}.{}.jsonl", owner.tag()));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| ResultsError::from_io("create", &path, None, source))?;
        let mut journal = Journal {
            path,
            file,
            counts: JournalCounts::default(),
            open: BTreeMap::new(),
            written: SystemTime::now(),
        };
        journal.write(JournalEvent::Began { steps_left_max, runs_left })?;
        Ok(journal)
    }

    /// A run begins, or goes on after so many steps.
    ///
    /// # Errors
    /// As all that follow: the entry cannot be written.
    pub fn started(&mut self, run_id: &str, replayed: u64) -> Result<(), ResultsError> {
        self.open.insert(run_id.into(), replayed);
        self.write(JournalEvent::Started { run_id: run_id.into() })
    }

    /// A step is a row. Written down now and then.
    ///
    /// # Errors
    /// See [`Journal::started`].
    pub fn step(&mut self, run_id: &str, reply_tokens: u64) -> Result<(), ResultsError> {
        self.counts.steps += 1;
        self.counts.reply_tokens += reply_tokens;
        if let Some(steps) = self.open.get_mut(run_id) {
            *steps += 1;
        }
        match self.written.elapsed() {
            Ok(since) if since < PROGRESS_EVERY => Ok(()),
            _ => self.write(JournalEvent::Progress),
        }
    }

    /// A run is committed.
    ///
    /// # Errors
    /// See [`Journal::started`].
    pub fn finished(&mut self, run_id: &str) -> Result<(), ResultsError> {
        self.open.remove(run_id);
        self.counts.runs_done += 1;
        self.write(JournalEvent::Finished { run_id: run_id.into() })
    }

    /// An attempt failed.
    ///
    /// # Errors
    /// See [`Journal::started`].
    pub fn failed(&mut self, run_id: &str) -> Result<(), ResultsError> {
        self.open.remove(run_id);
        self.write(JournalEvent::Failed { run_id: run_id.into() })
    }

    /// The process ends.
    ///
    /// # Errors
    /// See [`Journal::started`].
    pub fn ended(&mut self) -> Result<(), ResultsError> {
        self.write(JournalEvent::Ended)
    }

    fn write(&mut self, deed: JournalEvent) -> Result<(), ResultsError> {
        self.written = SystemTime::now();
        (self.counts.in_flight, self.counts.steps_open) =
            (self.open.len() as u64, self.open.values().sum());
        let entry = JournalEntry { at_unix_s: unix_s(self.written), deed, counts: self.counts };
        let mut line = serde_json::to_vec(&entry)
            .map_err(|source| ResultsError::Unwritable { what: "a journal's entry", source })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| ResultsError::from_io("write", &self.path, None, source))
    }
}

pub(crate) fn unix_s(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The entries of every journal that was written to within `within`, process by process in the
/// order of their names. Of a long one the first entry and the last few hundred.
///
/// # Errors
/// A journal cannot be read. A line that is none, as a kill leaves it, is left out.
pub fn journals(root: &Path, within: Duration) -> Result<Vec<Vec<JournalEntry>>, ResultsError> {
    let folder = root.join(FOLDER);
    let mut all = Vec::new();
    for name in disk::names(&folder)? {
        let path = folder.join(name);
        let fail = |source| ResultsError::from_io("read", &path, None, source);
        let mut file = File::open(&path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        // A file from the future is as good as new.
        if about.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > within)) {
            continue;
        }
        let mut bytes = Vec::new();
        if about.len() > 2 * TAIL_BYTES {
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
    fn what_was_written_is_read_a_torn_line_left_out() {
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
        assert_eq!(read[0][0].deed, JournalEvent::Began { steps_left_max: 500, runs_left: 5 });
        let last = &read[0][3];
        assert_eq!(last.deed, JournalEvent::Finished { run_id: "a".into() });
        assert_eq!(
            last.counts,
            JournalCounts { steps: 3, reply_tokens: 21, in_flight: 1, steps_open: 9, runs_done: 1 }
        );
        assert!(
            journals(&folder.path().join("none"), Duration::MAX).expect("no journals").is_empty()
        );
    }

    #[test]
    fn of_a_long_journal_the_first_entry_and_the_end_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::begin(folder.path(), 1, 1).expect("a journal");
        (0..4000).for_each(|run| journal.started(&run.to_string(), 0).expect("written"));
        let read = journals(folder.path(), Duration::from_secs(60)).expect("readable");
        assert!(matches!(read[0][0].deed, JournalEvent::Began { .. }));
        assert_eq!(read[0].last().map(|entry| entry.counts.in_flight), Some(4000));
        assert!((100..4000).contains(&read[0].len()), "{}", read[0].len());
    }
}
