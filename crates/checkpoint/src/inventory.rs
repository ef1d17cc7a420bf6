//! The tensors of a checkpoint and their byte ranges in the shards.
use crate::{Dtype, ModelConfig, expected_tensors, modules};
use serde::Serialize;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One file of a checkpoint that contains weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shard {
    pub path: PathBuf,
    pub bytes: u64,
    /// Identity of the file when its header was read. A comparison detects that the file was
    /// replaced or modified before its weights are read.
    pub identity: FileIdentity,
    /// The blob id of the Hugging Face hub, if the file is a link into a hub cache.
    pub blob_id: Option<String>,
}

/// Device, inode and modification time of a file. They are equal as long as a path leads to the
/// same unmodified file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileIdentity {
    pub device: u64,
    pub inode: u64,
    /// Time of the last modification, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
}

impl FileIdentity {
    /// The identity of an open file, from its metadata.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        let modified_ns =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        FileIdentity { device: metadata.dev(), inode: metadata.ino(), modified_ns }
    }
}

/// One tensor and its byte range in a shard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorEntry {
    /// The Hugging Face name, also for tensors of GGUF files.
    pub name: String,
    pub dtype: Dtype,
    /// Row-major shape; `[out, in]` for a matrix.
    pub shape: Vec<usize>,
    /// Index of the tensor's file in [`Inventory::shards`].
    pub shard: usize,
    /// Offset of the tensor's data from the start of the file, in bytes.
    pub offset: u64,
    pub bytes: u64,
}

/// All tensors of a checkpoint, sorted by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Inventory {
    pub shards: Vec<Shard>,
    /// Sorted by name.
    pub tensors: Vec<TensorEntry>,
}

impl Inventory {
    /// Creates an inventory and sorts the tensors by name.
    pub fn new(shards: Vec<Shard>, mut tensors: Vec<TensorEntry>) -> Self {
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Inventory { shards, tensors }
    }

    /// The tensor with this name.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors
            .binary_search_by(|t| t.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.tensors[at])
    }

    /// Total bytes of all tensors.
    pub fn weights_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// Bytes of each of the model's [`modules`](crate::modules()). A tied head has 0 bytes, since
    /// its weights are those of the embedding.
    pub fn bytes_by_module(&self, config: &ModelConfig) -> Vec<u64> {
        let expected = expected_tensors(config);
        let module_of: HashMap<&str, usize> = expected
            .iter()
            .filter(|t| t.requirement != crate::Requirement::Tied)
            .map(|t| (t.name.as_str(), t.module))
            .collect();
        let mut bytes = vec![0; modules(config).len()];
        for tensor in &self.tensors {
            if let Some(module) = module_of.get(tensor.name.as_str()) {
                bytes[*module] += tensor.bytes;
            }
        }
        bytes
    }
}
