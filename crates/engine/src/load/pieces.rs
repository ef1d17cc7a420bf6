//! Tensors that are to be in memory, cut into pieces that readers can fill one by one.

use checkpoint::{Dtype, TensorEntry};
use device::DeviceError;
use device::cuda::{GpuArena, GpuPart, GpuRegion};
use device::memory::{Arena, Part, Region};

use super::LoadError;
use super::convert::Conversion;
use super::feed::FED_BYTES;
use crate::compute::Placed;

/// Most bytes that one thread reads as one piece: large enough for a disk's full rate, small enough
/// to share a big tensor.
const PIECE_BYTES: usize = 32 << 20;
/// Most bytes of a piece that is converted, and so of each thread's staging buffer.
const STAGED_BYTES: usize = 4 << 20;
/// Smaller tensors are not worth the padding that a phase costs.
const PHASED_BYTES_MIN: usize = 1 << 20;
/// The most padding that a phase costs: a page, which is 16 KiB on some machines.
const PHASE_BYTES_MAX: usize = 16 << 10;

/// One tensor that is to be in memory.
pub(crate) struct Wanted<'a> {
    /// Where it is in the files.
    pub entry: &'a TensorEntry,
    /// As what it is kept.
    pub dtype: Dtype,
    /// Where it goes.
    pub arena: Placed<&'a Arena, &'a GpuArena>,
}

/// A consecutive part of a tensor.
pub(crate) struct Piece<'a> {
    pub entry: &'a TensorEntry,
    /// Bytes into the file.
    pub offset: u64,
    /// Bytes in the file.
    pub bytes: usize,
    pub target: Placed<Part, GpuPart>,
    pub conversion: Option<Conversion>,
}

impl Wanted<'_> {
    /// Bytes it takes in memory; `None` if the shape is no whole number of blocks.
    fn bytes(&self) -> Option<usize> {
        let elements = self.entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
        usize::try_from(self.dtype.bytes_for(elements)?).ok()
    }

    fn is_vector_on_gpu(&self) -> bool {
        matches!(self.arena, Placed::Gpu(..)) && self.entry.shape.len() < 2
    }

    fn conversion(&self) -> Option<Conversion> {
        (self.entry.dtype != self.dtype)
            .then_some(Conversion { from: self.entry.dtype, to: self.dtype })
    }
}

/// Where tensors go, each as a whole.
pub(crate) type Regions = Vec<Placed<Region, GpuRegion>>;

/// Cuts a region for each tensor, and pieces that fill it. Vectors for GPUs (norms, biases) arrive
/// in host memory: they are small, and change to f32 on their way on.
pub(crate) fn cut<'a>(wanted: &[Wanted<'a>]) -> Result<(Regions, Vec<Piece<'a>>), LoadError> {
    let (mut regions, mut pieces) = (Vec::new(), Vec::new());
    let vectors =
        Arena::new(wanted.iter().filter(|tensor| tensor.is_vector_on_gpu()).map(vector_room).sum());
    let vectors = vectors.map_err(|cause| LoadError::Device {
        what: "memory for vectors on their way".into(),
        cause,
    })?;
    for tensor in wanted {
        let entry = tensor.entry;
        let failed =
            |cause| LoadError::Device { what: format!("memory for tensor {}", entry.name), cause };
        let unknown = || LoadError::Conversion {
            tensor: entry.name.clone(),
            found: entry.dtype.name(),
            wanted: tensor.dtype.name(),
        };
        let bytes = tensor.bytes().ok_or_else(unknown)?;
        if tensor.conversion().is_some_and(|conversion| !conversion.is_known()) {
            return Err(unknown());
        }
        let mut region = region(tensor, bytes, &vectors).map_err(failed)?;
        cut_one(tensor, &mut region, &mut pieces).map_err(failed)?;
        regions.push(region);
    }
    Ok((regions, pieces))
}

fn vector_room(tensor: &Wanted) -> usize {
    room(tensor.entry, tensor.dtype)
}

fn region(
    tensor: &Wanted,
    bytes: usize,
    vectors: &Arena,
) -> Result<Placed<Region, GpuRegion>, DeviceError> {
    Ok(match tensor.arena {
        _ if tensor.is_vector_on_gpu() => Placed::Host(vectors.region(bytes)?),
        // Reading directly needs file offset and address to agree modulo the page size; else the
        // phase does no harm.
        Placed::Host(arena) if bytes >= PHASED_BYTES_MIN && tensor.conversion().is_none() => {
            Placed::Host(arena.region_at_phase(bytes, tensor.entry.offset as usize)?)
        }
        Placed::Host(arena) => Placed::Host(arena.region(bytes)?),
        Placed::Gpu(gpu, arena) => Placed::Gpu(gpu, arena.region(bytes)?),
    })
}

/// Bytes of a host arena that a tensor may take, padding included.
pub(crate) fn room(entry: &TensorEntry, dtype: Dtype) -> usize {
    let bytes = kept_bytes(entry, dtype);
    let phased = dtype == entry.dtype && bytes >= PHASED_BYTES_MIN;
    bytes + if phased { PHASE_BYTES_MAX + Arena::ALIGNMENT_BYTES } else { Arena::ALIGNMENT_BYTES }
}

/// The same on a GPU, where vectors are f32.
pub(crate) fn gpu_room(entry: &TensorEntry, dtype: Dtype) -> usize {
    let bytes = if entry.shape.len() < 2 {
        kept_bytes(entry, Dtype::F32)
    } else {
        kept_bytes(entry, dtype)
    };
    bytes.next_multiple_of(GpuArena::ALIGNMENT_BYTES)
}

fn kept_bytes(entry: &TensorEntry, dtype: Dtype) -> usize {
    let elements = entry.shape.iter().map(|&d| d as u64).product();
    dtype.bytes_for(elements).unwrap_or(entry.bytes) as usize
}

fn cut_one<'a>(
    tensor: &Wanted<'a>,
    region: &mut Placed<Region, GpuRegion>,
    pieces: &mut Vec<Piece<'a>>,
) -> Result<(), DeviceError> {
    let (entry, conversion) = (tensor.entry, tensor.conversion());
    // Whole 32-blocks of the target, so that every piece can be converted by itself.
    let unit = conversion.map_or(1, |_| Dtype::Q8_0.block_elements() * entry.dtype.block_bytes());
    let (limit, target_bytes) = match region {
        Placed::Host(region) => {
            (if conversion.is_none() { PIECE_BYTES } else { STAGED_BYTES }, region.len())
        }
        Placed::Gpu(_, region) if entry.dtype == Dtype::F64 => (STAGED_BYTES, region.len()),
        Placed::Gpu(_, region) => (FED_BYTES, region.len()),
    };
    let total = entry.bytes as usize;
    let step = (limit / unit * unit).max(unit);
    let mut done = 0;
    while done < total {
        let bytes = step.min(total - done);
        // Source and target stand in a fixed proportion; the last piece takes what is left.
        let target = match conversion {
            None => bytes,
            Some(_) if done + bytes == total => {
                target_bytes - proportional(done, total, target_bytes)
            }
            Some(_) => proportional(bytes, total, target_bytes),
        };
        let target = match region {
            Placed::Host(region) => Placed::Host(region.part(target)?),
            Placed::Gpu(gpu, region) => Placed::Gpu(*gpu, region.part(target)?),
        };
        pieces.push(Piece { entry, offset: entry.offset + done as u64, bytes, target, conversion });
        done += bytes;
    }
    Ok(())
}

/// `bytes * to / from` without overflow.
fn proportional(bytes: usize, from: usize, to: usize) -> usize {
    (bytes as u128 * to as u128 / from as u128) as usize
}
