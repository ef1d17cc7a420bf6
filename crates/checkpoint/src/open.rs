use crate::config::{Family, ModelConfig};
use crate::gguf;
use crate::{CheckpointError, ExpectedTensor, GenerationConfig, GgufMetadata, Inventory, TensorEntry};
use crate::{expected_tensors, hf_config, safetensors};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// In which form a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Safetensors,
    Gguf,
}

/// A checkpoint whose every header was read and checked. No weight has moved.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder, or the GGUF file.
    pub root: PathBuf,
    /// How it is stored.
    pub format: Format,
    /// The model's shape.
    pub config: ModelConfig,
    /// What is where.
    pub inventory: Inventory,
    /// How to generate.
    pub generation: GenerationConfig,
    /// What people should know, and need not act on.
    pub notes: Vec<String>,
    /// The metadata of a GGUF file.
    pub gguf: Option<GgufMetadata>,
}

impl Checkpoint {
    /// Opens a folder or a GGUF file.
    ///
    /// # Errors
    /// 65 for bad data, 66 for what is missing, 74 for I/O errors.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let is_gguf = path.extension().is_some_and(|e| e == "gguf");
        let checkpoint = if is_gguf && !path.is_dir() { open_gguf(path)? } else { open_folder(path)? };
        check_tensors(checkpoint)
    }
}

fn open_gguf(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let (metadata, config, inventory, mut notes) = gguf::read(path)?;
    let generation = GenerationConfig::from_model(&config);
    notes.sort();
    let (root, format) = (path.to_owned(), Format::Gguf);
    Ok(Checkpoint { root, format, config, inventory, generation, notes, gguf: Some(metadata) })
}

fn open_folder(root: &Path) -> Result<Checkpoint, CheckpointError> {
    let read = |file: &Path| read_text(file);
    let config_file = root.join("config.json");
    let config = hf_config::parse(&config_file, &read(&config_file)?)?;
    let mut notes = Vec::new();
    let generation_file = root.join("generation_config.json");
    let generation = match read(&generation_file) {
        Ok(text) => GenerationConfig::parse(&generation_file, &text, &config, &mut notes)?,
        Err(CheckpointError::NotFound { .. }) => GenerationConfig::from_model(&config),
        Err(other) => return Err(other),
    };
    let inventory = read_shards(root, &mut notes)?;
    Ok(Checkpoint {
        root: root.to_owned(),
        format: Format::Safetensors,
        config,
        inventory,
        generation,
        notes,
        gguf: None,
    })
}

/// The largest text file (configuration, index) that is read.
const TEXT_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn read_text(path: &Path) -> Result<String, CheckpointError> {
    let (mut file, shard) = safetensors::open_regular(path)?;
    if shard.bytes > TEXT_BYTES_MAX {
        let expected = format!("at most {TEXT_BYTES_MAX} bytes");
        return Err(CheckpointError::bad(path, "file", expected, format!("{} bytes", shard.bytes)));
    }
    let mut bytes = Vec::with_capacity(shard.bytes as usize);
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|e| CheckpointError::io(path, "read", 0, e))?;
    String::from_utf8(bytes).map_err(|e| CheckpointError::bad(path, "file", "UTF-8 text", e.to_string()))
}

fn read_shards(root: &Path, notes: &mut Vec<String>) -> Result<Inventory, CheckpointError> {
    let index_file = root.join("model.safetensors.index.json");
    let single = root.join("model.safetensors");
    if !std::fs::symlink_metadata(&index_file).is_ok() {
        if std::fs::symlink_metadata(&single).is_err() {
            return Err(no_weights(root, &single, &index_file));
        }
        let (shard, tensors) = safetensors::read_shard(&single, 0)?;
        return Ok(Inventory::new(vec![shard], tensors));
    }
    if single.exists() {
        notes.push(format!("{}: not used, the index names other files", single.display()));
    }
    let weight_map = read_index(&index_file)?;
    let names: BTreeSet<&String> = weight_map.values().collect();
    let (mut shards, mut tensors) = (Vec::new(), Vec::new());
    for (i, name) in names.iter().enumerate() {
        let (shard, mut found) = safetensors::read_shard(&root.join(name.as_str()), i)?;
        shards.push(shard);
        tensors.append(&mut found);
    }
    check_index(&index_file, &weight_map, &names, &tensors)?;
    Ok(Inventory::new(shards, tensors))
}

fn no_weights(root: &Path, single: &Path, index: &Path) -> CheckpointError {
    let pickled = std::fs::read_dir(root).ok().into_iter().flatten().filter_map(Result::ok);
    let pickled =
        pickled.map(|e| e.path()).any(|p| p.extension().is_some_and(|e| e == "bin" || e == "pt" || e == "pth"));
    let remedy = match pickled {
        true => "The folder holds pickles (.bin), which are never executed: convert them to safetensors",
        false => "Is this the folder of a checkpoint?",
    };
    CheckpointError::NotFound {
        what: "a file of weights".to_owned(),
        looked_in: vec![single.to_owned(), index.to_owned()],
        remedy: remedy.to_owned(),
    }
}

fn read_index(file: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = read_text(file)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| CheckpointError::bad(file, "index", "an object with a weight_map", e.to_string()))?;
    for (tensor, shard) in &index.weight_map {
        let plain = !shard.is_empty() && !shard.starts_with('.') && !shard.contains(['/', '\\', '\0']);
        if !plain {
            let error = CheckpointError::bad(file, format!("tensor {tensor}"), "a file name beside the index", shard);
            return Err(error.with_remedy("A path that leaves the folder is refused"));
        }
    }
    Ok(index.weight_map)
}

fn check_index(
    file: &Path,
    weight_map: &BTreeMap<String, String>,
    names: &BTreeSet<&String>,
    tensors: &[TensorEntry],
) -> Result<(), CheckpointError> {
    let names: Vec<&String> = names.iter().copied().collect();
    let mut seen = BTreeMap::new();
    for tensor in tensors {
        let here = names[tensor.shard];
        if let Some(other) = seen.insert(tensor.name.as_str(), here) {
            let found = format!("it in {other} and in {here}");
            return Err(CheckpointError::bad(file, format!("tensor {}", tensor.name), "it in one shard", found));
        }
        match weight_map.get(&tensor.name) {
            Some(named) if named != here => {
                let found = format!("it in shard {here}");
                return Err(CheckpointError::bad(
                    file,
                    format!("tensor {}", tensor.name),
                    format!("it in shard {named}"),
                    found,
                ));
            }
            Some(_) => {}
            None => {
                let found = format!("a tensor of {here} that the index does not name: the index is stale");
                return Err(CheckpointError::bad(file, format!("tensor {}", tensor.name), "it in weight_map", found));
            }
        }
    }
    match weight_map.iter().find(|(name, _)| !seen.contains_key(name.as_str())) {
        Some((name, shard)) => {
            let found = "no such tensor in its header";
            Err(CheckpointError::bad(file, format!("tensor {name}"), format!("it in shard {shard}"), found))
        }
        None => Ok(()),
    }
}

/// Compares what is there with what the architecture needs.
fn check_tensors(mut checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let (config, root) = (&checkpoint.config, &checkpoint.root);
    let expected: BTreeMap<String, ExpectedTensor> =
        expected_tensors(config).into_iter().map(|t| (t.name.clone(), t)).collect();
    let mut surplus = Vec::new();
    for tensor in &checkpoint.inventory.tensors {
        let file = &checkpoint.inventory.shards[tensor.shard].path;
        match expected.get(&tensor.name) {
            Some(e) if e.shape == tensor.shape => {}
            Some(e) => {
                let (want, is) =
                    (format!("shape {:?} as config.json says", e.shape), format!("shape {:?}", tensor.shape));
                return Err(CheckpointError::bad(file, format!("tensor {}", tensor.name), want, is));
            }
            None if ignorable(&tensor.name, config) => surplus.push(tensor.name.clone()),
            None => {
                let want = format!("a tensor of {}", config.class_name);
                let found = "one that this architecture does not have";
                return Err(CheckpointError::bad(file, format!("tensor {}", tensor.name), want, found));
            }
        }
    }
    let missing = expected.values().find(|e| e.required && checkpoint.inventory.get(&e.name).is_none());
    if let Some(missing) = missing {
        let want = format!("shape {:?}", missing.shape);
        return Err(CheckpointError::bad(root, format!("tensor {}", missing.name), want, "no such tensor: missing"));
    }
    if !surplus.is_empty() {
        checkpoint.notes.push(format!("{} tensors are not used ({}, ...)", surplus.len(), surplus[0]));
        checkpoint.inventory.tensors.retain(|t| surplus.binary_search(&t.name).is_err());
    }
    Ok(checkpoint)
}

/// Buffers that old versions of transformers saved, and which are computed.
fn ignorable(name: &str, config: &ModelConfig) -> bool {
    let buffer = [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".self_attn.masked_bias"];
    buffer.iter().any(|b| name.ends_with(b)) || (config.family == Family::Phi && name.ends_with("rotary_emb.inv_freq"))
}
