//! Division of tensors into chunks, which reader threads fill independently.

use checkpoint::{Dtype, TensorEntry};
use device::DeviceError;
use device::cpu::DtypeConversion;
use device::cuda::{GpuArena, GpuPart, GpuRegion};
use device::memory::{Arena, Part, Region};

use super::LoadError;
use super::plan::bytes_in_memory;
use super::upload::UPLOAD_BYTES_MAX;
use crate::devices::OnDevice;

/// Maximum bytes of a chunk that is read into host memory without conversion: large enough for a
/// disk's full bandwidth, small enough to divide a large tensor among threads.
const CHUNK_BYTES_MAX: usize = 32 << 20;
/// Maximum bytes (in the file) of a chunk that is converted on the host, and so of each thread's
/// conversion buffer.
const CONVERTED_CHUNK_BYTES_MAX: usize = 4 << 20;
/// Minimum bytes of a tensor that is aligned for direct reads, which costs up to a page of padding.
const PHASED_BYTES_MIN: usize = 1 << 20;
/// The largest supported page size: some machines have pages of 16 KiB.
const PAGE_BYTES_MAX: usize = 16 << 10;

/// A tensor to read, and the arena that its data are read into.
pub(crate) struct TensorRequest<'a> {
    pub entry: &'a TensorEntry,
    /// The dtype in memory.
    pub dtype: Dtype,
    pub arena: OnDevice<&'a Arena, &'a GpuArena>,
}

/// A contiguous part of a tensor.
pub(crate) struct TensorChunk<'a> {
    pub entry: &'a TensorEntry,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Size in the file, in bytes.
    pub bytes: usize,
    pub target: OnDevice<Part, GpuPart>,
    pub conversion: Option<DtypeConversion>,
}

impl TensorRequest<'_> {
    /// Bytes in memory; `None` if the number of elements is not a multiple of the quantization
    /// block.
    fn bytes(&self) -> Option<usize> {
        let elements = self.entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
        usize::try_from(self.dtype.bytes_for(elements)?).ok()
    }

    fn is_vector_on_gpu(&self) -> bool {
        matches!(self.arena, OnDevice::Gpu(..)) && self.entry.shape.len() < 2
    }

    fn conversion(&self) -> Option<DtypeConversion> {
        (self.entry.dtype != self.dtype)
            .then_some(DtypeConversion { from: self.entry.dtype, to: self.dtype })
    }
}

/// The memory of each requested tensor, in the order of the requests.
pub(crate) type Regions = Vec<OnDevice<Region, GpuRegion>>;

/// Allocates a region for each tensor in its arena and divides it into chunks. Vectors for GPUs
/// (norms, biases) get host memory first: they are small, and are converted to f32 before the
/// upload.
pub(crate) fn divide<'a>(
    requests: &[TensorRequest<'a>],
) -> Result<(Regions, Vec<TensorChunk<'a>>), LoadError> {
    let (mut regions, mut chunks) = (Vec::new(), Vec::new());
    let vectors_bytes = requests
        .iter()
        .filter(|tensor| tensor.is_vector_on_gpu())
        .map(|tensor| host_capacity(tensor.entry, tensor.dtype))
        .sum();
    let vectors = Arena::new(vectors_bytes)
        .map_err(|cause| LoadError::device("host memory for the vectors of GPUs", cause))?;
    for tensor in requests {
        let entry = tensor.entry;
        let failed = |cause| LoadError::device(format!("memory for tensor {}", entry.name), cause);
        let unsupported = || LoadError::Conversion {
            tensor: entry.name.clone(),
            found: entry.dtype.name(),
            requested: tensor.dtype.name(),
        };
        let bytes = tensor.bytes().ok_or_else(unsupported)?;
        if tensor.conversion().is_some_and(|conversion| !conversion.is_supported()) {
            return Err(unsupported());
        }
        let mut region = region(tensor, bytes, &vectors).map_err(failed)?;
        divide_tensor(tensor, &mut region, &mut chunks).map_err(failed)?;
        regions.push(region);
    }
    Ok((regions, chunks))
}

fn region(
    tensor: &TensorRequest,
    bytes: usize,
    vectors: &Arena,
) -> Result<OnDevice<Region, GpuRegion>, DeviceError> {
    Ok(match tensor.arena {
        _ if tensor.is_vector_on_gpu() => OnDevice::Cpu(vectors.region(bytes)?),
        // Direct reads require that file offset and address are equal modulo the page size;
        // buffered reads work either way.
        OnDevice::Cpu(arena) if bytes >= PHASED_BYTES_MIN && tensor.conversion().is_none() => {
            OnDevice::Cpu(arena.region_at_phase(bytes, tensor.entry.offset as usize)?)
        }
        OnDevice::Cpu(arena) => OnDevice::Cpu(arena.region(bytes)?),
        OnDevice::Gpu(gpu, arena) => OnDevice::Gpu(gpu, arena.region(bytes)?),
    })
}

/// Upper limit of the bytes that a tensor takes in a host arena, padding included.
pub(crate) fn host_capacity(entry: &TensorEntry, dtype: Dtype) -> usize {
    let bytes = bytes_in_memory(entry, dtype) as usize;
    let phased = dtype == entry.dtype && bytes >= PHASED_BYTES_MIN;
    bytes + if phased { PAGE_BYTES_MAX + Arena::ALIGNMENT_BYTES } else { Arena::ALIGNMENT_BYTES }
}

/// Bytes that a tensor takes in a GPU arena, padding included. Vectors are f32 on GPUs.
pub(crate) fn gpu_capacity(entry: &TensorEntry, dtype: Dtype) -> usize {
    let dtype = if entry.shape.len() < 2 { Dtype::F32 } else { dtype };
    (bytes_in_memory(entry, dtype) as usize).next_multiple_of(GpuArena::ALIGNMENT_BYTES)
}

fn divide_tensor<'a>(
    tensor: &TensorRequest<'a>,
    region: &mut OnDevice<Region, GpuRegion>,
    chunks: &mut Vec<TensorChunk<'a>>,
) -> Result<(), DeviceError> {
    let (entry, conversion) = (tensor.entry, tensor.conversion());
    // Chunks consist of whole quantization blocks of the target dtype, so that each chunk can be
    // converted independently of the others.
    let unit = conversion.map_or(1, |_| Dtype::Q8_0.block_elements() * entry.dtype.block_bytes());
    let (limit, target_total) = match region {
        OnDevice::Cpu(region) => {
            let limit =
                if conversion.is_none() { CHUNK_BYTES_MAX } else { CONVERTED_CHUNK_BYTES_MAX };
            (limit, region.len())
        }
        OnDevice::Gpu(_, region) if entry.dtype == Dtype::F64 => {
            (CONVERTED_CHUNK_BYTES_MAX, region.len())
        }
        OnDevice::Gpu(_, region) => (UPLOAD_BYTES_MAX, region.len()),
    };
    let total = entry.bytes as usize;
    let step = (limit / unit * unit).max(unit);
    let mut done = 0;
    while done < total {
        let bytes = step.min(total - done);
        // The target's bytes are proportional to the file's; the last chunk takes the rounding
        // remainder.
        let target_bytes = match conversion {
            None => bytes,
            Some(_) if done + bytes == total => {
                target_total - proportional(done, total, target_total)
            }
            Some(_) => proportional(bytes, total, target_total),
        };
        let target = match region {
            OnDevice::Cpu(region) => OnDevice::Cpu(region.part(target_bytes)?),
            OnDevice::Gpu(gpu, region) => OnDevice::Gpu(*gpu, region.part(target_bytes)?),
        };
        let offset = entry.offset + done as u64;
        chunks.push(TensorChunk { entry, offset, bytes, target, conversion });
        done += bytes;
    }
    Ok(())
}

/// `bytes * to / from` without overflow.
fn proportional(bytes: usize, from: usize, to: usize) -> usize {
    (bytes as u128 * to as u128 / from as u128) as usize
}
