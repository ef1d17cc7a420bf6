//! What is on disk before a weight moves: index, shard headers, configuration, GGUF, hub cache. Headers only, no device.

mod config;
mod dtype;
mod error;
mod expected;
mod generation;
mod gguf;
mod hf_config;
mod inventory;
mod locate;
mod open;
mod rope;
mod safetensors;

pub use config::{Activation, BlockShape, Family, Mla, ModelConfig, Moe, Norm, Pairing, QkNorm};
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use expected::{ExpectedTensor, Module, ModuleKind, expected_tensors, modules};
pub use generation::GenerationConfig;
pub use gguf::GgufMetadata;
pub use inventory::{FileIdentity, Inventory, Shard, TensorEntry};
pub use locate::{SearchPaths, hub_name, locate};
pub use open::{Checkpoint, Format};
pub use rope::{Rope, RopeScaling};
