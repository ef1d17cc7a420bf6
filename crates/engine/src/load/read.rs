//! Parallel reads of tensors from the shards: directly into host memory, through a bounded buffer
//! if the dtype is converted, or through pinned buffers to the GPUs.

use base::{on_threads, unpoisoned};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use checkpoint::{Dtype, TensorEntry};
use device::DeviceError;
use device::cpu::{Cpu, DtypeConversion, widen};
use device::cuda::{Gpu, GpuPart, GpuRegion, GpuTensorData};
use device::memory::{Part, Region};
use watch::{Stage, ThreadProgress, Watch};

use super::LoadError;
use super::chunks::{Regions, TensorChunk, TensorRequest, divide};
use super::upload::GpuUploader;
use crate::devices::{DeviceId, OnDevice, gpu_deadline};
use crate::weights::{OpenShard, OpenShards, Tensor, Tensors, check_identity};

/// The threads, files and devices of parallel reads.
pub(crate) struct Readers<'a> {
    /// Converts dtypes on the host.
    pub cpu: &'a Cpu,
    pub shards: &'a OpenShards,
    pub watch: &'a Watch,
    pub threads: usize,
    /// Prefix of the threads' names in the watch's reports.
    pub name: &'static str,
    /// `None` without GPUs.
    pub gpus: Option<GpuTargets<'a>>,
}

/// The GPUs that tensors are uploaded to.
#[derive(Clone, Copy)]
pub(crate) struct GpuTargets<'a> {
    pub uploader: &'a GpuUploader,
    /// Numbers of the GPUs in the placement plan.
    pub gpu_indices: &'a [usize],
}

/// Tensors by device.
#[derive(Default)]
pub(crate) struct LoadedTensors {
    pub host: Tensors<Cpu>,
    /// Indexed as [`crate::devices::DeviceSet::gpus`].
    pub gpus: Vec<Tensors<Gpu>>,
}

/// Reads all requested tensors, and checks each shard's identity after its last byte was read.
pub(crate) fn read(
    readers: &Readers,
    requests: &[TensorRequest],
) -> Result<LoadedTensors, LoadError> {
    let (regions, chunks) = divide(requests)?;
    let queue = ReadQueue::new(readers, chunks);
    on_threads(readers.threads, |thread| queue.run(thread));
    queue.result()?;
    finish(readers, requests, regions)
}

/// Waits for the last uploads and creates the tensors from the filled regions.
fn finish(
    readers: &Readers,
    requests: &[TensorRequest],
    regions: Regions,
) -> Result<LoadedTensors, LoadError> {
    let gpu_indices = readers.gpus.map_or(&[][..], |gpus| gpus.gpu_indices);
    let mut loaded = LoadedTensors {
        gpus: gpu_indices.iter().map(|_| Tensors::default()).collect(),
        ..LoadedTensors::default()
    };
    let progress = readers.gpus.map(|gpus| {
        let progress = readers.watch.thread("gpus");
        progress.at(Stage::Read, &format!("the last copies to GPU {:?}", gpus.gpu_indices), 0);
        progress
    });
    if let Some(gpus) = readers.gpus {
        gpus.uploader
            .drain()
            .map_err(|cause| LoadError::device("the last copies to the GPUs", cause))?;
    }
    for (request, region) in requests.iter().zip(regions) {
        loaded
            .insert(request, region)
            .map_err(|cause| LoadError::device(format!("tensor {}", request.entry.name), cause))?;
    }
    drop(progress);
    Ok(loaded)
}

impl LoadedTensors {
    /// Inserts a tensor whose region is completely filled.
    fn insert(
        &mut self,
        request: &TensorRequest,
        region: OnDevice<Region, GpuRegion>,
    ) -> Result<(), DeviceError> {
        let TensorRequest { entry, dtype, .. } = *request;
        let (name, shape) = (entry.name.clone(), entry.shape.clone());
        match (&request.arena, region) {
            (OnDevice::Cpu(_), OnDevice::Cpu(region)) => {
                self.host.insert(name, Tensor { dtype, shape, data: region.finish()? });
            }
            (OnDevice::Gpu(gpu, arena), OnDevice::Cpu(region)) => {
                let mut values = vec![0.0; shape.iter().product()];
                widen(dtype, &region.finish()?, &mut values);
                let mut vector = arena.zeroed(values.len())?;
                vector.upload(0, &values, gpu_deadline())?;
                let data = GpuTensorData::Vector(Arc::new(vector));
                self.gpus[*gpu].insert(name, Tensor { dtype: Dtype::F32, shape, data });
            }
            (_, OnDevice::Gpu(gpu, region)) => {
                let data = GpuTensorData::Matrix(region.finish(gpu_deadline())?);
                self.gpus[gpu].insert(name, Tensor { dtype, shape, data });
            }
        }
        Ok(())
    }
}

/// The chunks of a load, taken one after the other by the reader threads.
struct ReadQueue<'a> {
    readers: &'a Readers<'a>,
    /// One queue for each device, sorted by shard and offset. Each thread prefers the queue of one
    /// device, so that all devices receive data from the start.
    queues: Vec<Mutex<std::vec::IntoIter<TensorChunk<'a>>>>,
    /// Number of unfinished chunks of each shard.
    remaining: Vec<AtomicUsize>,
    failed: AtomicBool,
    first_error: Mutex<Option<LoadError>>,
}

/// Per-thread staging buffers for dtype conversion.
#[derive(Default)]
struct ConversionBuffers {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl<'a> ReadQueue<'a> {
    fn new(readers: &'a Readers<'a>, mut chunks: Vec<TensorChunk<'a>>) -> Self {
        chunks.sort_by_key(|chunk| (chunk.target.device(), chunk.entry.shard, chunk.offset));
        let shards = chunks.iter().map(|chunk| chunk.entry.shard + 1).max().unwrap_or(0);
        let remaining: Vec<AtomicUsize> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        for chunk in &chunks {
            remaining[chunk.entry.shard].fetch_add(1, Ordering::Relaxed);
        }
        let queues =
            by_device(chunks).into_iter().map(|queue| Mutex::new(queue.into_iter())).collect();
        ReadQueue {
            readers,
            queues,
            remaining,
            failed: AtomicBool::new(false),
            first_error: Mutex::new(None),
        }
    }

    /// Reads chunks until none is left or a thread failed.
    fn run(&self, thread: usize) {
        let progress = self.readers.watch.thread(&format!("{} {thread}", self.readers.name));
        let mut buffers = ConversionBuffers::default();
        while let Some(chunk) = self.next(thread) {
            if let Err(error) = self.read_chunk(chunk, &progress, &mut buffers) {
                // The error is stored before the flag is set, since threads that stop because of
                // the flag report an interruption and only the first error is kept.
                unpoisoned(self.first_error.lock()).get_or_insert(error);
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    fn next(&self, thread: usize) -> Option<TensorChunk<'a>> {
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        if self.readers.watch.canceled() {
            unpoisoned(self.first_error.lock()).get_or_insert(LoadError::Canceled);
            self.failed.store(true, Ordering::Release);
            return None;
        }
        let queues = self.queues.len();
        (0..queues).find_map(|turn| unpoisoned(self.queues[(thread + turn) % queues].lock()).next())
    }

    fn read_chunk(
        &self,
        chunk: TensorChunk,
        progress: &ThreadProgress,
        buffers: &mut ConversionBuffers,
    ) -> Result<(), LoadError> {
        let TensorChunk { entry, offset, bytes, target, conversion } = chunk;
        let shard = self.readers.shards.get(entry.shard, &entry.name)?;
        let read = ChunkRead { entry, offset, bytes, conversion, shard, progress };
        match (target, self.readers.gpus) {
            (OnDevice::Cpu(part), _) => self.to_host(&read, part, buffers)?,
            (OnDevice::Gpu(gpu, part), Some(gpus)) => {
                self.to_gpu(&read, gpus, gpu, part, buffers)?;
            }
            (OnDevice::Gpu(..), None) => {
                return Err(LoadError::Defect { what: "the upload to the GPUs".to_owned() });
            }
        }
        self.chunk_done(entry, progress)
    }

    fn to_host(
        &self,
        read: &ChunkRead,
        part: Part,
        buffers: &mut ConversionBuffers,
    ) -> Result<(), LoadError> {
        read.progress.at(Stage::Read, &read.shard.name, read.offset);
        match read.conversion {
            None => part.fill(|target| self.fill(read, target)),
            Some(conversion) => {
                self.fill_buffers(read, buffers)?;
                part.fill(|target| self.convert(read, conversion, buffers, target))
            }
        }
    }

    fn to_gpu(
        &self,
        read: &ChunkRead,
        gpus: GpuTargets,
        gpu: usize,
        part: GpuPart,
        buffers: &mut ConversionBuffers,
    ) -> Result<(), LoadError> {
        let ChunkRead { entry, offset, bytes, conversion, shard, progress } = *read;
        let gpu_index = gpus.gpu_indices[gpu];
        let name = &entry.name;
        let failed = |cause| LoadError::device(format!("tensor {name} to GPU {gpu_index}"), cause);
        let waiting = format!("{}, {name}: a pinned buffer for GPU {gpu_index}", shard.name);
        progress.at(Stage::Read, &waiting, offset);
        // GPUs have no kernel for f64, which is rare: it is converted on the host.
        let on_host = conversion.filter(|conversion| conversion.from == Dtype::F64);
        let on_gpu = if on_host.is_some() { None } else { conversion };
        let staging_bytes = on_host.map_or(bytes, |_| part.len());
        let mut staging = gpus.uploader.acquire(staging_bytes, offset).map_err(failed)?;
        progress.at(Stage::Read, &format!("{}, {name} for GPU {gpu_index}", shard.name), offset);
        match on_host {
            None => self.fill(read, staging.bytes())?,
            Some(conversion) => {
                self.fill_buffers(read, buffers)?;
                self.convert(read, conversion, buffers, staging.bytes())?;
            }
        }
        progress.at(Stage::Read, &format!("{}, {name}: to GPU {gpu_index}", shard.name), offset);
        gpus.uploader.upload(staging, on_gpu, gpu, part).map_err(failed)
    }

    /// Reads the chunk into `buffers.bytes` and resizes `buffers.values` for its elements.
    fn fill_buffers(
        &self,
        read: &ChunkRead,
        buffers: &mut ConversionBuffers,
    ) -> Result<(), LoadError> {
        buffers.bytes.resize(read.bytes, 0);
        self.fill(read, &mut buffers.bytes)?;
        buffers.values.resize(read.bytes / read.entry.dtype.block_bytes(), 0.0);
        Ok(())
    }

    fn convert(
        &self,
        read: &ChunkRead,
        conversion: DtypeConversion,
        buffers: &mut ConversionBuffers,
        target: &mut [u8],
    ) -> Result<(), LoadError> {
        let ConversionBuffers { bytes, values } = buffers;
        conversion.convert(self.readers.cpu, bytes, values, target).map_err(|cause| {
            LoadError::device(format!("converting tensor {}", read.entry.name), cause)
        })
    }

    fn fill(&self, read: &ChunkRead, target: &mut [u8]) -> Result<(), LoadError> {
        let mut progress = |bytes: usize| {
            read.progress.advance(bytes as u64);
            !self.failed.load(Ordering::Acquire) && !self.readers.watch.canceled()
        };
        Ok(read.shard.read(&read.entry.name, target, read.offset, &mut progress)?)
    }

    fn chunk_done(&self, entry: &TensorEntry, progress: &ThreadProgress) -> Result<(), LoadError> {
        if self.remaining[entry.shard].fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let shard = self.readers.shards.get(entry.shard, &entry.name)?;
        check_identity(&shard.shard, &entry.name, entry.offset)?;
        progress.item_done();
        Ok(())
    }

    fn result(self) -> Result<(), LoadError> {
        let error = unpoisoned(self.first_error.into_inner());
        error.map_or(Ok(()), Err)
    }
}

/// A chunk to read, with its shard and the progress report of the reader thread.
struct ChunkRead<'a> {
    entry: &'a TensorEntry,
    offset: u64,
    bytes: usize,
    conversion: Option<DtypeConversion>,
    shard: &'a OpenShard,
    progress: &'a ThreadProgress,
}

/// Splits chunks, which are sorted by device, into one list for each device.
fn by_device(chunks: Vec<TensorChunk>) -> Vec<Vec<TensorChunk>> {
    let mut queues: Vec<(DeviceId, Vec<TensorChunk>)> = Vec::new();
    for chunk in chunks {
        match queues.last_mut() {
            Some((device, queue)) if *device == chunk.target.device() => queue.push(chunk),
            _ => queues.push((chunk.target.device(), vec![chunk])),
        }
    }
    queues.into_iter().map(|(_, queue)| queue).collect()
}
