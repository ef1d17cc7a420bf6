//! Model checkpoints on disk: locating them, reading safetensors and GGUF headers and
//! configurations, checking that headers and configuration agree, and writing synthetic
//! checkpoints. Weights are not read.
//!
//! [`locate()`] finds a model; [`Checkpoint::open`] reads and checks everything but the weights. An
//! opened checkpoint contains every tensor that its configuration requires, with the right shape
//! and a byte range within its file.

mod check_tensors;
mod checkpoint;
mod config;
mod defect_kind;
mod dtype;
mod end_tokens;
mod error;
mod expected_tensors;
mod family;
mod files;
mod generation;
mod gguf;
mod gguf_metadata;
mod hf;
mod identity;
mod inventory;
mod json;
mod locate;
mod modules;
mod open;
mod rope;
mod safetensors;
mod synth;

pub use checkpoint::{Checkpoint, CheckpointFormat};
pub use config::{
    Activation, ClampedSwiglu, ExpertStorage, FP8_BLOCK, Mla, ModelConfig, Moe, NormKind, Routing,
};
pub use dtype::Dtype;
pub use error::{CheckpointError, Defect, DefectKind};
pub use expected_tensors::{ExpectedTensor, Requirement, TensorContent, expected_tensors};
pub use family::{ExpertNames, FAMILIES, Family, FamilyTraits, LayerLayout, QkNorm};
pub use files::read_text;
pub use generation::GenerationConfig;
pub use gguf::{GgufFile, GgufTensor, read_gguf};
pub use gguf_metadata::{GgufMetadata, GgufValue};
pub use hf::parse_config;
pub use identity::{DigestBasis, FileDigest, ModelIdentity, file_sha256};
pub use inventory::{FileIdentity, Inventory, Shard, TensorEntry};
pub use locate::{ALIASES, SearchPaths, hub_name, locate, resolve_alias};
pub use modules::{Module, ModuleKind, modules};
pub use rope::{Pairing, RopeConfig, RopeScaling};
pub use safetensors::{
    HEADER_BYTES_MAX, HeaderTensor, INDEX_BYTES_MAX, ShardIndex, parse_header, parse_index,
};
pub use synth::{
    Fill, PRESETS, SynthReport, SynthRequest, SynthSource, preset, preset_checkpoint, synth,
};
