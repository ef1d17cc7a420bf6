use crate::{PlanError, parse_bytes};
use serde::{Deserialize, Deserializer, Serialize};

/// A machine as a value: probed, or read from a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Cards, or virtual devices.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// The host.
    #[serde(default)]
    pub host: Host,
    /// The disk that holds the checkpoint.
    #[serde(default)]
    pub disk: Disk,
    /// What people should know about it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One card.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The maker's name for it.
    pub name: String,
    /// All of its memory, in bytes.
    #[serde(rename = "memory", deserialize_with = "size")]
    pub total_bytes: u64,
    /// What is free of it; none: all.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Bytes a second that it reads from its memory.
    #[serde(default, rename = "read", deserialize_with = "optional_size")]
    pub read_bytes_per_s: Option<u64>,
    /// A host arena that behaves as a device.
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
}

/// The host's memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// All of it, in bytes.
    #[serde(rename = "memory", deserialize_with = "size", default)]
    pub total_bytes: u64,
    /// What is available now; none: all.
    #[serde(default, rename = "available", deserialize_with = "optional_size")]
    pub available_bytes: Option<u64>,
    /// What a job may use.
    #[serde(default, rename = "limit", deserialize_with = "optional_size")]
    pub limit_bytes: Option<u64>,
    /// Every limit that was found.
    #[serde(default)]
    pub limits: Vec<LimitFound>,
    /// Cores this process may use.
    #[serde(default)]
    pub cores: usize,
    /// Bytes a second that all cores together read from memory.
    #[serde(default, rename = "read", deserialize_with = "optional_size")]
    pub read_bytes_per_s: Option<u64>,
}

/// A limit on host memory, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitFound {
    /// Its name and where it stands.
    pub what: String,
    /// The limit, in bytes.
    pub bytes: u64,
    /// What is used of it; reclaimable file cache does not count.
    pub used_bytes: u64,
}

/// The disk that holds the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Free bytes.
    #[serde(default, rename = "free", deserialize_with = "optional_size")]
    pub free_bytes: Option<u64>,
    /// Bytes a second in large reads.
    #[serde(default, rename = "read", deserialize_with = "rate")]
    pub read_bytes_per_s: Option<u64>,
    /// ext4, nfs, lustre, ...
    #[serde(default)]
    pub file_system: String,
    /// Whether it is reached over a network.
    #[serde(default)]
    pub network: bool,
}

impl Machine {
    /// Reads a machine file.
    ///
    /// # Errors
    /// 2, with the line and what was expected there.
    pub fn from_yaml(file: &str, text: &str) -> Result<Machine, PlanError> {
        let machine: Machine = serde_saphyr::from_str(text)
            .map_err(|e| PlanError::MachineFile { file: file.to_owned(), why: e.to_string() })?;
        if machine.host.total_bytes == 0 {
            return Err(PlanError::MachineFile { file: file.to_owned(), why: "host.memory is missing".to_owned() });
        }
        Ok(machine)
    }
}

impl Host {
    /// What is really available under the strictest of all limits, in bytes, and the name of that limit.
    pub fn really_available(&self) -> (u64, String) {
        let mut least = (self.available_bytes.unwrap_or(self.total_bytes), "available memory".to_owned());
        if let Some(limit) = self.limit_bytes.filter(|limit| *limit < least.0) {
            least = (limit, "the described limit".to_owned());
        }
        for limit in &self.limits {
            let left = limit.bytes.saturating_sub(limit.used_bytes);
            if left < least.0 {
                least = (left, limit.what.clone());
            }
        }
        least
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

fn read_size<E: serde::de::Error>(size: SizeText) -> Result<u64, E> {
    match size {
        SizeText::Number(bytes) => Ok(bytes),
        SizeText::Text(text) => parse_bytes(text.trim_end_matches("/s"))
            .ok_or_else(|| E::custom(format!("expected a size such as 79.25GiB or 80GB, found {text}"))),
    }
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    read_size(SizeText::deserialize(from)?)
}

fn optional_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<SizeText>::deserialize(from)?.map(read_size).transpose()
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    optional_size(from)
}
