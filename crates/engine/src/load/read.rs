//! Parallel large reads: from the shards straight into their final place, or through a bounded buffer where numbers change
//! their form.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use checkpoint::{Dtype, TensorEntry};
use device::cpu::Cpu;
use device::memory::{Arena, Part, Region};
use watch::{Seat, Stage, Watch};

use super::LoadError;
use super::convert::Conversion;
use super::source::{Source, check_identity};
use super::tensors::{Stored, Tensors};

/// Most bytes that one thread reads as one piece: large enough for a disk's full rate, small enough to share a big tensor.
const PIECE_BYTES: usize = 32 << 20;
/// Most bytes of a piece that is converted, and so of each thread's staging buffer.
const STAGED_BYTES: usize = 4 << 20;

/// One tensor that is to be in memory.
pub(crate) struct Wanted<'a> {
    /// Where it is in the files.
    pub entry: &'a TensorEntry,
    /// As what it is kept.
    pub dtype: Dtype,
    /// Where it goes.
    pub arena: &'a Arena,
}

impl Wanted<'_> {
    /// Bytes it takes in memory; `None` if the shape is no whole number of blocks.
    pub fn bytes(&self) -> Option<usize> {
        let elements = self.entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
        usize::try_from(self.dtype.bytes_for(elements)?).ok()
    }

    fn conversion(&self) -> Option<Conversion> {
        (self.entry.dtype != self.dtype).then_some(Conversion { from: self.entry.dtype, to: self.dtype })
    }
}

/// Who reads, and who is told.
pub(crate) struct Readers<'a> {
    /// Converts numbers.
    pub cpu: &'a Cpu,
    pub source: &'a Source,
    pub watch: &'a Watch,
    pub threads: usize,
    /// The seats' names begin with this.
    pub name: &'static str,
}

/// A consecutive part of a tensor.
struct Piece<'a> {
    entry: &'a TensorEntry,
    /// Bytes into the file.
    offset: u64,
    /// Bytes in the file.
    bytes: usize,
    target: Part,
    conversion: Option<Conversion>,
}

/// Reads all of `wanted`, and checks each shard's identity when its last byte has been read.
pub(crate) fn read(readers: &Readers, wanted: &[Wanted]) -> Result<Tensors<Cpu>, LoadError> {
    let (regions, mut pieces) = allocate(wanted)?;
    pieces.sort_by_key(|piece| (piece.entry.shard, piece.offset));
    let work = Work::new(readers, pieces);
    std::thread::scope(|scope| {
        for index in 1..readers.threads {
            let work = &work;
            scope.spawn(move || work.run(index));
        }
        work.run(0);
    });
    work.result()?;
    finish(wanted, regions)
}

/// Cuts a region for each tensor, and pieces that fill it.
fn allocate<'a>(wanted: &[Wanted<'a>]) -> Result<(Vec<Region>, Vec<Piece<'a>>), LoadError> {
    let (mut regions, mut pieces) = (Vec::new(), Vec::new());
    for tensor in wanted {
        let entry = tensor.entry;
        let name = || format!("memory for tensor {}", entry.name);
        let unknown = || LoadError::Conversion {
            tensor: entry.name.clone(),
            found: entry.dtype.name(),
            wanted: tensor.dtype.name(),
        };
        let bytes = tensor.bytes().ok_or_else(unknown)?;
        let conversion = tensor.conversion();
        if conversion.is_some_and(|conversion| !conversion.is_known()) {
            return Err(unknown());
        }
        // Reading directly needs file offset and address to agree modulo the page size; else the phase does no harm.
        let phase = if conversion.is_none() { entry.offset as usize } else { 0 };
        let region = match bytes >= PHASED_BYTES_MIN && conversion.is_none() {
            true => tensor.arena.region_at_phase(bytes, phase),
            false => tensor.arena.region(bytes),
        };
        let mut region = region.map_err(|cause| LoadError::Device { what: name(), cause })?;
        cut(tensor, &mut region, &mut pieces).map_err(|cause| LoadError::Device { what: name(), cause })?;
        regions.push(region);
    }
    Ok((regions, pieces))
}

/// Smaller tensors are not worth the padding that a phase costs.
const PHASED_BYTES_MIN: usize = 1 << 20;
/// The most padding that a phase costs: a page, which is 16 KiB on some machines.
const PHASE_BYTES_MAX: usize = 16 << 10;

/// Bytes of an arena that a tensor may take, padding included.
pub(crate) fn room(entry: &TensorEntry, dtype: Dtype) -> usize {
    let elements = entry.shape.iter().map(|&d| d as u64).product();
    let bytes = dtype.bytes_for(elements).unwrap_or(entry.bytes) as usize;
    let phased = dtype == entry.dtype && bytes >= PHASED_BYTES_MIN;
    bytes + if phased { PHASE_BYTES_MAX + Arena::ALIGNMENT_BYTES } else { Arena::ALIGNMENT_BYTES }
}

fn cut<'a>(tensor: &Wanted<'a>, region: &mut Region, pieces: &mut Vec<Piece<'a>>) -> Result<(), device::DeviceError> {
    let (entry, conversion) = (tensor.entry, tensor.conversion());
    let elements = entry.shape.iter().product::<usize>();
    let (unit, limit) = match conversion {
        None => (1, PIECE_BYTES),
        // Whole 32-blocks of the target, so that every piece can be converted by itself.
        Some(_) => (Dtype::Q8_0.block_elements() * entry.dtype.block_bytes(), STAGED_BYTES),
    };
    let total = entry.bytes as usize;
    let step = (limit / unit * unit).max(unit);
    let mut done = 0;
    while done < total {
        let bytes = step.min(total - done);
        // Source and target stand in a fixed proportion; the last piece takes what is left.
        let target = match conversion {
            None => bytes,
            Some(_) if done + bytes == total => region.len() - proportional(done, total, region.len()),
            Some(_) => proportional(bytes, total, region.len()),
        };
        debug_assert!(conversion.is_none() || elements > 0);
        let target = region.part(target)?;
        pieces.push(Piece { entry, offset: entry.offset + done as u64, bytes, target, conversion });
        done += bytes;
    }
    Ok(())
}

/// `bytes * to / from` without overflow.
fn proportional(bytes: usize, from: usize, to: usize) -> usize {
    (bytes as u128 * to as u128 / from as u128) as usize
}

fn finish(wanted: &[Wanted], regions: Vec<Region>) -> Result<Tensors<Cpu>, LoadError> {
    let mut tensors = Tensors::default();
    for (tensor, region) in wanted.iter().zip(regions) {
        let entry = tensor.entry;
        let unfilled = |cause| LoadError::Device { what: format!("tensor {}", entry.name), cause };
        let data = region.finish().map_err(unfilled)?;
        tensors.insert(entry.name.clone(), Stored { dtype: tensor.dtype, shape: entry.shape.clone(), data });
    }
    Ok(tensors)
}

/// Pieces that threads take one after the other, in the order of the files.
struct Work<'a> {
    readers: &'a Readers<'a>,
    pieces: Mutex<std::vec::IntoIter<Piece<'a>>>,
    /// Pieces of each shard that are not done.
    left: Vec<AtomicUsize>,
    failed: AtomicBool,
    first_error: Mutex<Option<LoadError>>,
}

impl<'a> Work<'a> {
    fn new(readers: &'a Readers<'a>, pieces: Vec<Piece<'a>>) -> Self {
        let shards = pieces.last().map_or(0, |last| last.entry.shard + 1);
        let left: Vec<AtomicUsize> = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        for piece in &pieces {
            left[piece.entry.shard].fetch_add(1, Ordering::Relaxed);
        }
        let pieces = Mutex::new(pieces.into_iter());
        Work { readers, pieces, left, failed: AtomicBool::new(false), first_error: Mutex::new(None) }
    }

    /// One thread's share.
    fn run(&self, index: usize) {
        let seat = self.readers.watch.seat(&format!("{} {index}", self.readers.name));
        let (mut staging, mut numbers) = (Vec::new(), Vec::new());
        while let Some(piece) = self.next() {
            if let Err(error) = self.piece(piece, &seat, &mut staging, &mut numbers) {
                // The error first: others that stop because of the flag report that they were interrupted.
                lock(&self.first_error).get_or_insert(error);
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    fn next(&self) -> Option<Piece<'a>> {
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        if self.readers.watch.cancelled() {
            lock(&self.first_error).get_or_insert(LoadError::Cancelled);
            self.failed.store(true, Ordering::Release);
            return None;
        }
        lock(&self.pieces).next()
    }

    fn piece(&self, piece: Piece, seat: &Seat, staging: &mut Vec<u8>, numbers: &mut Vec<f32>) -> Result<(), LoadError> {
        let Piece { entry, offset, bytes, target, conversion } = piece;
        let Some(shard) = self.readers.source.shard(entry.shard) else {
            return Err(LoadError::Missing { tensor: entry.name.clone() });
        };
        seat.at(Stage::Read, &shard.name, offset);
        let mut progress = |bytes: usize| {
            seat.advance(bytes as u64);
            !self.failed.load(Ordering::Acquire) && !self.readers.watch.cancelled()
        };
        match conversion {
            None => target.fill(|buffer| shard.read(&entry.name, buffer, offset, &mut progress))?,
            Some(conversion) => {
                staging.resize(bytes, 0);
                shard.read(&entry.name, staging, offset, &mut progress)?;
                numbers.resize(bytes / entry.dtype.block_bytes(), 0.0);
                let failed = |cause| LoadError::Device { what: format!("converting tensor {}", entry.name), cause };
                target.fill(|buffer| conversion.run(self.readers.cpu, staging, numbers, buffer).map_err(failed))?;
            }
        }
        self.shard_progress(entry, seat)
    }

    fn shard_progress(&self, entry: &TensorEntry, seat: &Seat) -> Result<(), LoadError> {
        if self.left[entry.shard].fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        if let Some(shard) = self.readers.source.shard(entry.shard) {
            check_identity(&shard.shard, &entry.name, entry.offset)?;
        }
        seat.item_done();
        Ok(())
    }

    fn result(self) -> Result<(), LoadError> {
        let error = self.first_error.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(()), Err)
    }
}

/// A lock whose data stay valid when a holder panics: the panic itself ends the scope.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
