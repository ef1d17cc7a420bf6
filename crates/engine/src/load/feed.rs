//! The way of weights to the GPUs: readers fill pinned buffers, GPUs copy from them on their own,
//! and numbers that change their form do so on the GPU.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use device::DeviceError;
use device::cuda::{Buffer, GpuPart, PinnedBuffer, PinnedRing};

use super::LoadError;
use super::convert::Conversion;
use crate::compute::{GpuSlot, gpu_deadline};

/// Bytes of a pinned buffer, and how many there are: what the plan counts, whatever the number of
/// GPUs.
const BUFFER_BYTES: usize = placement::GPU_STAGING_BYTES as usize;
const BUFFERS: usize = placement::PINNED_RING_BYTES as usize / BUFFER_BYTES;

/// A direct read wants address and offset to agree modulo the page size, which is 16 KiB on some
/// machines.
const PAGE_BYTES: usize = 16 << 10;

/// Most bytes of a file that go through a pinned buffer at a time.
pub(crate) const FED_BYTES: usize = BUFFER_BYTES - PAGE_BYTES;

/// The pinned buffers of a load, and on each GPU the place where numbers wait for their conversion.
pub(crate) struct Feed {
    ring: PinnedRing,
    raw: Vec<Mutex<Buffer<u8>>>,
}

/// A pinned buffer in the hands of a reader.
pub(crate) struct Fed {
    buffer: PinnedBuffer,
    /// Where the file's bytes are in it.
    range: Range<usize>,
}

impl Feed {
    /// `None` where there is no GPU.
    pub fn new(gpus: &[GpuSlot]) -> Result<Option<Self>, LoadError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |cause: device::cuda::CudaError| LoadError::Device { what, cause: cause.into() }
        };
        let Some(first) = gpus.first() else { return Ok(None) };
        let ring = PinnedRing::new(&first.gpu, BUFFERS, BUFFER_BYTES)
            .map_err(failed("pinned memory for weights"))?;
        let raw = |site: &GpuSlot| {
            let what = format!("a buffer for conversions on GPU {}", site.gpu_index);
            Buffer::new(&site.gpu, BUFFER_BYTES).map(Mutex::new).map_err(failed(&what))
        };
        Ok(Some(Feed { ring, raw: gpus.iter().map(raw).collect::<Result<_, _>>()? }))
    }

    /// A buffer for `bytes` bytes from `offset` of a file on, as soon as one is free.
    pub fn take(&self, bytes: usize, offset: u64) -> Result<Fed, DeviceError> {
        let buffer = self.ring.acquire(gpu_deadline())?;
        let start = (offset % PAGE_BYTES as u64) as usize;
        Ok(Fed { buffer, range: start..start + bytes })
    }

    /// Queues the copy of what was read to its last place, or its conversion there.
    pub fn send(
        &self,
        fed: Fed,
        conversion: Option<Conversion>,
        gpu: usize,
        part: GpuPart,
    ) -> Result<(), DeviceError> {
        let Fed { buffer, range } = fed;
        let Some(Conversion { from, to }) = conversion else {
            return Ok(buffer.filled().copy(range, part)?);
        };
        // Held until the copy and the kernel are queued, in this order; the next copy to the same
        // place is queued after them.
        let mut raw = self.raw[gpu].lock().unwrap_or_else(PoisonError::into_inner);
        raw.resize(range.len())?;
        buffer.filled().copy_for_kernels(range, &mut raw, 0)?;
        let device = part.gpu().clone();
        part.fill(|span| device.convert(from, &raw, to, span))
    }

    /// Waits until every GPU has everything.
    pub fn drain(&self) -> Result<(), DeviceError> {
        Ok(self.ring.drain(gpu_deadline())?)
    }
}

impl Fed {
    /// For the file's bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}
