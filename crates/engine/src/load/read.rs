//! Parallel large reads: from the shards straight into their final place in host memory, through a
//! bounded buffer where numbers change their form, and through pinned buffers to the GPUs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checkpoint::{Dtype, TensorEntry};
use device::DeviceError;
use device::cpu::Cpu;
use device::cuda::{Gpu, GpuPart, GpuRegion};
use device::memory::{Part, Region};
use watch::{Stage, ThreadProgress, Watch};

use super::LoadError;
use super::convert::{Conversion, widen};
use super::feed::Feed;
use super::pieces::{Piece, Wanted, cut};
use super::source::{OpenShard, Source, check_identity};
use super::tensors::{Stored, Tensors};
use crate::compute::{GpuData, Placed, Site, gpu_deadline};

/// Who reads, and who is told.
pub(crate) struct Readers<'a> {
    /// Converts numbers.
    pub cpu: &'a Cpu,
    pub source: &'a Source,
    pub watch: &'a Watch,
    pub threads: usize,
    /// The threads' names begin with this.
    pub name: &'static str,
    /// The way to the GPUs, where there are any.
    pub gpus: Option<Gpus<'a>>,
}

/// The GPUs that are fed.
#[derive(Clone, Copy)]
pub(crate) struct Gpus<'a> {
    pub feed: &'a Feed,
    /// The plan's numbers of them.
    pub gpu_indices: &'a [usize],
}

/// Tensors by where they are.
#[derive(Default)]
pub(crate) struct Filled {
    pub host: Tensors<Cpu>,
    /// One a GPU.
    pub gpus: Vec<Tensors<Gpu>>,
}

/// Reads all of `wanted`, and checks each shard's identity when its last byte has been read.
pub(crate) fn read(readers: &Readers, wanted: &[Wanted]) -> Result<Filled, LoadError> {
    let (regions, pieces) = cut(wanted)?;
    let work = Work::new(readers, pieces);
    std::thread::scope(|scope| {
        for index in 1..readers.threads {
            let work = &work;
            scope.spawn(move || work.run(index));
        }
        work.run(0);
    });
    work.result()?;
    finish(readers, wanted, regions)
}

fn finish(
    readers: &Readers,
    wanted: &[Wanted],
    regions: Vec<Placed<Region, GpuRegion>>,
) -> Result<Filled, LoadError> {
    let gpu_indices = readers.gpus.map_or(&[][..], |gpus| gpus.gpu_indices);
    let mut filled = Filled {
        gpus: gpu_indices.iter().map(|_| Tensors::default()).collect(),
        ..Filled::default()
    };
    let progress = readers.gpus.map(|gpus| {
        let progress = readers.watch.thread("gpus");
        progress.at(Stage::Read, &format!("the last copies to GPU {:?}", gpus.gpu_indices), 0);
        progress
    });
    if let Some(gpus) = readers.gpus {
        gpus.feed.drain().map_err(|cause| LoadError::Device {
            what: "the last copies to the GPUs".into(),
            cause,
        })?;
    }
    for (tensor, region) in wanted.iter().zip(regions) {
        let entry = tensor.entry;
        let failed = |cause| LoadError::Device { what: format!("tensor {}", entry.name), cause };
        filled.take(tensor, region).map_err(failed)?;
    }
    drop(progress);
    Ok(filled)
}

impl Filled {
    /// Takes a tensor whose bytes are all there.
    fn take(
        &mut self,
        tensor: &Wanted,
        region: Placed<Region, GpuRegion>,
    ) -> Result<(), DeviceError> {
        let Wanted { entry, dtype, .. } = *tensor;
        let (name, shape) = (entry.name.clone(), entry.shape.clone());
        match (&tensor.arena, region) {
            (Placed::Host(_), Placed::Host(region)) => {
                let data = region.finish()?;
                self.host.insert(name, Stored { dtype, shape, data });
            }
            (Placed::Gpu(gpu, arena), Placed::Host(region)) => {
                let mut numbers = vec![0.0; shape.iter().product()];
                widen(dtype, &region.finish()?, &mut numbers);
                let mut vector = arena.zeroed(numbers.len())?;
                vector.upload(0, &numbers, gpu_deadline())?;
                let data = GpuData::Vector(Arc::new(vector));
                self.gpus[*gpu].insert(name, Stored { dtype: Dtype::F32, shape, data });
            }
            (_, Placed::Gpu(gpu, region)) => {
                let data = GpuData::Matrix(region.finish(gpu_deadline())?);
                self.gpus[gpu].insert(name, Stored { dtype, shape, data });
            }
        }
        Ok(())
    }
}

/// Pieces that threads take one after the other.
struct Work<'a> {
    readers: &'a Readers<'a>,
    /// For each device, in the order of the files: every device is fed from the beginning, by its
    /// own readers first.
    queues: Vec<Mutex<std::vec::IntoIter<Piece<'a>>>>,
    /// Pieces of each shard that are not done.
    left: Vec<AtomicUsize>,
    failed: AtomicBool,
    first_error: Mutex<Option<LoadError>>,
}

/// What one thread reads into where numbers change their form.
#[derive(Default)]
struct Staging {
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

impl<'a> Work<'a> {
    fn new(readers: &'a Readers<'a>, mut pieces: Vec<Piece<'a>>) -> Self {
        pieces.sort_by_key(|piece| (piece.target.site(), piece.entry.shard, piece.offset));
        let shards = pieces.iter().map(|piece| piece.entry.shard + 1).max().unwrap_or(0);
        let left: Vec<AtomicUsize> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        for piece in &pieces {
            left[piece.entry.shard].fetch_add(1, Ordering::Relaxed);
        }
        let queues =
            by_site(pieces).into_iter().map(|queue| Mutex::new(queue.into_iter())).collect();
        Work {
            readers,
            queues,
            left,
            failed: AtomicBool::new(false),
            first_error: Mutex::new(None),
        }
    }

    /// One thread's share.
    fn run(&self, index: usize) {
        let progress = self.readers.watch.thread(&format!("{} {index}", self.readers.name));
        let mut staging = Staging::default();
        while let Some(piece) = self.next(index) {
            if let Err(error) = self.piece(piece, &progress, &mut staging) {
                // The error first: others that stop because of the flag report that they were
                // interrupted.
                lock(&self.first_error).get_or_insert(error);
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    fn next(&self, index: usize) -> Option<Piece<'a>> {
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        if self.readers.watch.canceled() {
            lock(&self.first_error).get_or_insert(LoadError::Canceled);
            self.failed.store(true, Ordering::Release);
            return None;
        }
        let queues = self.queues.len();
        (0..queues).find_map(|turn| lock(&self.queues[(index + turn) % queues]).next())
    }

    fn piece(
        &self,
        piece: Piece,
        progress: &ThreadProgress,
        staging: &mut Staging,
    ) -> Result<(), LoadError> {
        let Piece { entry, offset, bytes, target, conversion } = piece;
        let Some(shard) = self.readers.source.shard(entry.shard) else {
            return Err(LoadError::Missing { tensor: entry.name.clone() });
        };
        let reading = Reading { entry, offset, bytes, conversion, shard, progress };
        match (target, self.readers.gpus) {
            (Placed::Host(part), _) => self.to_host(&reading, part, staging)?,
            (Placed::Gpu(gpu, part), Some(gpus)) => {
                self.to_gpu(&reading, gpus, gpu, part, staging)?
            }
            (Placed::Gpu(..), None) => {
                return Err(LoadError::Defect { what: "the way to the GPUs".to_owned() });
            }
        }
        self.shard_progress(entry, progress)
    }

    fn to_host(
        &self,
        reading: &Reading,
        part: Part,
        staging: &mut Staging,
    ) -> Result<(), LoadError> {
        let Reading { entry, offset, shard, progress, .. } = *reading;
        progress.at(Stage::Read, &shard.name, offset);
        match reading.conversion {
            None => part.fill(|buffer| self.read(reading, buffer)),
            Some(conversion) => {
                let Staging { bytes, numbers } = self.stage(reading, staging)?;
                let failed = |cause| LoadError::Device {
                    what: format!("converting tensor {}", entry.name),
                    cause,
                };
                part.fill(|buffer| {
                    conversion.run(self.readers.cpu, bytes, numbers, buffer).map_err(failed)
                })
            }
        }
    }

    fn to_gpu(
        &self,
        reading: &Reading,
        gpus: Gpus,
        gpu: usize,
        part: GpuPart,
        staging: &mut Staging,
    ) -> Result<(), LoadError> {
        let Reading { entry, offset, bytes, conversion, shard, progress } = *reading;
        let gpu_index = gpus.gpu_indices[gpu];
        let failed = |cause| LoadError::Device {
            what: format!("tensor {} to GPU {gpu_index}", entry.name),
            cause,
        };
        let name = &entry.name;
        progress.at(
            Stage::Read,
            &format!("{}, {name}: a pinned buffer for GPU {gpu_index}", shard.name),
            offset,
        );
        // GPUs know nothing of f64, which is rare: it is converted here.
        let here = conversion.filter(|conversion| conversion.from == Dtype::F64);
        let mut fed = gpus.feed.take(here.map_or(bytes, |_| part.len()), offset).map_err(failed)?;
        progress.at(Stage::Read, &format!("{}, {name} for GPU {gpu_index}", shard.name), offset);
        match here {
            None => self.read(reading, fed.bytes())?,
            Some(conversion) => {
                let Staging { bytes, numbers } = self.stage(reading, staging)?;
                conversion.run(self.readers.cpu, bytes, numbers, fed.bytes()).map_err(failed)?;
            }
        }
        progress.at(Stage::Read, &format!("{}, {name}: to GPU {gpu_index}", shard.name), offset);
        let on_gpu = if here.is_some() { None } else { conversion };
        gpus.feed.send(fed, on_gpu, gpu, part).map_err(failed)
    }

    /// The file's bytes in the staging buffer, and room for their numbers.
    fn stage<'s>(
        &self,
        reading: &Reading,
        staging: &'s mut Staging,
    ) -> Result<&'s mut Staging, LoadError> {
        staging.bytes.resize(reading.bytes, 0);
        self.read(reading, &mut staging.bytes)?;
        staging.numbers.resize(reading.bytes / reading.entry.dtype.block_bytes(), 0.0);
        Ok(staging)
    }

    fn read(&self, reading: &Reading, buffer: &mut [u8]) -> Result<(), LoadError> {
        let mut progress = |bytes: usize| {
            reading.progress.advance(bytes as u64);
            !self.failed.load(Ordering::Acquire) && !self.readers.watch.canceled()
        };
        reading.shard.read(&reading.entry.name, buffer, reading.offset, &mut progress)
    }

    fn shard_progress(
        &self,
        entry: &TensorEntry,
        progress: &ThreadProgress,
    ) -> Result<(), LoadError> {
        if self.left[entry.shard].fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        if let Some(shard) = self.readers.source.shard(entry.shard) {
            check_identity(&shard.shard, &entry.name, entry.offset)?;
        }
        progress.item_done();
        Ok(())
    }

    fn result(self) -> Result<(), LoadError> {
        let error = self.first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(()), Err)
    }
}

/// A piece on its way from the file.
struct Reading<'a> {
    entry: &'a TensorEntry,
    offset: u64,
    bytes: usize,
    conversion: Option<Conversion>,
    shard: &'a OpenShard,
    progress: &'a ThreadProgress,
}

/// Cuts sorted pieces where the device changes.
fn by_site(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut queues: Vec<(Site, Vec<Piece>)> = Vec::new();
    for piece in pieces {
        match queues.last_mut() {
            Some((site, queue)) if *site == piece.target.site() => queue.push(piece),
            _ => queues.push((piece.target.site(), vec![piece])),
        }
    }
    queues.into_iter().map(|(_, queue)| queue).collect()
}

/// A lock whose data stay valid when a holder panics: the panic itself ends the scope.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
