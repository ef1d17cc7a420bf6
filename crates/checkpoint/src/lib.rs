//! What is on disk before a weight moves: index, shard headers, configuration, GGUF, hub cache; and
//! writing synthetic checkpoints. Headers only, no device.
//!
//! [`locate()`] finds a model, [`Checkpoint::open`] reads and checks everything but the weights.
//! What it returns can be trusted: each tensor that the configuration asks for is there, in its
//! shape, at a place within its file.

mod config;
mod defect_kind;
mod dtype;
mod error;
mod expected;
mod files;
mod generation;
mod gguf;
mod hf;
mod identity;
mod inventory;
mod json;
mod locate;
mod modules;
mod open;
mod reconcile;
mod rope;
mod safetensors;
mod synth;

pub use config::{
    Activation, ClampedSwiglu, ExpertStorage, Family, LayerLayout, Mla, ModelConfig, Moe, NormKind,
    Pairing, QkNorm, Routing,
};
pub use dtype::Dtype;
pub use error::{CheckpointError, Defect, DefectKind};
pub use expected::{ExpectedTensor, Requirement, TensorContent, expected_tensors};
pub use files::read_text;
pub use generation::GenerationConfig;
pub use gguf::{ARCHITECTURES, GgufFile, GgufMetadata, GgufTensor, GgufValue, read_gguf};
pub use hf::{CLASSES, parse_config};
pub use identity::{DigestBasis, FileDigest, ModelIdentity};
pub use inventory::{FileIdentity, Inventory, Shard, TensorEntry};
pub use locate::{ALIASES, SearchPaths, hub_name, locate, resolve_alias};
pub use modules::{Module, ModuleKind, modules};
pub use open::{Checkpoint, CheckpointFormat};
pub use rope::{RopeConfig, RopeScaling};
pub use safetensors::{
    HEADER_BYTES_MAX, HeaderTensor, INDEX_BYTES_MAX, ShardIndex, parse_header, parse_index,
};
pub use synth::{Fill, PRESETS, SynthReport, SynthRequest, SynthSource, preset, synth};
