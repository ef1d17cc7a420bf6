//! The shards, opened once and known by their identity.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use checkpoint::{FileIdentity, Inventory, Shard};
use device::DeviceError;
use device::memory::{DirectFile, ReadMode};

use super::LoadError;

/// The files of a checkpoint, open for large reads.
pub(crate) struct Source {
    shards: Vec<Option<OpenShard>>,
}

/// One of them.
pub(crate) struct OpenShard {
    pub shard: Shard,
    /// The file's name, for people.
    pub name: String,
    file: DirectFile,
}

impl Source {
    /// Opens those shards that `used` names (one flag a shard), and checks that they are the files
    /// whose headers were read.
    pub fn open(inventory: &Inventory, used: &[bool], mode: ReadMode) -> Result<Self, LoadError> {
        let open = |(shard, &used): (&Shard, &bool)| match used {
            true => OpenShard::open(shard, mode).map(Some),
            false => Ok(None),
        };
        let shards = inventory.shards.iter().zip(used).map(open).collect::<Result<_, _>>()?;
        Ok(Source { shards })
    }

    /// The shard of this number. Only shards that are in use are asked for.
    pub fn shard(&self, index: usize) -> Option<&OpenShard> {
        self.shards.get(index).and_then(Option::as_ref)
    }

    /// Checks all files once more. What was read before a file changed cannot be told from what was
    /// read after.
    pub fn recheck(&self) -> Result<(), LoadError> {
        self.shards
            .iter()
            .flatten()
            .try_for_each(|open| check_identity(&open.shard, "all tensors", 0))
    }
}

impl OpenShard {
    fn open(shard: &Shard, mode: ReadMode) -> Result<Self, LoadError> {
        // Looked at before it is opened: opening a pipe that took the shard's place would wait for
        // a writer.
        check_identity(shard, "its header", 0)?;
        let file =
            DirectFile::open(&shard.path, mode).map_err(|e| from_device(e, shard, "opening"))?;
        Ok(OpenShard { shard: shard.clone(), name: file_name(&shard.path), file })
    }

    /// Fills `buffer` from `offset`; `progress` is told the bytes of each call and ends the read by
    /// returning false.
    pub fn read(
        &self,
        tensor: &str,
        buffer: &mut [u8],
        offset: u64,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), LoadError> {
        self.file
            .read_exact_at(buffer, offset, progress)
            .map_err(|error| from_device(error, &self.shard, tensor))
    }
}

/// The last part of a path, for people.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Checks that the path still names the file whose header was read, unchanged.
pub(crate) fn check_identity(shard: &Shard, tensor: &str, offset: u64) -> Result<(), LoadError> {
    let metadata = std::fs::metadata(&shard.path)
        .map_err(|e| LoadError::io(&shard.path, "looking at it again", offset, e))?;
    let found = FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
            + i128::from(metadata.mtime_nsec()),
    };
    let same_file = (found.device, found.inode) == (shard.identity.device, shard.identity.inode);
    if same_file && metadata.len() < shard.bytes {
        let (path, tensor) = (shard.path.clone(), tensor.to_owned());
        return Err(LoadError::Truncated {
            path,
            tensor,
            offset,
            expected: shard.bytes,
            found: metadata.len(),
        });
    }
    if found != shard.identity || metadata.len() != shard.bytes {
        let (expected, found) =
            (describe(&shard.identity, shard.bytes), describe(&found, metadata.len()));
        return Err(LoadError::Replaced { path: shard.path.clone(), expected, found });
    }
    Ok(())
}

fn describe(identity: &FileIdentity, bytes: u64) -> String {
    let FileIdentity { device, inode, modified_ns } = identity;
    format!("device {device}, inode {inode}, {bytes} bytes, changed at {modified_ns} ns")
}

/// A read's error in terms of shard and tensor.
fn from_device(error: DeviceError, shard: &Shard, tensor: &str) -> LoadError {
    match error {
        DeviceError::FileEnded { offset, end, .. } => {
            let (path, tensor) = (shard.path.clone(), tensor.to_owned());
            LoadError::Truncated { path, tensor, offset, expected: shard.bytes, found: end }
        }
        DeviceError::Io { source, .. } if source.kind() == std::io::ErrorKind::Interrupted => {
            LoadError::Canceled
        }
        DeviceError::Io { action, offset, source, .. } => {
            LoadError::io(&shard.path, format!("{action} of {tensor}"), offset, source)
        }
        cause => LoadError::Device { what: format!("{}: {tensor}", shard.path.display()), cause },
    }
}
