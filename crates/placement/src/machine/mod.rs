//! A machine as a value: probed by `device`, or read from a file.
//!
//! Its JSON is a machine file too: what a probe found on one node can be planned for on another.
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
    /// GPUs, or virtual devices.
    #[serde(default)]
    pub gpus: Vec<GpuSpec>,
    pub host: Host,
    /// The disk that holds the checkpoint.
    #[serde(default)]
    pub disk: Disk,
    /// Notes of the probe for people.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether its numbers were written by hand rather than measured.
    #[serde(skip)]
    pub described: bool,
}

/// A GPU as the plan knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// The product name.
    pub name: String,
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// Free bytes; `None`: all.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Memory bandwidth in bytes a second.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
    /// Bandwidth from host memory in bytes a second.
    #[serde(default, rename = "link", deserialize_with = "optional_rate")]
    pub link_bytes_per_s: Option<u64>,
    /// A virtual GPU: an arena in host memory.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// The CUDA driver's ordinal, if probed. The index in `gpus` may differ, since unusable GPUs
    /// are left out.
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
    /// Its link to the host.
    #[serde(default)]
    pub pcie: Option<Pcie>,
    /// CUDA ordinals of the GPUs with peer access.
    #[serde(default)]
    pub peers: Vec<usize>,
}

/// A GPU's link to the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcie {
    /// The generation.
    pub generation: u32,
    /// The lanes.
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
    /// `MemAvailable`; `None`: all.
    #[serde(default, rename = "available", deserialize_with = "optional_size")]
    pub available_bytes: Option<u64>,
    /// The limit of a described job.
    #[serde(default, rename = "limit", deserialize_with = "optional_size")]
    pub limit_bytes: Option<u64>,
    /// Every limit that the probe found.
    #[serde(default)]
    pub limits: Vec<LimitFound>,
    /// Cores that this process may use; 0: unknown.
    #[serde(default)]
    pub cores: usize,
    /// The CPU's model name.
    #[serde(default, rename = "cpu")]
    pub cpu_model: String,
    /// Its flags, as Linux writes them, sorted.
    #[serde(default)]
    pub cpu_flags: Vec<String>,
    /// Memory by NUMA node.
    #[serde(default)]
    pub numa_nodes: Vec<NumaNode>,
    /// The kernel's huge page settings.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Memory bandwidth of all cores in bytes a second.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
}

/// A limit on host memory, and the bytes used under it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFound {
    /// Its name and source, such as a cgroup's path.
    pub what: String,
    /// The limit.
    pub bytes: u64,
    /// Bytes in use; reclaimable file cache does not count.
    pub used_bytes: u64,
}

/// Memory of one NUMA node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// Its number.
    pub node: usize,
    pub total_bytes: u64,
    pub free_bytes: u64,
    /// Cores that belong to it.
    pub cores: usize,
}

/// The kernel's huge page settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HugePages {
    /// `always`, `madvise` or `never`; empty: unknown.
    pub transparent: String,
    /// Reserved huge pages that are free.
    pub reserved_free: u64,
    /// The size of one.
    pub page_bytes: u64,
}

/// The disk that holds the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Free bytes.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Bytes a second in large reads.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
    /// `ext4`, `nfs4`, `lustre`, ...; empty: unknown.
    #[serde(default)]
    pub file_system: String,
    /// Where it is mounted; empty: unknown.
    #[serde(default)]
    pub mount: String,
    /// Whether it is reached over a network.
    #[serde(default)]
    pub network: bool,
}

impl Host {
    /// Bytes available under the strictest limit, and that limit's name.
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
