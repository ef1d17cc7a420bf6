//! An opened checkpoint: its format, configuration and inventory of tensors.
use crate::config::ModelConfig;
use crate::generation::GenerationConfig;
use crate::gguf_metadata::GgufMetadata;
use crate::inventory::Inventory;
use serde::Serialize;
use std::path::PathBuf;

/// The format of a checkpoint's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CheckpointFormat {
    Safetensors,
    Gguf,
}

/// A checkpoint whose files are complete and consistent with each other.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder of a safetensors checkpoint, or the path of the GGUF file.
    pub root: PathBuf,
    pub format: CheckpointFormat,
    pub config: ModelConfig,
    /// All tensors of the model. Each is one of [`expected_tensors`](crate::expected_tensors) and
    /// has its Hugging Face name.
    pub inventory: Inventory,
    pub generation: GenerationConfig,
    /// Messages about harmless irregularities, for the user.
    pub notes: Vec<String>,
    /// The metadata of a GGUF file, tokenizer included; `None` for safetensors.
    pub gguf: Option<GgufMetadata>,
}
