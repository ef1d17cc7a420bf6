//! The devices of one model, and where its parts are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use checkpoint::Dtype;
use device::DeviceError;
use device::cpu::Cpu;
use device::cuda::{Gpu, GpuRopeTable, LinkPath, PeerLink};
use watch::{Stage, ThreadProgress, Watch};

use crate::layers::Widths;

/// The longest that anything waits for a GPU. A supervisor's stall limit is shorter: this one is
/// for callers without a supervisor.
const GPU_LIMIT: Duration = Duration::from_secs(600);

/// When a wait for a GPU that begins now has to end.
pub(crate) fn gpu_deadline() -> Instant {
    Instant::now() + GPU_LIMIT
}

/// A device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    /// The CPU.
    Host,
    /// One of the model's GPUs, by its place in [`Sites::gpus`].
    Gpu(usize),
}

/// Where each module of a model is.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub embedding: Site,
    pub blocks: Vec<Site>,
    pub norm: Site,
    pub head: Site,
    /// What matrices are kept in on each device.
    pub dtypes: BTreeSet<(Site, Dtype)>,
}

impl Route {
    /// In the order of a pass.
    fn steps(&self) -> Vec<Site> {
        let ends = [self.norm, self.head];
        std::iter::once(self.embedding).chain(self.blocks.iter().copied()).chain(ends).collect()
    }

    /// Whether any block is computed there.
    pub fn has_blocks(&self, site: Site) -> bool {
        self.blocks.contains(&site)
    }

    /// What matrices are kept in there.
    pub fn dtypes(&self, site: Site) -> impl Iterator<Item = Dtype> {
        self.dtypes.iter().filter(move |(at, _)| *at == site).map(|(_, dtype)| *dtype)
    }

    /// How wide buffers have to be there, for a model of these widths.
    pub fn widths(&self, site: Site, of_model: Widths) -> Widths {
        let hidden = if self.steps().contains(&site) { of_model.hidden } else { 0 };
        if self.has_blocks(site) {
            of_model
        } else {
            Widths { hidden, q: 0, kv: 0, intermediate: 0 }
        }
    }
}

/// Something that is in host memory, or on one of the model's GPUs.
pub(crate) enum Placed<H, D> {
    Host(H),
    Gpu(usize, D),
}

impl<H, D> Placed<H, D> {
    /// Where it is.
    pub fn site(&self) -> Site {
        match self {
            Placed::Host(_) => Site::Host,
            Placed::Gpu(gpu, _) => Site::Gpu(*gpu),
        }
    }
}

/// Every device that parts of a model are on.
pub(crate) struct Sites {
    pub cpu: Cpu,
    pub gpus: Vec<GpuSlot>,
    /// The ways between GPUs, by the places of both.
    links: BTreeMap<(usize, usize), PeerLink>,
}

/// A GPU that parts of a model are on.
pub(crate) struct GpuSlot {
    /// Its number in the plan.
    pub gpu_index: usize,
    pub gpu: Gpu,
    pub rope: GpuRopeTable,
    pub watch: Watch,
}

impl GpuSlot {
    /// Tells the watch that somebody waits for the GPU, until what it gives is dropped.
    pub fn waiting(&self, what: &str) -> ThreadProgress {
        let progress = self.watch.thread(&format!("GPU {}", self.gpu_index));
        progress.at(Stage::Generate, what, 0);
        progress
    }
}

impl Sites {
    /// The CPU, and these GPUs; finds the ways between those that follow each other on the route.
    pub fn new(cpu: Cpu, gpus: Vec<GpuSlot>, route: &Route) -> Result<Self, DeviceError> {
        let mut links = BTreeMap::new();
        for step in route.steps().windows(2) {
            if let [Site::Gpu(from), Site::Gpu(to)] = *step
                && from != to
                && !links.contains_key(&(from, to))
            {
                let link = PeerLink::open(&gpus[from].gpu, &gpus[to].gpu, gpu_deadline())?;
                links.insert((from, to), link);
            }
        }
        Ok(Sites { cpu, gpus, links })
    }

    /// In words, how hidden states go from GPU to GPU.
    pub fn ways(&self) -> impl Iterator<Item = String> {
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

    /// The way from one GPU to another that follows it.
    pub fn link(&self, from: usize, to: usize) -> Option<&PeerLink> {
        self.links.get(&(from, to))
    }

    /// The kernels that compute, as in provenance: those of the GPUs, then the CPU's. A module's
    /// numbers depend on where it is computed, so that unless one kind of GPU computes all of
    /// them, each kind's modules are named: `cuda-sm90@0-59,norm+avx512bf16`.
    pub fn kernel_set(&self, route: &Route) -> String {
        let kinds: Vec<String> = self.gpus.iter().map(|site| gpu_kernels(&site.gpu)).collect();
        named(&kinds, self.cpu.kernel_set().name(), route)
    }
}

/// A GPU's kernels by name: the same code is other instructions, and may be other bits, on another
/// architecture.
fn gpu_kernels(gpu: &Gpu) -> String {
    let (major, minor) = gpu.info().compute;
    format!("cuda-sm{major}{minor}")
}

/// The name of a set of kernels, given that of each GPU's.
fn named(gpus: &[String], cpu: &str, route: &Route) -> String {
    let computed = || route.blocks.iter().chain([&route.norm, &route.head]);
    let kind = |site: &Site| if let Site::Gpu(gpu) = site { gpus.get(*gpu) } else { None };
    let kinds: BTreeSet<&String> = computed().filter_map(kind).collect();
    let alone = kinds.len() == 1 && computed().all(|site| kind(site).is_some());
    let modules = |of: &String| {
        let blocks: Vec<usize> = (0..route.blocks.len())
            .filter(|&block| kind(&route.blocks[block]) == Some(of))
            .collect();
        let runs = blocks.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
            [one] => one.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        });
        let ends = [(&route.norm, "norm"), (&route.head, "head")];
        let ends = ends
            .into_iter()
            .filter(|(site, _)| kind(site) == Some(of))
            .map(|(_, name)| name.to_owned());
        runs.chain(ends).collect::<Vec<_>>().join(",")
    };
    let name = |of: &String| if alone { of.clone() } else { format!("{of}@{}", modules(of)) };
    kinds.iter().map(|of| name(of)).chain([cpu.to_owned()]).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_with_what_they_compute() {
        let on = |sites: &[Option<usize>]| {
            let site = |at: &Option<usize>| at.map_or(Site::Host, Site::Gpu);
            let [blocks @ .., norm, head] = sites else { panic!("blocks, norm and head") };
            let blocks = blocks.iter().map(site).collect();
            let (norm, head) = (site(norm), site(head));
            Route { embedding: Site::Host, blocks, norm, head, dtypes: BTreeSet::new() }
        };
        let gpus = ["cuda-sm90".to_owned(), "cuda-sm90".to_owned(), "cuda-sm80".to_owned()];
        let named = |sites: &[Option<usize>]| named(&gpus, "avx2", &on(sites));
        assert_eq!(named(&[None; 4]), "avx2");
        assert_eq!(named(&[Some(0), Some(1), Some(1), Some(0)]), "cuda-sm90+avx2");
        assert_eq!(named(&[Some(0), Some(1), None, None, None]), "cuda-sm90@0-1+avx2");
        assert_eq!(named(&[Some(0), None, Some(0), Some(0), None]), "cuda-sm90@0,2,norm+avx2");
        assert_eq!(
            named(&[Some(0), Some(2), Some(2), Some(2)]),
            "cuda-sm80@1,norm,head+cuda-sm90@0+avx2"
        );
    }
}
