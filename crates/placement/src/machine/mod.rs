//! A machine as a value: probed, or read from a file.
//!
//! Its JSON is a machine file too: what a probe found on one node can be planned for on another.
mod file;
mod rates;

pub use rates::{DefaultRates, Rate, RateSource, described_gpu};

use file::{optional_rate, optional_size, size};
use serde::{Deserialize, Serialize};

/// A machine: what a plan is made for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What it is called.
    #[serde(default)]
    pub name: String,
    /// GPUs, or virtual devices.
    #[serde(default)]
    pub gpus: Vec<GpuSpec>,
    /// The host.
    pub host: Host,
    /// The disk that holds the checkpoint.
    #[serde(default)]
    pub disk: Disk,
    /// What people should know about it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether its numbers were written by hand rather than measured.
    #[serde(skip)]
    pub described: bool,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSpec {
    /// The maker's name for it.
    pub name: String,
    /// All of its memory.
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// What is free of it; none: all.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Bytes a second that it reads from its memory.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
    /// Bytes a second from host memory to it.
    #[serde(default, rename = "link", deserialize_with = "optional_rate")]
    pub link_bytes_per_s: Option<u64>,
    /// A host arena that behaves as a device: its bytes are host memory.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// Its number for the driver, where one was asked; its place among the GPUs may differ, since
    /// those that cannot be used are left out.
    #[serde(default)]
    pub ordinal: Option<usize>,
    /// The same GPU under every number; empty: unknown.
    #[serde(default)]
    pub uuid: String,
    /// Compute capability, such as `9.0`; empty: unknown.
    #[serde(default)]
    pub compute: String,
    /// Its place on the bus, such as `0000:17:00.0`; empty: unknown.
    #[serde(default)]
    pub bus: String,
    /// Its link to the host.
    #[serde(default)]
    pub pcie: Option<Pcie>,
    /// Numbers for the driver of the GPUs whose memory it reaches.
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
    /// The NUMA node that it hangs on, where that is known.
    #[serde(default)]
    pub numa_node: Option<usize>,
}

impl GpuSpec {
    /// A host arena of so many bytes that behaves as a device.
    pub fn virtual_device(name: String, bytes: u64) -> GpuSpec {
        GpuSpec { name, total_bytes: bytes, is_virtual: true, ..GpuSpec::default() }
    }

    /// What is free of it.
    pub fn free(&self) -> u64 {
        self.free_bytes.unwrap_or(self.total_bytes).min(self.total_bytes)
    }
}

/// The host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// All of its memory.
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// What is available now (`MemAvailable`); none: all.
    #[serde(default, rename = "available", deserialize_with = "optional_size")]
    pub available_bytes: Option<u64>,
    /// What a job may use, as described.
    #[serde(default, rename = "limit", deserialize_with = "optional_size")]
    pub limit_bytes: Option<u64>,
    /// Every limit that was found.
    #[serde(default)]
    pub limits: Vec<LimitFound>,
    /// Cores that this process may use; 0: unknown.
    #[serde(default)]
    pub cores: usize,
    /// The CPU's own name.
    #[serde(default, rename = "cpu")]
    pub cpu_model: String,
    /// Its flags, as Linux writes them, sorted.
    #[serde(default)]
    pub cpu_flags: Vec<String>,
    /// Memory by NUMA node.
    #[serde(default)]
    pub numa_nodes: Vec<NumaNode>,
    /// What the kernel does about huge pages.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Bytes a second that all cores together read from memory.
    #[serde(default, rename = "read", deserialize_with = "optional_rate")]
    pub read_bytes_per_s: Option<u64>,
}

/// A limit on host memory, and what is used of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFound {
    /// Its name and where it stands.
    pub what: String,
    /// The limit.
    pub bytes: u64,
    /// What is used of it; reclaimable file cache does not count.
    pub used_bytes: u64,
}

/// Memory of one NUMA node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// Its number.
    pub node: usize,
    /// All of its memory.
    pub total_bytes: u64,
    /// What is free of it.
    pub free_bytes: u64,
    /// Cores that belong to it.
    pub cores: usize,
}

/// What the kernel does about huge pages.
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
    /// What is really available under the strictest of all limits, in bytes, and the name of that
    /// limit.
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
