//! [`GpuUploader`]: weights are read into pinned buffers, which the GPUs copy from asynchronously;
//! dtypes are converted on the GPU.

use base::unpoisoned;
use std::ops::Range;
use std::sync::Mutex;

use device::DeviceError;
use device::cpu::DtypeConversion;
use device::cuda::{Buffer, CudaError, GpuPart, PinnedBuffer, PinnedRing};

use super::LoadError;
use crate::devices::{GpuSlot, gpu_deadline};

/// Bytes and number of the pinned buffers, as planned; independent of the number of GPUs.
const BUFFER_BYTES: usize = placement::GPU_STAGING_BYTES as usize;
const BUFFERS: usize = placement::PINNED_RING_BYTES as usize / BUFFER_BYTES;

/// Direct reads require that address and file offset agree modulo the page size, which is 16 KiB on
/// some machines.
const PAGE_BYTES: usize = 16 << 10;

/// Maximum bytes of file data in one pinned buffer.
pub(crate) const UPLOAD_BYTES_MAX: usize = BUFFER_BYTES - PAGE_BYTES;

/// The pinned buffers of a load, and a buffer on each GPU for bytes that await their conversion.
pub(crate) struct GpuUploader {
    ring: PinnedRing,
    unconverted: Vec<Mutex<Buffer<u8>>>,
}

/// A pinned buffer that a reader thread fills.
pub(crate) struct StagingBuffer {
    buffer: PinnedBuffer,
    /// The part of the buffer that holds the file's bytes.
    range: Range<usize>,
}

impl GpuUploader {
    /// `None` without GPUs.
    pub fn new(gpus: &[GpuSlot]) -> Result<Option<Self>, LoadError> {
        let Some(first) = gpus.first() else { return Ok(None) };
        let ring =
            PinnedRing::new(&first.gpu, BUFFERS, BUFFER_BYTES).map_err(|cause: CudaError| {
                LoadError::device("pinned memory for weights", cause.into())
            })?;
        let unconverted = |slot: &GpuSlot| {
            Buffer::new(&slot.gpu, BUFFER_BYTES).map(Mutex::new).map_err(|cause| {
                let what = format!("a buffer for conversions on GPU {}", slot.gpu_index);
                LoadError::device(what, cause.into())
            })
        };
        let unconverted = gpus.iter().map(unconverted).collect::<Result<_, _>>()?;
        Ok(Some(GpuUploader { ring, unconverted }))
    }

    /// Waits for a free buffer for the `bytes` bytes at `offset` of a file.
    pub fn acquire(&self, bytes: usize, offset: u64) -> Result<StagingBuffer, DeviceError> {
        let buffer = self.ring.acquire(gpu_deadline())?;
        let start = (offset % PAGE_BYTES as u64) as usize;
        Ok(StagingBuffer { buffer, range: start..start + bytes })
    }

    /// Queues the copy of a filled buffer to `part`, with an optional conversion on the GPU.
    pub fn upload(
        &self,
        staging: StagingBuffer,
        conversion: Option<DtypeConversion>,
        gpu: usize,
        part: GpuPart,
    ) -> Result<(), DeviceError> {
        let StagingBuffer { buffer, range } = staging;
        let Some(DtypeConversion { from, to }) = conversion else {
            return Ok(buffer.filled().copy(range, part)?);
        };
        // The lock is held until the copy and the conversion are queued in this order, so that the
        // next copy to the same buffer is queued after them.
        let mut unconverted = unpoisoned(self.unconverted[gpu].lock());
        unconverted.resize(range.len())?;
        buffer.filled().copy_for_kernels(range, &mut unconverted, 0)?;
        let gpu = part.gpu().clone();
        part.fill(|span| gpu.convert(from, &unconverted, to, span))
    }

    /// Waits until all queued copies are done.
    pub fn drain(&self) -> Result<(), DeviceError> {
        Ok(self.ring.drain(gpu_deadline())?)
    }
}

impl StagingBuffer {
    /// The bytes to fill.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}
