//! Safetensors checkpoints: the index and the headers, checked against each other.
mod folder;
mod header;
mod index;
mod shard;

pub(crate) use folder::{has_weights, read_folder};
pub use header::{HEADER_BYTES_MAX, HeaderTensor, parse_header};
pub use index::{INDEX_BYTES_MAX, ShardIndex, parse_index};
