//! [`LoadRequest`]: the parameters of a load.

use std::time::Duration;

use base::usable_cores;
use checkpoint::Checkpoint;
use device::cpu::KernelSet;
use placement::{Plan, READERS_MAX};
use watch::Watch;

/// The parameters of [`super::load()`].
pub struct LoadRequest<'a> {
    /// The checkpoint, opened and checked.
    pub checkpoint: &'a Checkpoint,
    /// The placement plan, with the tier of each module.
    pub plan: &'a Plan,
    /// Receives progress reports, and can cancel the load.
    pub watch: &'a Watch,
    /// Number of compute threads; `None`: the number of usable cores.
    pub threads: Option<usize>,
    /// CPU kernels; `None`: those that the environment variable `VENDOMINI_KERNELS` names, or else
    /// the best that this CPU supports.
    pub kernel_set: Option<KernelSet>,
    /// Whether shards that need no conversion are memory-mapped. Only for local file systems and
    /// machines with ample memory.
    pub file_maps: bool,
    /// Whether reads bypass the page cache; `None`: if the checkpoint is larger than half of the
    /// host's memory.
    pub direct: Option<bool>,
    /// Whether the plan's GPUs are virtual GPUs: arenas in host memory with a hard size limit.
    pub virtual_devices: bool,
    /// The CUDA device ordinal of each of the plan's GPUs, by number in the plan. For a GPU without
    /// an entry the number itself is the ordinal.
    pub gpu_ordinals: Vec<usize>,
    /// Limit on the duration of the smoke test, in seconds.
    pub smoke_limit_s: f64,
    /// Limit on a forward pass's wait for a layer or an expert of the disk tier. It protects
    /// callers without a supervisor, whose stall limit is shorter.
    pub disk_limit: Duration,
}

impl<'a> LoadRequest<'a> {
    /// Defaults: weights copied into memory, all usable cores, no virtual GPUs.
    pub fn new(checkpoint: &'a Checkpoint, plan: &'a Plan, watch: &'a Watch) -> Self {
        LoadRequest {
            checkpoint,
            plan,
            watch,
            threads: None,
            kernel_set: None,
            file_maps: false,
            direct: None,
            virtual_devices: false,
            gpu_ordinals: Vec::new(),
            smoke_limit_s: 120.0,
            disk_limit: Duration::from_secs(600),
        }
    }

    pub(crate) fn reader_threads(&self) -> usize {
        self.threads.unwrap_or_else(usable_cores).clamp(2, READERS_MAX)
    }
}
