//! [`DeviceSet`]: the CPU, the GPUs and the links between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use device::DeviceError;
use device::cpu::Cpu;
use device::cuda::{Gpu, GpuRopeTable, LinkPath, PeerLink};
use watch::{Stage, ThreadProgress, Watch};

use super::{DeviceId, ModulePlacement};

/// Limit on every wait for a GPU. It protects callers that run without a supervisor, whose stall
/// limit is shorter.
const GPU_TIMEOUT: Duration = Duration::from_secs(600);

/// The deadline for a wait on a GPU that begins now.
pub(crate) fn gpu_deadline() -> Instant {
    Instant::now() + GPU_TIMEOUT
}

/// All devices that compute a part of one model.
pub(crate) struct DeviceSet {
    pub cpu: Cpu,
    pub gpus: Vec<GpuSlot>,
    /// Links between GPUs, by (source, target) index in `gpus`.
    links: BTreeMap<(usize, usize), PeerLink>,
}

/// A GPU that computes a part of the model.
pub(crate) struct GpuSlot {
    /// The GPU's number in the placement plan.
    pub gpu_index: usize,
    pub gpu: Gpu,
    pub rope: GpuRopeTable,
    pub watch: Watch,
}

impl GpuSlot {
    /// Reports to the watch that a thread waits for this GPU, until the returned value is dropped.
    pub fn waiting(&self, what: &str) -> ThreadProgress {
        let progress = self.watch.thread(&format!("GPU {}", self.gpu_index));
        progress.at(Stage::Generate, what, 0);
        progress
    }
}

impl DeviceSet {
    /// Opens a link for every pair of GPUs that compute consecutive modules.
    pub fn new(
        cpu: Cpu,
        gpus: Vec<GpuSlot>,
        placement: &ModulePlacement,
    ) -> Result<Self, DeviceError> {
        let mut links = BTreeMap::new();
        for (device, next) in placement.in_order().zip(placement.in_order().skip(1)) {
            if let (DeviceId::Gpu(from), DeviceId::Gpu(to)) = (device, next)
                && from != to
                && !links.contains_key(&(from, to))
            {
                let link = PeerLink::open(&gpus[from].gpu, &gpus[to].gpu, gpu_deadline())?;
                links.insert((from, to), link);
            }
        }
        Ok(DeviceSet { cpu, gpus, links })
    }

    /// A phrase for each link, such as `from GPU 0 to GPU 1 directly`, or with the reason why its
    /// copies go through the host.
    pub fn describe_links(&self) -> impl Iterator<Item = String> {
        self.links.iter().map(|((from, to), link)| {
            let (from, to) = (self.gpus[*from].gpu_index, self.gpus[*to].gpu_index);
            match link.path() {
                LinkPath::Direct => format!("from GPU {from} to GPU {to} directly"),
                LinkPath::Staged { why } => {
                    format!("from GPU {from} to GPU {to} through the host: {why}")
                }
            }
        })
    }

    /// The link between two GPUs that compute consecutive modules.
    pub fn link(&self, from: usize, to: usize) -> Option<&PeerLink> {
        self.links.get(&(from, to))
    }

    /// The kernels that compute the model, as recorded in provenance: those of the GPUs, then the
    /// CPU's. The output bits of a module depend on its kernels, so unless a single kind of GPU
    /// computes everything, each kind of GPU is listed with its modules:
    /// `cuda-sm90@0-59,norm+avx512bf16`.
    pub fn kernel_set(&self, placement: &ModulePlacement) -> String {
        let gpu_kernels: Vec<String> =
            self.gpus.iter().map(|slot| gpu_kernel_set(&slot.gpu)).collect();
        kernel_set_name(&gpu_kernels, self.cpu.kernel_set().name(), placement)
    }
}

/// The name of a GPU's kernels. It includes the compute capability, since the same source compiled
/// for another architecture may give other bits.
fn gpu_kernel_set(gpu: &Gpu) -> String {
    let (major, minor) = gpu.info().compute;
    format!("cuda-sm{major}{minor}")
}

/// See [`DeviceSet::kernel_set`]. `gpus` has the name of each GPU's kernels, `cpu` is the name of
/// the CPU's.
fn kernel_set_name(gpus: &[String], cpu: &str, placement: &ModulePlacement) -> String {
    let computed = || placement.layers.iter().chain([&placement.final_norm, &placement.lm_head]);
    let kernels_on =
        |device: &DeviceId| if let DeviceId::Gpu(gpu) = device { gpus.get(*gpu) } else { None };
    let kinds: BTreeSet<&String> = computed().filter_map(kernels_on).collect();
    let single = kinds.len() == 1 && computed().all(|device| kernels_on(device).is_some());
    let modules = |kind: &String| {
        let layers: Vec<usize> = (0..placement.layers.len())
            .filter(|&layer| kernels_on(&placement.layers[layer]) == Some(kind))
            .collect();
        let ranges = layers.chunk_by(|a, b| a + 1 == *b).map(|range| match range {
            [one] => one.to_string(),
            range => format!("{}-{}", range[0], range[range.len() - 1]),
        });
        let ends = [(&placement.final_norm, "norm"), (&placement.lm_head, "head")];
        let ends = ends
            .into_iter()
            .filter(|(device, _)| kernels_on(device) == Some(kind))
            .map(|(_, name)| name.to_owned());
        ranges.chain(ends).collect::<Vec<_>>().join(",")
    };
    let name = |kind: &String| {
        if single { kind.clone() } else { format!("{kind}@{}", modules(kind)) }
    };
    kinds.iter().map(|kind| name(kind)).chain([cpu.to_owned()]).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_set_lists_the_modules_of_each_kind_of_gpu() {
        let on = |devices: &[Option<usize>]| {
            let device = |gpu: &Option<usize>| gpu.map_or(DeviceId::Cpu, DeviceId::Gpu);
            let [layers @ .., final_norm, lm_head] = devices else {
                panic!("expected layers, norm and head")
            };
            ModulePlacement {
                embedding: DeviceId::Cpu,
                layers: layers.iter().map(device).collect(),
                has_experts: false,
                final_norm: device(final_norm),
                lm_head: device(lm_head),
                matrix_dtypes: BTreeSet::new(),
            }
        };
        let gpus = ["cuda-sm90".to_owned(), "cuda-sm90".to_owned(), "cuda-sm80".to_owned()];
        let name = |devices: &[Option<usize>]| kernel_set_name(&gpus, "avx2", &on(devices));
        assert_eq!(name(&[None; 4]), "avx2");
        assert_eq!(name(&[Some(0), Some(1), Some(1), Some(0)]), "cuda-sm90+avx2");
        assert_eq!(name(&[Some(0), Some(1), None, None, None]), "cuda-sm90@0-1+avx2");
        assert_eq!(name(&[Some(0), None, Some(0), Some(0), None]), "cuda-sm90@0,2,norm+avx2");
        assert_eq!(
            name(&[Some(0), Some(2), Some(2), Some(2)]),
            "cuda-sm80@1,norm,head+cuda-sm90@0+avx2"
        );
    }
}
