//! Opening a checkpoint: reads and checks all headers, but no weights.
use crate::checkpoint::{Checkpoint, CheckpointFormat};
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::{GenerationConfig, ModelConfig, check_tensors, files, gguf, hf, json, safetensors};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

impl Checkpoint {
    /// Opens a `.gguf` file, a folder of safetensors files, or a folder with a single GGUF file.
    ///
    /// # Errors
    /// A [`Defect`] if a file violates its format or contradicts another file, `NotFound` if a file
    /// is missing, `Io` if reading fails.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let metadata = std::fs::metadata(path)
            .map_err(|source| CheckpointError::io(path, "read its metadata", 0, source))?;
        if !metadata.is_dir() {
            return open_file(path);
        }
        match only_gguf(path)? {
            Some(file) => gguf::open(&file),
            None => open_folder(path),
        }
    }
}

fn open_file(path: &Path) -> Result<Checkpoint> {
    if path.extension().is_some_and(|e| e == "safetensors") {
        let defect = Defect::new(
            DefectKind::NotAModel,
            path,
            "a folder with config.json, or a .gguf file",
            "one shard",
        );
        return Err(defect.remedy("Give the folder that has the shard").into());
    }
    gguf::open(path)
}

/// The single GGUF file of a folder that contains no safetensors files.
fn only_gguf(root: &Path) -> Result<Option<PathBuf>> {
    if safetensors::has_weights(root)? {
        return Ok(None);
    }
    let mut found = gguf::files_in(root)?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        n => {
            let names: Vec<String> =
                found.iter().filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect();
            let defect = Defect::new(
                DefectKind::NotAModel,
                root,
                "one GGUF file",
                format!("{n}: {}", names.join(", ")),
            );
            Err(defect.remedy("Give the path of one of them").into())
        }
    }
}

fn open_folder(root: &Path) -> Result<Checkpoint> {
    let mut notes = Vec::new();
    let file = root.join("config.json");
    let text = files::read_text(&file, json::CONFIG_BYTES_MAX)?
        .ok_or_else(|| CheckpointError::absent(&file))?;
    let mut config = hf::parse_config(&file, &text, &mut notes)?;
    let mut inventory = safetensors::read_folder(root, &mut notes)?;
    check_tensors::settle_tied_head(&mut config, &mut inventory, &mut notes)?;
    hf::split_fused_experts(&config, &mut inventory)?;
    check_tensors::reconcile(root, &config, &mut inventory, &mut notes)?;
    let generation = generation(root, &config, &mut notes)?;
    let root = root.to_owned();
    Ok(Checkpoint {
        root,
        format: CheckpointFormat::Safetensors,
        config,
        inventory,
        generation,
        notes,
        gguf: None,
    })
}

fn generation(
    root: &Path,
    config: &ModelConfig,
    notes: &mut Vec<String>,
) -> Result<GenerationConfig> {
    let file = root.join("generation_config.json");
    match files::read_text(&file, json::CONFIG_BYTES_MAX)? {
        Some(text) => GenerationConfig::parse(&file, &text, config, notes),
        None => Ok(GenerationConfig::from_model(config)),
    }
}
