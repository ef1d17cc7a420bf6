//! Writes the shard files: sparse, or with random weights, which all cores generate and write in
//! large chunks.
use super::layout::{PlannedShard, header};
use super::noise::{NoiseRng, NoiseTable, STREAM_BYTES};
use crate::Dtype;
use crate::error::CheckpointError;
use crate::expected_tensors::{ExpectedTensor, TensorContent};
use base::{on_threads, usable_cores};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

type Result<T> = std::result::Result<T, CheckpointError>;

/// Bytes that a thread generates and writes at once: 35 streams, 8.2 MiB.
const CHUNK_BYTES: usize = 35 * STREAM_BYTES;
const WRITERS_MAX: usize = 32;

/// An open shard file that has its header and its final size.
pub(super) struct ShardFile<'a> {
    path: PathBuf,
    file: File,
    data_start: u64,
    shard: &'a PlannedShard,
}

/// Creates the shard files with valid headers; the data sections are file holes.
pub(super) fn create<'a>(folder: &Path, shards: &'a [PlannedShard]) -> Result<Vec<ShardFile<'a>>> {
    let create = |shard: &'a PlannedShard| {
        let path = folder.join(&shard.name);
        let header = header(shard);
        let data_start = header.len() as u64;
        let file =
            File::create_new(&path).map_err(|e| CheckpointError::io(&path, "create it", 0, e))?;
        file.write_all_at(&header, 0)
            .map_err(|e| CheckpointError::io(&path, "write its header", 0, e))?;
        file.set_len(data_start + shard.bytes)
            .map_err(|e| CheckpointError::io(&path, "set its size", data_start, e))?;
        Ok(ShardFile { path, file, data_start, shard })
    };
    shards.iter().map(create).collect()
}

/// A range of a tensor's bytes that one thread fills.
struct NoiseChunk {
    file: usize,
    tensor: usize,
    /// Offset from the start of the tensor, in bytes.
    begin: u64,
    bytes: usize,
}

/// Fills the tensors for which `fills` holds with random weights. `progress` receives the number of
/// bytes of each write and returns whether to continue.
pub(super) fn fill(
    files: &[ShardFile],
    seed: u64,
    fills: &dyn Fn(&ExpectedTensor) -> bool,
    progress: &(dyn Fn(u64) -> bool + Sync),
) -> Result<()> {
    let tables = NoiseTables::new(seed, files);
    let chunks = chunks(files, fills);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure: Mutex<Option<CheckpointError>> = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; CHUNK_BYTES];
        while !stop.load(Ordering::Relaxed) {
            let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let result =
                write_chunk(&files[chunk.file], chunk, &tables, &mut buffer[..chunk.bytes]);
            if let Err(error) = result {
                stop.store(true, Ordering::Relaxed);
                if let Ok(mut failure) = failure.lock() {
                    failure.get_or_insert(error);
                }
            } else if !progress(chunk.bytes as u64) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    on_threads(usable_cores().min(WRITERS_MAX), |_| work());
    if let Some(error) = failure.into_inner().ok().flatten() {
        return Err(error);
    }
    if stop.into_inner() {
        let interrupted = std::io::Error::from(std::io::ErrorKind::Interrupted);
        return Err(CheckpointError::io(&files[0].path, "fill it", 0, interrupted));
    }
    let sync = |f: &ShardFile| {
        f.file.sync_data().map_err(|e| CheckpointError::io(&f.path, "flush it", 0, e))
    };
    files.iter().try_for_each(sync)
}

fn chunks(files: &[ShardFile], fills: &dyn Fn(&ExpectedTensor) -> bool) -> Vec<NoiseChunk> {
    let mut chunks = Vec::new();
    for (file, shard) in files.iter().enumerate() {
        let tensors = shard.shard.tensors.iter().enumerate();
        for (tensor, planned) in tensors.filter(|(_, planned)| fills(&planned.tensor)) {
            let begins = (0..planned.bytes).step_by(CHUNK_BYTES);
            chunks.extend(begins.map(|begin| {
                let bytes = (planned.bytes - begin).min(CHUNK_BYTES as u64) as usize;
                NoiseChunk { file, tensor, begin, bytes }
            }));
        }
    }
    chunks
}

fn write_chunk(
    file: &ShardFile,
    chunk: &NoiseChunk,
    tables: &NoiseTables,
    buffer: &mut [u8],
) -> Result<()> {
    let planned = &file.shard.tensors[chunk.tensor];
    let table = tables.of(planned.dtype, planned.tensor.content);
    let tensor = name_seed(&planned.tensor.name);
    let first = chunk.begin / STREAM_BYTES as u64;
    for (i, stream) in buffer.chunks_mut(STREAM_BYTES).enumerate() {
        table.fill(stream, tables.seed, tensor, first + i as u64);
    }
    let at = file.data_start + planned.begin + chunk.begin;
    file.file
        .write_all_at(buffer, at)
        .map_err(|e| CheckpointError::io(&file.path, "write it", at, e))
}

/// The seed of a tensor: FNV-1a of its name, mixed by the random number generator.
fn name_seed(name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    NoiseRng::new(&[hash]).next()
}

struct NoiseTables {
    seed: u64,
    all: Vec<(Dtype, TensorContent, NoiseTable)>,
}

impl NoiseTables {
    fn new(seed: u64, files: &[ShardFile]) -> Self {
        let mut all: Vec<(Dtype, TensorContent, NoiseTable)> = Vec::new();
        for planned in files.iter().flat_map(|f| &f.shard.tensors) {
            let (dtype, content) = (planned.dtype, planned.tensor.content);
            if !all.iter().any(|(d, c, _)| *d == dtype && *c == content) {
                all.push((dtype, content, NoiseTable::new(dtype, content, seed)));
            }
        }
        NoiseTables { seed, all }
    }

    fn of(&self, dtype: Dtype, content: TensorContent) -> &NoiseTable {
        let found = self.all.iter().find(|(d, c, _)| *d == dtype && *c == content);
        &found.unwrap_or(&self.all[0]).2
    }
}
