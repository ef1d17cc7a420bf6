//! What staging would gain, for `plan` and `doctor`.

use super::local_disk::{self, LocalDisk};
use super::{StageChoice, largest_shard};
use checkpoint::Checkpoint;
use placement::{Machine, short_text};
use serde::Serialize;
use staging::{RESERVE_BYTES, bytes_to_stage, is_staged};
use std::fmt;

/// The gain of staging a model that is on a network file system.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StagingAdvice {
    /// The type of the model's file system; empty: unknown.
    file_system: String,
    /// Bytes that are read at each load, or copied once.
    bytes: u64,
    /// Seconds to read them from where they are.
    read_s: Option<f64>,
    /// The local disk's folder, where one is known.
    folder: Option<String>,
    /// Whether a complete copy is there.
    staged: bool,
    /// Seconds to read them from the local disk.
    staged_read_s: Option<f64>,
    /// The number of loads on a node from which on staging pays; the first copies. `None`: it does
    /// not, or that is not known.
    pays_from_loads: Option<u64>,
    /// Why the model would not be staged.
    problem: Option<String>,
}

/// What staging a model would gain; `None` unless it is on a network file system.
pub fn advice(checkpoint: &Checkpoint, machine: &Machine) -> Option<StagingAdvice> {
    if !machine.disk.network {
        return None;
    }
    let bytes = bytes_to_stage(checkpoint).unwrap_or_else(|_| checkpoint.inventory.weights_bytes());
    let seconds = |rate: u64| bytes as f64 / rate as f64;
    let mut advice = StagingAdvice {
        file_system: machine.disk.file_system.clone(),
        bytes,
        read_s: machine.disk.read_bytes_per_s.map(seconds),
        folder: None,
        staged: false,
        staged_read_s: None,
        pays_from_loads: None,
        problem: None,
    };
    // The local disks of a described machine are not described.
    if !machine.described {
        match local_folder(checkpoint, bytes) {
            Ok((disk, staged)) => {
                advice.staged_read_s = disk.measure().map(seconds);
                advice.folder = Some(disk.folder.display().to_string());
                advice.staged = staged;
            }
            Err(why) => advice.problem = Some(why),
        }
        advice.pays_from_loads = advice
            .read_s
            .zip(advice.staged_read_s)
            .and_then(|(there, here)| pays_from_loads(there, here));
    }
    Some(advice)
}

/// The folder to stage in, and whether the model is there.
fn local_folder(checkpoint: &Checkpoint, bytes: u64) -> Result<(LocalDisk, bool), String> {
    let choice = StageChoice::of(None).map_err(|failure| failure.text)?;
    let folder = match choice {
        StageChoice::Folder { path, .. } => Some(path),
        StageChoice::Auto | StageChoice::Off => local_disk::known(),
    };
    let folder = folder.ok_or_else(|| local_disk::UNKNOWN.to_owned())?;
    let disk = LocalDisk::at(&folder).map_err(|failure| failure.text)?;
    let unfit = disk.unfit(largest_shard(checkpoint)).or_else(|| disk.unfit_for_auto());
    if let Some(why) = unfit {
        return Err(why);
    }
    let staged = is_staged(checkpoint, &folder);
    let needed = bytes.saturating_add(RESERVE_BYTES);
    match disk.free_bytes.filter(|free| !staged && *free < needed) {
        Some(free) => Err(format!(
            "{} has {} free, and {} are needed",
            folder.display(),
            short_text(free),
            short_text(needed)
        )),
        None => Ok((disk, staged)),
    }
}

/// The least number of loads whose time with staging (one read from the network, and one from the
/// local disk by each load) is below that without.
fn pays_from_loads(there_s: f64, here_s: f64) -> Option<u64> {
    (here_s < there_s).then(|| (there_s / (there_s - here_s)).floor() as u64 + 1)
}

impl fmt::Display for StagingAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.file_system.is_empty() { "the network" } else { &self.file_system };
        write!(f, "reading {} from {from}", short_text(self.bytes))?;
        match self.read_s {
            Some(seconds) => write!(f, " takes {} at each load", seconds_text(seconds))?,
            None => write!(f, " takes a time that is not known")?,
        }
        if let Some(problem) = &self.problem {
            return write!(f, "; it cannot be staged: {problem}");
        }
        let Some(folder) = &self.folder else {
            return write!(
                f,
                "; --stage auto copies it once per node, if $SLURM_TMPDIR or $TMPDIR is on a local disk"
            );
        };
        let is = if self.staged { "it is staged on" } else { "staged on" };
        write!(f, "; {is} {folder}")?;
        let Some((there, here)) = self.read_s.zip(self.staged_read_s) else {
            return write!(f, ", whose rate cannot be measured");
        };
        write!(f, " it takes {}", seconds_text(here))?;
        match self.pays_from_loads {
            Some(loads) => write!(
                f,
                ", and reads of the disk tier are {:.1} times as fast: --stage auto pays from load \
                 {loads} of a node on",
                there / here
            ),
            None => write!(f, ": staging does not pay"),
        }
    }
}

fn seconds_text(seconds: f64) -> String {
    match seconds {
        ..0.095 => format!("{:.0} ms", 1000.0 * seconds),
        ..90.0 => format!("{seconds:.1} s"),
        _ => format!("{:.1} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_pays_when_the_saved_time_exceeds_that_of_the_copy() {
        // 12 minutes from the network, 2 from the disk: 24 without and 16 with it at the second.
        assert_eq!(pays_from_loads(720.0, 120.0), Some(2));
        // 10 against 9: the tenth load is even, the eleventh gains.
        assert_eq!(pays_from_loads(10.0, 9.0), Some(11));
        assert_eq!(pays_from_loads(10.0, 10.0), None);
        assert_eq!(pays_from_loads(1.0, 2.0), None);
    }

    #[test]
    fn the_line_names_both_times_or_says_what_is_missing() {
        let mut advice = StagingAdvice {
            file_system: "lustre".to_owned(),
            bytes: 144_000_000_000,
            read_s: Some(720.0),
            folder: Some("/local".to_owned()),
            staged: false,
            staged_read_s: Some(120.0),
            pays_from_loads: Some(2),
            problem: None,
        };
        let text = advice.to_string();
        for part in
            ["lustre takes 12.0 min at each load", "/local it takes 2.0 min", "6.0 times", "load 2"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        (advice.folder, advice.staged_read_s) = (None, None);
        assert!(advice.to_string().contains("$SLURM_TMPDIR or $TMPDIR"), "{advice}");
        advice.problem = Some("it is full".to_owned());
        assert!(advice.to_string().ends_with("cannot be staged: it is full"), "{advice}");
    }
}
