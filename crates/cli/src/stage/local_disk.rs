//! The node's local disk, and rates of reading from it and from the model's file system.

use crate::failure::Failure;
use base::{SplitMix64, path_variable};
use device::probe::{DeviceSpec, Roots, measure_disk, probe};
use error_kind::ErrorKind;
use placement::Disk;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why no local disk is known.
pub const UNKNOWN: &str =
    "neither $SLURM_TMPDIR nor $TMPDIR names a folder; --stage DIR names one on a local disk";

/// Bytes of the file that is written to measure a local disk.
const SAMPLE_BYTES: usize = 32 << 20;
/// Longest time of a measurement of reads.
const SAMPLE_LIMIT: Duration = Duration::from_millis(60);

/// A folder on the local disk, as Slurm or the user names it; `None` if they name none.
pub fn known() -> Option<PathBuf> {
    let variables = |name: &str| std::env::var_os(name);
    ["SLURM_TMPDIR", "TMPDIR"]
        .iter()
        .filter_map(|name| path_variable(name, &variables))
        .find(|folder| folder.is_dir())
}

/// Whether a file is on a network file system.
pub fn is_network(path: &Path) -> bool {
    disk_of(path).is_some_and(|disk| disk.network)
}

/// The rate of reading a file, in bytes per second; `None` if it cannot be measured.
pub fn rate_of(file: &Path) -> Option<u64> {
    let rate = measure_disk(file, SAMPLE_BYTES as u64, SAMPLE_LIMIT, &|_| ()).ok()?;
    Some(rate.bytes_per_s()).filter(|rate| *rate > 0)
}

fn disk_of(path: &Path) -> Option<Disk> {
    probe(&Roots::system(), path, &DeviceSpec::None).ok().map(|machine| machine.disk)
}

/// A folder on a disk of this node.
#[derive(Debug)]
pub struct LocalDisk {
    pub folder: PathBuf,
    /// The type of the file system; empty: unknown.
    pub file_system: String,
    pub network: bool,
    pub free_bytes: Option<u64>,
    device: u64,
}

impl LocalDisk {
    /// The disk that holds a folder.
    ///
    /// # Errors
    /// `NotFound` or `Io` if it is not a folder that can be seen.
    pub fn at(folder: &Path) -> Result<Self, Failure> {
        let place = folder.display();
        let metadata = match std::fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => metadata,
            Ok(_) => {
                let text =
                    format!("--stage: expected a folder on a local disk, found the file {place}");
                return Err(Failure::usage(text));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!(
                    "--stage: expected a folder on a local disk, found nothing at {place}. Make it \
                     first, or name another one"
                );
                return Err(Failure::new(ErrorKind::NotFound, text));
            }
            Err(error) => return Err(Failure::io(&format!("--stage: {place}"), &error)),
        };
        let disk = disk_of(folder).unwrap_or_default();
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Ok(LocalDisk {
            folder: absolute,
            file_system: disk.file_system,
            network: disk.network,
            free_bytes: disk.free_bytes,
            device: metadata.dev(),
        })
    }

    /// Whether the file system is memory.
    pub fn in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }

    /// Why a copy of this shard on this disk gains nothing, if it does not.
    pub fn unfit(&self, shard: &Path) -> Option<String> {
        let folder = self.folder.display();
        if self.network {
            // Locks of network file systems may not hold between nodes.
            let text =
                "is on a network file system, and copies are shared by the tasks of one node";
            return Some(format!("{folder} {text} ({})", self.file_system));
        }
        let same = std::fs::metadata(shard).is_ok_and(|shard| shard.dev() == self.device);
        same.then(|| format!("the model is on the disk of {folder} already"))
    }

    /// Why this disk is not used unless it is named, if it is not.
    pub fn unfit_for_auto(&self) -> Option<String> {
        let folder = self.folder.display();
        self.in_memory().then(|| {
            format!(
                "{folder} is in memory ({}), not on a disk. --stage {folder} uses it",
                self.file_system
            )
        })
    }

    /// The rate of reading from the disk in bytes per second, measured with a file without a name;
    /// `None` if it cannot be measured.
    pub fn measure(&self) -> Option<u64> {
        let sample = write_sample(&self.folder).ok()?;
        rate_of(Path::new(&format!("/proc/self/fd/{}", sample.as_raw_fd())))
    }
}

/// Writes a file that does not compress onto the disk. It is gone when it is closed.
fn write_sample(folder: &Path) -> std::io::Result<File> {
    let mut file = tempfile::tempfile_in(folder)?;
    let mut random = SplitMix64(1);
    let words = std::iter::repeat_with(|| random.next_u64().to_le_bytes());
    let block: Vec<u8> = words.take(SAMPLE_BYTES / 8).flatten().collect();
    file.write_all(&block)?;
    file.sync_all()?;
    Ok(file)
}
