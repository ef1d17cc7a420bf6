use crate::Dtype;
use std::path::PathBuf;

/// One file that holds weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Which file it was when its header was read.
    pub identity: FileIdentity,
    /// The hub's blob id, if it is a link into a hub cache.
    pub blob_id: Option<String>,
}

/// Tells whether a path still names the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Time of the last change, in nanoseconds.
    pub modified_ns: i128,
}

/// One tensor: what it is and where its bytes are.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorEntry {
    /// The Hugging Face name, also for GGUF files.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Row-major: `[out, in]`.
    pub shape: Vec<usize>,
    /// Index into [`Inventory::shards`].
    pub shard: usize,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// All tensors of a checkpoint, sorted by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    /// The files.
    pub shards: Vec<Shard>,
    /// The tensors, sorted by name.
    pub tensors: Vec<TensorEntry>,
}

impl Inventory {
    /// An inventory; sorts the tensors.
    pub fn new(shards: Vec<Shard>, mut tensors: Vec<TensorEntry>) -> Self {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Inventory { shards, tensors }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|at| &self.tensors[at])
    }

    /// Bytes of all tensors.
    pub fn weights_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }
}
