//! Reads the headers of all shards in parallel.
use super::header::{HEADER_BYTES_MAX, HeaderTensor, parse_header};
use crate::Shard;
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::files::{self, RegularFile};
use base::in_parallel;
use std::path::{Path, PathBuf};

/// Bytes of the first read of a file; most headers fit into it.
const FIRST_READ_BYTES: usize = 64 << 10;
/// Maximum number of reader threads. On a network file system each header costs a round trip, so
/// that parallel reads save time.
const READERS_MAX: usize = 16;

/// A shard and the tensors of its header.
pub(super) struct ReadShard {
    pub shard: Shard,
    pub tensors: Vec<HeaderTensor>,
}

/// Reads the headers of all files. If several fail, returns the error of the first file in `paths`.
pub(super) fn read_shards(paths: &[PathBuf]) -> Result<Vec<ReadShard>, CheckpointError> {
    if let [one] = paths {
        return Ok(vec![read_shard(one)?]);
    }
    in_parallel(READERS_MAX, paths, |path| read_shard(path)).into_iter().collect()
}

fn read_shard(path: &Path) -> Result<ReadShard, CheckpointError> {
    let opened = files::open_regular(path)?;
    let (json, data_start) = read_header(path, &opened)?;
    let tensors = parse_header(path, &json, data_start, opened.bytes)?;
    let shard = Shard {
        path: path.to_owned(),
        bytes: opened.bytes,
        identity: opened.identity,
        blob_id: files::blob_id(path),
    };
    Ok(ReadShard { shard, tensors })
}

/// Returns the JSON of the header and the offset of the data section.
fn read_header(path: &Path, opened: &RegularFile) -> Result<(Vec<u8>, u64), CheckpointError> {
    let mut first = vec![0; FIRST_READ_BYTES.min(opened.bytes as usize)];
    files::read_at(path, &opened.file, &mut first, 0)?;
    files::refuse_lfs_pointer(path, &first)?;
    let Some(length) = first.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        let expected = "8 bytes of header length and a header";
        return Err(Defect::new(
            DefectKind::HeaderTruncated,
            path,
            expected,
            format!("{} bytes", opened.bytes),
        )
        .into());
    };
    check_length(path, length, opened.bytes)?;
    match first.get(8) {
        Some(b'{') => {}
        other => {
            let found =
                other.map_or("the end of the file".to_owned(), |b| format!("byte {b:#04x}"));
            return Err(Defect::new(
                DefectKind::HeaderNotJson,
                path,
                "a header that begins with {",
                found,
            )
            .part("header")
            .into());
        }
    }
    let end = 8 + length as usize;
    let mut json = first;
    json.drain(..8);
    let have = json.len().min(length as usize);
    json.resize(length as usize, 0);
    if have < json.len() {
        files::read_at(path, &opened.file, &mut json[have..], 8 + have as u64)?;
    }
    Ok((json, end as u64))
}

fn check_length(path: &Path, length: u64, file_bytes: u64) -> Result<(), CheckpointError> {
    let defect = |kind, expected: String, found: String| {
        Err(Defect::new(kind, path, expected, found).part("header").into())
    };
    if length < 2 {
        return defect(
            DefectKind::HeaderLength,
            "a header of 2 bytes or more".to_owned(),
            format!("length {length}"),
        );
    }
    if length > HEADER_BYTES_MAX {
        let expected = format!("a header of at most {HEADER_BYTES_MAX} bytes");
        return defect(
            DefectKind::HeaderLength,
            expected,
            format!("length {length} in a file of {file_bytes} bytes"),
        );
    }
    if 8 + length > file_bytes {
        let expected = format!("a header of {length} bytes");
        return defect(
            DefectKind::HeaderTruncated,
            expected,
            format!("a file of {file_bytes} bytes in all"),
        );
    }
    Ok(())
}
