//! GPUs: those that the driver reports, or virtual ones.

use std::time::{Duration, Instant};

use placement::{ByteSize, GpuSpec, Machine};

use super::roots::Roots;
use super::{ProbeError, pcie};
use crate::cuda::{CudaError, Driver, Gpu, GpuInfo, measure_copies};

/// Value of `--devices`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The GPUs of the machine.
    #[default]
    Found,
    /// No GPUs.
    None,
    /// Virtual GPUs of these sizes in bytes, which are arenas in host memory.
    Virtual(Vec<u64>),
}

impl DeviceSpec {
    /// Parses `virtual:4GiB,4GiB` or `none`.
    ///
    /// # Errors
    /// [`ProbeError::Devices`] with the accepted values.
    pub fn parse(text: &str) -> Result<DeviceSpec, ProbeError> {
        let wrong = |why: String| ProbeError::Devices { found: text.to_owned(), why };
        if text == "none" {
            return Ok(DeviceSpec::None);
        }
        let sizes = text
            .strip_prefix("virtual:")
            .ok_or_else(|| wrong("unknown kind of device".to_owned()))?;
        let size = |size: &str| match ByteSize::parse(size) {
            Ok(size) if size.bytes == 0 => {
                Err(wrong("the size of a device must not be 0".to_owned()))
            }
            Ok(size) => Ok(size.bytes),
            Err(why) => Err(wrong(why)),
        };
        sizes.split(',').map(size).collect::<Result<_, _>>().map(DeviceSpec::Virtual)
    }

    /// The GPUs that replace those of the machine; `None` for [`Self::Found`].
    pub fn given(&self) -> Option<Vec<GpuSpec>> {
        let device =
            |(bytes, i): (&u64, usize)| GpuSpec::virtual_device(format!("virtual:{i}"), *bytes);
        match self {
            DeviceSpec::Found => None,
            DeviceSpec::None => Some(Vec::new()),
            DeviceSpec::Virtual(sizes) => Some(sizes.iter().zip(0..).map(device).collect()),
        }
    }

    /// The GPUs to use. Those that cannot be used are reported in `notes`.
    pub(super) fn gpus(&self, roots: &Roots, notes: &mut Vec<String>) -> Vec<GpuSpec> {
        let found = || found(roots, Driver::open().and_then(|driver| driver.gpus()), notes);
        self.given().unwrap_or_else(found)
    }
}

/// The usable GPUs of the driver. The others are reported in `notes`.
pub(super) fn found(
    roots: &Roots,
    gpus: Result<Vec<GpuInfo>, CudaError>,
    notes: &mut Vec<String>,
) -> Vec<GpuSpec> {
    let gpus = gpus.unwrap_or_else(|error| {
        notes.push(format!("no GPU is used: {error}"));
        Vec::new()
    });
    let (usable, others): (Vec<_>, Vec<_>) =
        gpus.into_iter().partition(|gpu| gpu.unusable.is_none());
    notes.extend(others.iter().map(|gpu| {
        let why = gpu.unusable.as_deref().unwrap_or_default();
        format!("CUDA device {} ({}) is not used: {why}", gpu.ordinal, gpu.name)
    }));
    usable.into_iter().map(|gpu| gpu_spec(roots, gpu)).collect()
}

/// Measures the bandwidth from host memory to each GPU, within a few hundredths of a second per
/// GPU. No measurement starts after `limit` or lasts longer than `limit`. A failed measurement is
/// reported in the machine's notes.
pub fn measure_links(machine: &mut Machine, limit: Duration) {
    const BYTES: usize = 256 << 20;
    let started = Instant::now();
    for gpu in &mut machine.gpus {
        let Some(ordinal) = gpu.ordinal else { continue };
        if started.elapsed() > limit {
            machine.notes.push(format!(
                "the link of CUDA device {ordinal} was not measured: the time limit of {limit:?} was reached"
            ));
            continue;
        }
        let opened = Driver::open().and_then(|driver| Gpu::for_copies(&driver, ordinal, u64::MAX));
        match opened.and_then(|opened| measure_copies(&opened, BYTES, Instant::now() + limit)) {
            Ok(rates) => gpu.link_bytes_per_s = Some(rates.to_gpu as u64).filter(|rate| *rate > 0),
            Err(error) => machine
                .notes
                .push(format!("the link of CUDA device {ordinal} was not measured: {error}")),
        }
    }
}

fn gpu_spec(roots: &Roots, gpu: GpuInfo) -> GpuSpec {
    GpuSpec {
        total_bytes: gpu.total_bytes,
        free_bytes: gpu.free_bytes,
        ordinal: Some(gpu.ordinal),
        uuid: gpu.uuid,
        compute: format!("{}.{}", gpu.compute.0, gpu.compute.1),
        pcie: pcie::link(&roots.sys, &gpu.pci_bus_id),
        bus: gpu.pci_bus_id,
        peers: gpu.peers,
        name: gpu.name,
        ..GpuSpec::default()
    }
}
