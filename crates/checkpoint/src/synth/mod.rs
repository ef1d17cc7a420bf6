//! Writes synthetic checkpoints with the shape of any known model, sparse or with random weights,
//! to test loading without the real weights.
mod layout;
mod noise;
mod presets;
mod write;

use crate::error::CheckpointError;
use crate::expected_tensors::{ExpectedTensor, TensorContent};
use crate::{
    Checkpoint, CheckpointFormat, FileIdentity, GenerationConfig, Inventory, ModelConfig, Shard,
    TensorEntry, files, hf, json,
};
pub use presets::{PRESETS, preset};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Result<T> = std::result::Result<T, CheckpointError>;

/// Target size of a shard in bytes, if the request does not specify a number of shards.
const SHARD_BYTES: u64 = 5_000_000_000;
const SHARDS_MAX: usize = 9999;

/// The source of a synthetic checkpoint's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SynthSource {
    /// A model name in [`PRESETS`], its alias, or its hub name.
    Name(String),
    /// The path of a `config.json`, or of a folder that contains one.
    Config(PathBuf),
}

impl SynthSource {
    /// Parses the value of `--like`: a preset name, else an existing path or a `.json` file, else
    /// an unknown name.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        if preset(text).is_none() && (path.exists() || text.ends_with(".json")) {
            return SynthSource::Config(path.to_owned());
        }
        SynthSource::Name(text.to_owned())
    }
}

/// The values of the weights in a synthetic checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Zeros, written as file holes that take no disk space.
    Sparse,
    /// Approximately normal values with a standard deviation of 0.02 and a mean of 0, or of 1 for
    /// norms.
    Random {
        /// Equal seeds generate equal bytes.
        seed: u64,
    },
    /// Random values in embedding, norms, routers and head, and holes elsewhere: a mixture of
    /// experts then routes its tokens at random, and takes a hundredth of the disk space.
    RandomRoutes { seed: u64 },
}

impl Fill {
    /// The seed of random values, if there are any.
    fn seed(self) -> Option<u64> {
        match self {
            Fill::Sparse => None,
            Fill::Random { seed } | Fill::RandomRoutes { seed } => Some(seed),
        }
    }

    /// Whether a tensor has random values.
    fn fills(self, config: &ModelConfig, tensor: &ExpectedTensor) -> bool {
        let is_matrix = tensor.content == TensorContent::Weight && tensor.shape.len() > 1;
        let in_layers = tensor.name.starts_with("model.layers.");
        match self {
            Fill::Sparse => false,
            Fill::Random { .. } => true,
            Fill::RandomRoutes { .. } => {
                tensor.content == TensorContent::NormWeight
                    || (is_matrix && (!in_layers || config.is_router(&tensor.name)))
            }
        }
    }
}

/// A request to write a synthetic checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynthRequest {
    pub like: SynthSource,
    /// Number of shards; `None`: as many as needed for shards of about 5 GB.
    pub shards: Option<usize>,
    pub fill: Fill,
    /// The target: a new folder, or an existing empty one.
    pub folder: PathBuf,
}

/// The result of writing a synthetic checkpoint.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SynthReport {
    pub folder: PathBuf,
    /// The name of the model class in transformers.
    pub class_name: String,
    pub shards: usize,
    pub tensors: usize,
    pub weights_bytes: u64,
    pub seconds: f64,
}

/// Writes a synthetic checkpoint atomically: writes to a folder beside the target, and renames that
/// folder when it is complete.
///
/// `progress` receives the number of bytes of each write and returns whether to continue.
///
/// # Errors
/// `InvalidArgument` for an invalid name or folder, a `Defect` or `NotFound` for an invalid or
/// missing configuration, `Io` if writing fails or the disk is full.
pub fn synth(
    request: &SynthRequest,
    progress: &(dyn Fn(u64) -> bool + Sync),
) -> Result<SynthReport> {
    let begun = Instant::now();
    let (text, config) = configuration(&request.like)?;
    require_free(&request.folder)?;
    let weights_bytes = layout::total_bytes(&config);
    let count = shard_count(request.shards, weights_bytes)?;
    let shards = layout::shards(&config, count);
    let fills = |tensor: &ExpectedTensor| request.fill.fills(&config, tensor);
    let partial = PartialFolder::beside(&request.folder)?;
    require_space(&partial.folder, layout::filled_bytes(&shards, &fills))?;
    partial.write("config.json", &text)?;
    partial.write("generation_config.json", &generation(&config))?;
    if shards.len() > 1 {
        partial.write("model.safetensors.index.json", &layout::index(&shards))?;
    }
    let files = write::create(&partial.folder, &shards)?;
    if let Some(seed) = request.fill.seed() {
        write::fill(&files, seed, &fills, progress)?;
    }
    drop(files);
    partial.commit(&request.folder)?;
    Ok(SynthReport {
        folder: request.folder.clone(),
        class_name: config.class_name,
        tensors: shards.iter().map(|s| s.tensors.len()).sum(),
        shards: shards.len(),
        weights_bytes,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// The checkpoint that [`synth`] would write for a preset, without its files, to plan a model that
/// is not there. `None` if no preset has this name.
///
/// # Errors
/// A `Defect` in the preset.
pub fn preset_checkpoint(name: &str) -> Result<Option<Checkpoint>> {
    let Some(text) = preset(name) else { return Ok(None) };
    let root = PathBuf::from(name);
    let config = hf::parse_config(&root, text, &mut Vec::new())?;
    let planned = layout::shards(&config, shard_count(None, layout::total_bytes(&config))?);
    let identity = FileIdentity { device: 0, inode: 0, modified_ns: 0 };
    let (mut shards, mut tensors) = (Vec::new(), Vec::new());
    for shard in planned {
        tensors.extend(shard.tensors.into_iter().map(|planned| TensorEntry {
            name: planned.tensor.name,
            dtype: planned.dtype,
            shape: planned.tensor.shape,
            shard: shards.len(),
            offset: planned.begin,
            bytes: planned.bytes,
        }));
        let path = root.join(shard.name);
        shards.push(Shard { path, bytes: shard.bytes, identity, blob_id: None });
    }
    Ok(Some(Checkpoint {
        root,
        format: CheckpointFormat::Safetensors,
        config,
        inventory: Inventory::new(shards, tensors),
        generation: GenerationConfig::default(),
        notes: Vec::new(),
        gguf: None,
    }))
}

fn configuration(like: &SynthSource) -> Result<(String, ModelConfig)> {
    let (file, text) = match like {
        SynthSource::Name(name) => match preset(name) {
            Some(text) => (PathBuf::from(name), text.to_owned()),
            None => {
                let known: Vec<&str> = PRESETS.iter().map(|(known, _)| *known).collect();
                return Err(invalid_argument(
                    "--like",
                    &format!("a config.json, or one of {}", known.join(", ")),
                    name,
                    "Choose one of these",
                ));
            }
        },
        SynthSource::Config(path) => {
            let file = if path.is_dir() { path.join("config.json") } else { path.clone() };
            let text = files::read_text(&file, json::CONFIG_BYTES_MAX)?
                .ok_or_else(|| CheckpointError::absent(&file))?;
            (file, text)
        }
    };
    let config = hf::parse_config(&file, &text, &mut Vec::new())?;
    Ok((text, config))
}

fn invalid_argument(
    what: &str,
    expected: &str,
    found: impl std::fmt::Display,
    remedy: &str,
) -> CheckpointError {
    let (what, expected, remedy) = (what.to_owned(), expected.to_owned(), remedy.to_owned());
    CheckpointError::InvalidArgument { what, expected, found: found.to_string(), remedy }
}

fn shard_count(requested: Option<usize>, weights_bytes: u64) -> Result<usize> {
    match requested {
        None => Ok(weights_bytes.div_ceil(SHARD_BYTES).clamp(1, SHARDS_MAX as u64) as usize),
        Some(n @ 1..=SHARDS_MAX) => Ok(n),
        Some(n) => Err(invalid_argument(
            "--shards",
            &format!("1 to {SHARDS_MAX}"),
            n,
            "Name another number",
        )),
    }
}

/// Checks that the target is new or empty, so that nothing is overwritten.
fn require_free(folder: &Path) -> Result<()> {
    let remedy = "Name another folder, or remove that one first";
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CheckpointError::io(folder, "read its metadata", 0, error)),
        Ok(metadata) if !metadata.is_dir() => {
            Err(invalid_argument(&folder.display().to_string(), "a new folder", "a file", remedy))
        }
        Ok(_) => {
            let mut entries =
                fs::read_dir(folder).map_err(|e| CheckpointError::io(folder, "list it", 0, e))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(invalid_argument(
                    &folder.display().to_string(),
                    "a new or empty folder",
                    "one with files in it",
                    remedy,
                )),
            }
        }
    }
}

fn require_space(folder: &Path, bytes: u64) -> Result<()> {
    let io =
        |e: rustix::io::Errno| CheckpointError::io(folder, "query its free space", 0, e.into());
    let disk = rustix::fs::statvfs(folder).map_err(io)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    let message = format!("{bytes} bytes are needed and {free} are free");
    Err(CheckpointError::io(
        folder,
        "write the weights",
        0,
        std::io::Error::new(std::io::ErrorKind::StorageFull, message),
    ))
}

fn generation(config: &ModelConfig) -> String {
    let value = serde_json::json!({ "bos_token_id": config.bos, "eos_token_id": config.eos, "pad_token_id": config.pad });
    format!("{value:#}\n")
}

/// The temporary folder of a checkpoint that is being written. Dropping it without a commit removes
/// the folder.
struct PartialFolder {
    folder: PathBuf,
}

impl PartialFolder {
    fn beside(target: &Path) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| {
            invalid_argument("the folder", "a name", target.display(), "Name a folder")
        })?;
        let folder = target.with_file_name(format!(
            ".{}.partial-{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        if folder.exists() {
            // A killed process with the same process id left this folder behind.
            fs::remove_dir_all(&folder)
                .map_err(|e| CheckpointError::io(&folder, "clear it", 0, e))?;
        }
        fs::create_dir_all(&folder).map_err(|e| CheckpointError::io(&folder, "create it", 0, e))?;
        Ok(PartialFolder { folder })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|e| CheckpointError::io(&path, "write it", 0, e))
    }

    fn commit(&self, target: &Path) -> Result<()> {
        fs::rename(&self.folder, target)
            .map_err(|e| CheckpointError::io(target, "rename it into place", 0, e))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // After a commit this path no longer exists, so removing it fails; after a failed write,
        // the first error is the one that is returned.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
