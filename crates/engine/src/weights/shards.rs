//! The checkpoint's shards: opened once, and checked to be the same files whose headers were read.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use checkpoint::{FileIdentity, Inventory, Shard};
use device::DeviceError;
use device::memory::{DirectFile, ReadMode};

use super::ShardError;

/// A checkpoint's shards, opened for large reads.
pub(crate) struct OpenShards {
    shards: Vec<Option<OpenShard>>,
}

/// An open shard.
pub(crate) struct OpenShard {
    pub shard: Shard,
    /// File name, for messages.
    pub name: String,
    file: DirectFile,
}

impl OpenShards {
    /// Opens the shards whose flag in `used` (one for each shard) is set, and checks that they are
    /// the same files whose headers were read.
    pub fn open(inventory: &Inventory, used: &[bool], mode: ReadMode) -> Result<Self, ShardError> {
        let open = |(shard, &used): (&Shard, &bool)| match used {
            true => OpenShard::open(shard, mode).map(Some),
            false => Ok(None),
        };
        let shards = inventory.shards.iter().zip(used).map(open).collect::<Result<_, _>>()?;
        Ok(OpenShards { shards })
    }

    /// The shard with index `index`. `tensor` names the tensor to read, for the error message.
    pub fn get(&self, index: usize, tensor: &str) -> Result<&OpenShard, ShardError> {
        let shard = self.shards.get(index).and_then(Option::as_ref);
        shard.ok_or_else(|| ShardError::NotOpen { tensor: tensor.to_owned() })
    }

    /// Checks the identity of all files again: the bytes themselves do not show whether they were
    /// read before or after a change of the file.
    pub fn recheck(&self) -> Result<(), ShardError> {
        self.shards
            .iter()
            .flatten()
            .try_for_each(|open| check_identity(&open.shard, "all tensors", 0))
    }
}

impl OpenShard {
    fn open(shard: &Shard, mode: ReadMode) -> Result<Self, ShardError> {
        // Checked before the file is opened: if the file was replaced by a pipe, opening it would
        // wait for a writer.
        check_identity(shard, "its header", 0)?;
        let file =
            DirectFile::open(&shard.path, mode).map_err(|e| from_device(e, shard, "opening"))?;
        Ok(OpenShard { shard: shard.clone(), name: file_name(&shard.path), file })
    }

    /// Fills `buffer` from byte `offset` of the file. `progress` is called with the number of bytes
    /// of each system call and cancels the read by returning false.
    pub fn read(
        &self,
        tensor: &str,
        buffer: &mut [u8],
        offset: u64,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), ShardError> {
        self.file
            .read_exact_at(buffer, offset, progress)
            .map_err(|error| from_device(error, &self.shard, tensor))
    }
}

/// The last component of a path, for messages.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Checks that the path still refers to the file whose header was read, and that it is unchanged.
/// `tensor` and `offset` are for the error message.
pub(crate) fn check_identity(shard: &Shard, tensor: &str, offset: u64) -> Result<(), ShardError> {
    let metadata = std::fs::metadata(&shard.path)
        .map_err(|e| ShardError::io(&shard.path, "checking its identity", offset, e))?;
    let found = FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
            + i128::from(metadata.mtime_nsec()),
    };
    let same_file = (found.device, found.inode) == (shard.identity.device, shard.identity.inode);
    if same_file && metadata.len() < shard.bytes {
        let (path, tensor) = (shard.path.clone(), tensor.to_owned());
        return Err(ShardError::Truncated {
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
        return Err(ShardError::Replaced { path: shard.path.clone(), expected, found });
    }
    Ok(())
}

fn describe(identity: &FileIdentity, bytes: u64) -> String {
    let FileIdentity { device, inode, modified_ns } = identity;
    format!("device {device}, inode {inode}, {bytes} bytes, changed at {modified_ns} ns")
}

/// Converts an error of the reader and adds the shard and the tensor to it.
fn from_device(error: DeviceError, shard: &Shard, tensor: &str) -> ShardError {
    match error {
        DeviceError::FileEnded { offset, end, .. } => {
            let (path, tensor) = (shard.path.clone(), tensor.to_owned());
            ShardError::Truncated { path, tensor, offset, expected: shard.bytes, found: end }
        }
        DeviceError::Io { source, .. } if source.kind() == std::io::ErrorKind::Interrupted => {
            ShardError::Canceled
        }
        DeviceError::Io { action, offset, source, .. } => {
            ShardError::io(&shard.path, format!("{action} of {tensor}"), offset, source)
        }
        cause => ShardError::Device { what: format!("{}: {tensor}", shard.path.display()), cause },
    }
}
