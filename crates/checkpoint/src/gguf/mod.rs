//! GGUF: metadata, tokenizer and weights in one file.
mod config;
mod names;
mod reader;
mod source;
mod tensor_types;

use crate::checkpoint::{Checkpoint, CheckpointFormat};
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::{GenerationConfig, Inventory, Shard, TensorEntry, check_tensors, files};
use config::{RopeFactors, read_config};
pub use reader::{GgufFile, GgufTensor, read_gguf};
use std::io::BufReader;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, CheckpointError>;

/// Maximum number of elements of a tensor of RoPE factors.
const FACTORS_MAX: usize = 1 << 16;

/// Opens a GGUF file: reads the header and the RoPE factors, but no weights.
pub(crate) fn open(path: &Path) -> Result<Checkpoint> {
    let opened = files::open_regular(path)?;
    let gguf = read_gguf(path, BufReader::with_capacity(1 << 20, &opened.file), opened.bytes)?;
    let factors = RopeFactors {
        all: factors(path, &opened.file, &gguf, "rope_freqs.weight")?,
        short: factors(path, &opened.file, &gguf, "rope_factors_short.weight")?,
        long: factors(path, &opened.file, &gguf, "rope_factors_long.weight")?,
    };
    let config = read_config(path, &gguf, factors)?;
    let mut tensors: Vec<TensorEntry> = Vec::new();
    for tensor in gguf.tensors.iter().filter(|t| !is_factors(&t.name)) {
        match names::entries(&config, tensor) {
            Some(entries) => tensors.extend(entries),
            None => {
                let expected = format!("only the tensors of {:?}", config.family);
                let found = format!("{} {:?}", tensor.dtype, tensor.shape);
                return Err(Defect::new(DefectKind::TensorUnexpected, path, expected, found)
                    .tensor(&tensor.name)
                    .into());
            }
        }
    }
    let blob_id = files::blob_id(path);
    let shard =
        Shard { path: path.to_owned(), bytes: opened.bytes, identity: opened.identity, blob_id };
    let mut inventory = Inventory::new(vec![shard], tensors);
    let mut notes = Vec::new();
    check_tensors::reconcile(path, &config, &mut inventory, &mut notes)?;
    let generation = GenerationConfig::from_model(&config);
    let gguf = Some(gguf.metadata);
    Ok(Checkpoint {
        root: path.to_owned(),
        format: CheckpointFormat::Gguf,
        config,
        inventory,
        generation,
        notes,
        gguf,
    })
}

/// The GGUF files of a folder, sorted.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| CheckpointError::io(folder, "list the folder", 0, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "gguf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_factors(name: &str) -> bool {
    matches!(name, "rope_freqs.weight" | "rope_factors_short.weight" | "rope_factors_long.weight")
}

/// The values of a short one-dimensional F32 tensor; `None` if the file has no tensor with this
/// name.
fn factors(
    path: &Path,
    file: &std::fs::File,
    gguf: &GgufFile,
    name: &str,
) -> Result<Option<Vec<f64>>> {
    let Some(tensor) = gguf.tensors.iter().find(|t| t.name == name) else { return Ok(None) };
    let is_list = tensor.dtype == crate::Dtype::F32
        && tensor.shape.len() == 1
        && tensor.shape[0] <= FACTORS_MAX;
    if !is_list {
        let found = format!("{} {:?}", tensor.dtype, tensor.shape);
        return Err(Defect::new(DefectKind::ShapeMismatch, path, "a short list of F32", found)
            .tensor(name)
            .into());
    }
    let mut bytes = vec![0; tensor.bytes as usize];
    files::read_at(path, file, &mut bytes, tensor.offset)?;
    let values =
        bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    Ok(Some(values.collect()))
}
