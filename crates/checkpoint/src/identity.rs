//! The identity of a model, for provenance: derived from blob ids, from headers and file sizes, or
//! from all bytes of the files.
use crate::checkpoint::{Checkpoint, CheckpointFormat};
use crate::error::CheckpointError;
use crate::safetensors::HEADER_BYTES_MAX;
use crate::{Shard, files};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::Path;

type Result<T> = std::result::Result<T, CheckpointError>;

/// The small files of a checkpoint that affect the model's output.
const SMALL_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// The source of a file's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestBasis {
    /// The blob id of the Hugging Face hub.
    Blob,
    /// SHA-256 of the header, and the file's size. It distinguishes models of different shapes, but
    /// not two fine-tuned versions of one model.
    Header,
    /// SHA-256 of the whole file.
    Content,
}

/// The identity of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDigest {
    /// File name without the folder.
    pub name: String,
    pub bytes: u64,
    pub basis: DigestBasis,
    /// The hub's blob id, or a SHA-256 in hexadecimal.
    pub id: String,
}

/// The identity of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelIdentity {
    /// The weakest basis among the shards: `Header` if any shard has that basis.
    pub basis: DigestBasis,
    /// SHA-256 in hexadecimal of the names, sizes and ids of all files. It is part of the ids of
    /// experiment runs.
    pub digest: String,
    /// The shards, followed by the small files that exist.
    pub files: Vec<FileDigest>,
}

impl Checkpoint {
    /// The model's identity, without reading the weights.
    ///
    /// # Errors
    /// `Io` if reading a file fails.
    pub fn identity(&self) -> Result<ModelIdentity> {
        self.identity_with(|shard| match &shard.blob_id {
            Some(id) => Ok((DigestBasis::Blob, id.clone())),
            None => {
                Ok((DigestBasis::Header, header_hash(shard, self.format, self.data_start(shard))?))
            }
        })
    }

    /// The model's identity from all bytes of its shards. `progress` receives the number of bytes
    /// of each read.
    ///
    /// # Errors
    /// `Io` if reading a file fails.
    pub fn full_identity(&self, progress: &mut dyn FnMut(u64)) -> Result<ModelIdentity> {
        self.identity_with(|shard| {
            Ok((DigestBasis::Content, hash_range(&shard.path, shard.bytes, progress)?))
        })
    }

    fn identity_with(
        &self,
        mut identify: impl FnMut(&Shard) -> Result<(DigestBasis, String)>,
    ) -> Result<ModelIdentity> {
        let mut digests = Vec::new();
        for shard in &self.inventory.shards {
            let (basis, id) = identify(shard)?;
            digests.push(FileDigest {
                name: plain_name(&shard.path),
                bytes: shard.bytes,
                basis,
                id,
            });
        }
        let basis = if digests.iter().any(|d| d.basis == DigestBasis::Header) {
            DigestBasis::Header
        } else {
            digests.iter().map(|d| d.basis).max().unwrap_or(DigestBasis::Header)
        };
        if self.format == CheckpointFormat::Safetensors {
            for name in SMALL_FILES {
                digests.extend(small_file(&self.root.join(name))?);
            }
        }
        let digest = digest_of(&digests);
        Ok(ModelIdentity { basis, digest, files: digests })
    }

    fn data_start(&self, shard: &Shard) -> u64 {
        let at = self.inventory.shards.iter().position(|s| s.path == shard.path);
        let offsets =
            self.inventory.tensors.iter().filter(|t| Some(t.shard) == at).map(|t| t.offset);
        offsets.min().unwrap_or(shard.bytes)
    }
}

fn digest_of(files: &[FileDigest]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(format!("{}\0{}\0{:?}\0{}\n", file.name, file.bytes, file.basis, file.id));
    }
    hex(&hash.finalize())
}

fn plain_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn header_hash(shard: &Shard, format: CheckpointFormat, data_start: u64) -> Result<String> {
    let end = match format {
        CheckpointFormat::Gguf => data_start,
        CheckpointFormat::Safetensors => {
            let opened = files::open_regular(&shard.path)?;
            let mut length = [0; 8];
            files::read_at(&shard.path, &opened.file, &mut length, 0)?;
            u64::from_le_bytes(length).min(HEADER_BYTES_MAX) + 8
        }
    };
    hash_range(&shard.path, end.min(shard.bytes), &mut |_| {})
}

fn small_file(path: &Path) -> Result<Option<FileDigest>> {
    if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let bytes = files::open_regular(path)?.bytes;
    let (basis, id) = match files::blob_id(path) {
        Some(id) => (DigestBasis::Blob, id),
        None => (DigestBasis::Content, hash_range(path, bytes, &mut |_| {})?),
    };
    Ok(Some(FileDigest { name: plain_name(path), bytes, basis, id }))
}

/// SHA-256 of a regular file, in hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    hash_range(path, files::open_regular(path)?.bytes, &mut |_| {})
}

/// SHA-256 of the first `bytes` bytes of a file, in hexadecimal.
fn hash_range(path: &Path, bytes: u64, progress: &mut dyn FnMut(u64)) -> Result<String> {
    const BUFFER_BYTES: u64 = 4 << 20;
    let opened = files::open_regular(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES.min(bytes) as usize];
    let mut at = 0;
    while at < bytes {
        let part = &mut buffer[..(bytes - at).min(BUFFER_BYTES) as usize];
        files::read_at(path, &opened.file, part, at)?;
        hash.update(&*part);
        at += part.len() as u64;
        progress(part.len() as u64);
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
