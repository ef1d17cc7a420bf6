//! What a pass writes to on each device, and the way of the residual stream between them.

use device::DeviceError;
use device::cpu::{Cpu, Precision};
use device::cuda::{BatchShape, Buffer, Gpu};

use crate::compute::{Compute, GpuRows, GpuSlot, Route, Site, Sites, gpu_deadline};
use crate::layers::{Buffers, Widths};

/// Buffers of all devices of a model.
pub(crate) struct Work {
    pub host: Buffers<Cpu>,
    /// As [`Sites::gpus`].
    pub gpus: Vec<GpuBuffers>,
}

/// Buffers on one GPU.
pub(crate) struct GpuBuffers {
    pub buffers: Buffers<Gpu>,
    /// `[logits_rows_max, vocab]` on the GPU of the head; empty on others.
    pub logits: Buffer<f32>,
    pub rows: GpuRows,
}

/// What crosses from device to device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The residual stream, `[rows, hidden]`.
    Residual,
    /// Those of its rows whose logits are wanted.
    Gathered,
    /// The same after the final norm.
    Normed,
}

/// How large the buffers are.
pub(crate) struct WorkSizes {
    pub widths: Widths,
    /// The largest pass.
    pub rows: BatchShape,
    /// Numbers of its logits.
    pub logits: usize,
    pub precision: Precision,
}

impl GpuBuffers {
    fn new(
        site: &GpuSlot,
        route: &Route,
        place: usize,
        sizes: &WorkSizes,
    ) -> Result<Self, DeviceError> {
        let at = Site::Gpu(place);
        let widths = route.widths(at, sizes.widths);
        let logits = if route.head == at { sizes.logits } else { 0 };
        let forms = Gpu::forms(sizes.precision, route.dtypes(at));
        Ok(GpuBuffers {
            buffers: Buffers::new(&site.gpu, widths, sizes.rows.tokens, forms)?,
            logits: site.gpu.buffer(logits)?,
            rows: GpuRows::new(&site.gpu, sizes.rows)?,
        })
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        let GpuBuffers { buffers, logits, rows } = self;
        buffers.bytes() + Gpu::buffer_bytes(logits) + rows.bytes()
    }
}

impl<C: Compute> Buffers<C> {
    fn stream(&mut self, stream: Stream) -> &mut C::Buffer {
        match stream {
            Stream::Residual => &mut self.x,
            Stream::Gathered => &mut self.mixed,
            Stream::Normed => &mut self.normed,
        }
    }
}

impl Work {
    /// Buffers on each device for what it computes.
    pub fn new(sites: &Sites, route: &Route, sizes: &WorkSizes) -> Result<Self, DeviceError> {
        let gpu = |(place, site)| GpuBuffers::new(site, route, place, sizes);
        let (widths, forms) =
            (route.widths(Site::Host, sizes.widths), Cpu::forms(sizes.precision, []));
        Ok(Work {
            host: Buffers::new(&sites.cpu, widths, sizes.rows.tokens, forms)?,
            gpus: sites.gpus.iter().enumerate().map(gpu).collect::<Result<_, _>>()?,
        })
    }

    /// Copies the first `numbers` of a buffer from one device to another.
    pub fn carry(
        &mut self,
        sites: &Sites,
        stream: Stream,
        (from, to): (Site, Site),
        numbers: usize,
    ) -> Result<(), DeviceError> {
        match (from, to) {
            (Site::Host, Site::Gpu(to)) => {
                let (host, gpu) = (self.host.stream(stream), self.gpus[to].buffers.stream(stream));
                let _waits = sites.gpus[to].waiting("hidden states from the host");
                gpu.resize(numbers)?;
                gpu.upload(0, &host[..numbers], gpu_deadline())?;
            }
            (Site::Gpu(from), Site::Host) => {
                let (gpu, host) =
                    (self.gpus[from].buffers.stream(stream), self.host.stream(stream));
                if host.len() < numbers {
                    host.resize(numbers, 0.0);
                }
                let _waits = sites.gpus[from].waiting("hidden states to the host");
                gpu.download(0..numbers, &mut host[..numbers], gpu_deadline())?;
            }
            (Site::Gpu(a), Site::Gpu(b)) if a != b => self.cross(sites, stream, (a, b), numbers)?,
            _ => {}
        }
        Ok(())
    }

    fn cross(
        &mut self,
        sites: &Sites,
        stream: Stream,
        (from, to): (usize, usize),
        numbers: usize,
    ) -> Result<(), DeviceError> {
        let (Some(link), Ok([source, target])) =
            (sites.link(from, to), self.gpus.get_disjoint_mut([from, to]))
        else {
            return Err(DeviceError::Index {
                what: "gpu of a model",
                index: from.max(to),
                len: sites.gpus.len(),
            });
        };
        let (source, target) = (source.buffers.stream(stream), target.buffers.stream(stream));
        let _waits = sites.gpus[to]
            .waiting(&format!("hidden states from GPU {}", sites.gpus[from].gpu_index));
        target.resize(numbers)?;
        Ok(link.copy(source, 0..numbers, target, 0, gpu_deadline())?)
    }
}
