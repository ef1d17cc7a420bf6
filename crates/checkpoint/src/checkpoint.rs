//! An opened checkpoint: what its headers and configuration say.
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

/// A checkpoint whose files are complete and agree with each other.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder, or the GGUF file.
    pub root: PathBuf,
    pub format: CheckpointFormat,
    pub config: ModelConfig,
    /// All tensors, each one of [`expected_tensors`](crate::expected_tensors), under Hugging
    /// Face's names.
    pub inventory: Inventory,
    pub generation: GenerationConfig,
    /// Oddities that do no harm, for people.
    pub notes: Vec<String>,
    /// The metadata of a GGUF file, with its tokenizer.
    pub gguf: Option<GgufMetadata>,
}
