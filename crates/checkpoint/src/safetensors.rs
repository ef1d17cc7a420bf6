//! Headers of safetensors files. Format: 8 bytes of little-endian header length, a JSON header, then the data without
//! holes (`github.com/huggingface/safetensors`). Only the header is read.
use crate::{CheckpointError, Dtype, FileIdentity, Shard, TensorEntry};
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest header that is read. Real ones of 100 MB exist; more is an attack or garbage.
const HEADER_BYTES_MAX: u64 = 512 << 20;
/// Opening a FIFO must not wait for somebody to write to it.
const O_NONBLOCK: i32 = 0o4000;

/// Opens a regular file and says which one it is.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Shard), CheckpointError> {
    let opened = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path);
    let file = opened.map_err(|e| CheckpointError::io(path, "open", 0, e))?;
    let meta = file.metadata().map_err(|e| CheckpointError::io(path, "stat", 0, e))?;
    if !meta.is_file() {
        return Err(CheckpointError::bad(path, "file", "a regular file", "a pipe, device or directory"));
    }
    let blob_id = std::fs::read_link(path).ok().and_then(|to| {
        let in_blobs = to.parent().is_some_and(|p| p.ends_with("blobs"));
        to.file_name().filter(|_| in_blobs).map(|n| n.to_string_lossy().into_owned())
    });
    let identity = FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
    };
    Ok((file, Shard { path: path.to_owned(), bytes: meta.len(), identity, blob_id }))
}

/// Reads one shard's header and checks it whole.
///
/// # Errors
/// 65 with the tensor and what is wrong with it; 66 or 74 if the file cannot be read.
pub fn read_shard(path: &Path, index: usize) -> Result<(Shard, Vec<TensorEntry>), CheckpointError> {
    let (mut file, shard) = open_regular(path)?;
    let header = read_header(path, &mut file, shard.bytes)?;
    let data_start = 8 + header.len() as u64;
    let text =
        std::str::from_utf8(&header).map_err(|e| CheckpointError::bad(path, "header", "UTF-8", e.to_string()))?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let entries = parser
        .deserialize_map(HeaderVisitor)
        .map_err(|e| CheckpointError::bad(path, "header", "a JSON object of tensors, each name once", e.to_string()))?;
    parser.end().map_err(|e| CheckpointError::bad(path, "header", "one JSON object", e.to_string()))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, raw) in entries {
        tensors.push(entry(path, index, name, raw, data_start)?);
    }
    check_coverage(path, &tensors, data_start, shard.bytes)?;
    Ok((shard, tensors))
}

fn read_header(path: &Path, file: &mut File, file_bytes: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut length = [0u8; 8];
    file.read_exact(&mut length).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            CheckpointError::bad(path, "file", "at least 8 bytes", format!("{file_bytes} bytes: truncated"))
        }
        _ => CheckpointError::io(path, "read the header's length", 0, e),
    })?;
    if &length == b"version " {
        let found = format!("a Git LFS pointer of {file_bytes} bytes");
        let error = CheckpointError::bad(path, "file", "weights", found);
        return Err(error.with_remedy(
            "The repository was cloned without its large files: run `git lfs pull`, or `vendomini fetch`",
        ));
    }
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes < 2 || header_bytes > HEADER_BYTES_MAX {
        let expected = format!("a length of 2 to {HEADER_BYTES_MAX} bytes");
        return Err(CheckpointError::bad(path, "header", expected, format!("header length {header_bytes}")));
    }
    if header_bytes > file_bytes.saturating_sub(8) {
        let found = format!("a file of {file_bytes} bytes: truncated, or not safetensors");
        return Err(CheckpointError::bad(path, "header", format!("{header_bytes} bytes"), found));
    }
    let mut header = vec![0u8; header_bytes as usize];
    file.read_exact(&mut header).map_err(|e| CheckpointError::io(path, "read the header", 8, e))?;
    Ok(header)
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Collects tensors in file order and refuses a name that stands twice: the reference parser lets the last win, so two
/// readers could see two different models.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Vec<(String, RawTensor)>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("duplicate key {name}")));
            }
            if name == "__metadata__" {
                map.next_value::<serde::de::IgnoredAny>()?;
            } else {
                let raw = map.next_value().map_err(|e| serde::de::Error::custom(format!("tensor {name}: {e}")))?;
                tensors.push((name, raw));
            }
        }
        Ok(tensors)
    }
}

fn dtype(name: &str) -> Option<Dtype> {
    use Dtype::*;
    let all = [F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8];
    all.into_iter().find(|d| d.name() == name).or(match name {
        "BOOL" => Some(Bool),
        "F8_E4M3" => Some(F8E4M3),
        "F8_E5M2" => Some(F8E5M2),
        "F8_E8M0" => Some(F8E8M0),
        "F4" => Some(F4),
        _ => None,
    })
}

fn entry(
    path: &Path,
    shard: usize,
    name: String,
    raw: RawTensor,
    data_start: u64,
) -> Result<TensorEntry, CheckpointError> {
    let subject = || format!("tensor {name}");
    let dtype = dtype(&raw.dtype)
        .ok_or_else(|| CheckpointError::bad(path, subject(), "a dtype of the safetensors format", &raw.dtype))?;
    let elements = raw.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    let bytes = elements.and_then(|n| dtype.bytes_for(n)).ok_or_else(|| {
        CheckpointError::bad(path, subject(), "a shape whose size fits 64 bits", format!("shape {:?}", raw.shape))
    })?;
    let (begin, end) = raw.data_offsets;
    if end < begin || end - begin != bytes {
        let found = format!("data_offsets [{begin}, {end}]");
        let expected = format!("{bytes} bytes for {} {:?}", raw.dtype, raw.shape);
        return Err(CheckpointError::bad(path, subject(), expected, found));
    }
    let offset = data_start.checked_add(begin);
    let offset =
        offset.ok_or_else(|| CheckpointError::bad(path, subject(), "an offset in the file", begin.to_string()))?;
    let shape = raw.shape.iter().map(|d| *d as usize).collect();
    Ok(TensorEntry { name, dtype, shape, shard, offset, bytes })
}

/// Data must be covered exactly once, from the header's end to the file's.
fn check_coverage(
    path: &Path,
    tensors: &[TensorEntry],
    data_start: u64,
    file_bytes: u64,
) -> Result<(), CheckpointError> {
    let mut order: Vec<&TensorEntry> = tensors.iter().collect();
    order.sort_by_key(|t| (t.offset, t.bytes));
    let mut at = data_start;
    for tensor in order {
        if tensor.offset != at {
            let what = if tensor.offset < at { "an overlap" } else { "a hole" };
            let found = format!("{what}: it starts at {}", tensor.offset - data_start);
            let expected = format!("data from byte {}", at - data_start);
            return Err(CheckpointError::bad(path, format!("tensor {}", tensor.name), expected, found));
        }
        at = at.saturating_add(tensor.bytes);
    }
    if at != file_bytes {
        let what = if at > file_bytes { "truncated" } else { "trailing bytes" };
        let found = format!("{file_bytes} bytes: {what}");
        return Err(CheckpointError::bad(path, "file", format!("{at} bytes as its header says"), found));
    }
    Ok(())
}
