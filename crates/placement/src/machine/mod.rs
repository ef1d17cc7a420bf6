//! A machine as a plain value: probed by `device`, or read from a file.
//!
//! The JSON of a machine is also a valid machine file, so that a plan for a probed node can be made
//! on another node.
mod file;
mod rates;

pub use rates::{DefaultRates, Rate, RateSource, described_gpu};

use file::{optional_rate, optional_size, size};
use serde::{Deserialize, Serialize};

/// The machine that a plan is made for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    #[serde(default)]
    pub name: String,
    /// GPUs, including virtual GPUs.
    #[serde(default)]
    pub gpus: Vec<GpuSpec>,
    pub host: Host,
    /// The disk that holds the checkpoint.
    #[serde(default)]
    pub disk: Disk,
    /// Notes of the probe, for the user.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether the values are from a machine file rather than from a probe.
    #[serde(skip)]
    pub described: bool,
}

/// The properties of a GPU that the planner uses or reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// The product name.
    pub name: String,
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// Free bytes of memory; `None`: all memory is free.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Memory bandwidth in bytes per second.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
    /// Bandwidth of copies from host memory in bytes per second.
    #[serde(default, rename = "link", deserialize_with = "optional_rate")]
    pub link_bytes_per_s: Option<u64>,
    /// Whether the GPU is virtual: a part of host memory that acts as a GPU.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// The CUDA driver's ordinal, if the GPU was probed. It may differ from the index in `gpus`,
    /// since unusable GPUs are left out there.
    #[serde(default)]
    pub ordinal: Option<usize>,
    /// The driver's UUID; empty: unknown.
    #[serde(default)]
    pub uuid: String,
    /// Compute capability, such as `9.0`; empty: unknown.
    #[serde(default)]
    pub compute: String,
    /// PCI address, such as `0000:17:00.0`; empty: unknown.
    #[serde(default)]
    pub bus: String,
    /// The GPU's PCIe link to the host.
    #[serde(default)]
    pub pcie: Option<Pcie>,
    /// CUDA ordinals of the GPUs with peer access.
    #[serde(default)]
    pub peers: Vec<usize>,
}

/// A GPU's PCIe link to the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    /// The PCIe generation.
    pub generation: u32,
    /// The number of lanes.
    pub lanes: u32,
    /// The NUMA node of the slot, if known.
    #[serde(default)]
    pub numa_node: Option<usize>,
}

impl GpuSpec {
    /// A virtual GPU of `bytes` bytes of host memory.
    pub fn virtual_device(name: String, bytes: u64) -> GpuSpec {
        GpuSpec { name, total_bytes: bytes, is_virtual: true, ..GpuSpec::default() }
    }

    pub fn free(&self) -> u64 {
        self.free_bytes.unwrap_or(self.total_bytes).min(self.total_bytes)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// Available bytes of memory (`MemAvailable` of Linux); `None`: all memory is available.
    #[serde(default, rename = "available", deserialize_with = "optional_size")]
    pub available_bytes: Option<u64>,
    /// A memory limit that a machine file states, such as that of a job.
    #[serde(default, rename = "limit", deserialize_with = "optional_size")]
    pub limit_bytes: Option<u64>,
    /// All memory limits that the probe found.
    #[serde(default)]
    pub limits: Vec<LimitFound>,
    /// Cores that this process may use; 0: unknown.
    #[serde(default)]
    pub cores: usize,
    /// The CPU's model name.
    #[serde(default, rename = "cpu")]
    pub cpu_model: String,
    /// The CPU's feature flags with the names of Linux, sorted.
    #[serde(default)]
    pub cpu_flags: Vec<String>,
    /// Memory by NUMA node.
    #[serde(default)]
    pub numa_nodes: Vec<NumaNode>,
    /// The kernel's huge page settings.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Memory bandwidth of all cores together, in bytes per second.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
}

/// A limit on host memory, and the bytes in use under it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFound {
    /// The limit's name and source, such as the path of a cgroup.
    pub what: String,
    /// The limit in bytes.
    pub bytes: u64,
    /// Bytes in use, without reclaimable file cache.
    pub used_bytes: u64,
}

/// The memory and cores of one NUMA node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// The number of the node.
    pub node: usize,
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Number of cores that belong to the node.
    pub cores: usize,
}

/// The kernel's huge page settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HugePages {
    /// The mode of transparent huge pages: `always`, `madvise` or `never`; empty: unknown.
    pub transparent: String,
    /// Number of reserved huge pages that are free.
    pub reserved_free: u64,
    /// Bytes of one huge page.
    pub page_bytes: u64,
}

/// The disk that holds the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Free bytes, if known.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Bandwidth of large reads, in bytes per second.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
    /// The type of the file system: `ext4`, `nfs4`, `lustre`, ...; empty: unknown.
    #[serde(default)]
    pub file_system: String,
    /// The mount point; empty: unknown.
    #[serde(default)]
    pub mount: String,
    /// Whether the disk is accessed over a network.
    #[serde(default)]
    pub network: bool,
}

impl Host {
    /// Bytes available under the strictest limit, and the name of that limit.
    pub fn really_available(&self) -> (u64, String) {
        let available = self.available_bytes.unwrap_or(self.total_bytes).min(self.total_bytes);
        let name =
            if self.available_bytes.is_some() { "available memory" } else { "the host's memory" };
        let mut least = (available, name.to_owned());
        let described = self.limit_bytes.map(|bytes| (bytes, "the host's limit".to_owned()));
        let found = self
            .limits
            .iter()
            .map(|limit| (limit.bytes.saturating_sub(limit.used_bytes), limit.what.clone()));
        for limit in described.into_iter().chain(found) {
            if limit.0 < least.0 {
                least = limit;
            }
        }
        least
    }
}
