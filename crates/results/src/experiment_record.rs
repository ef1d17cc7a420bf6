use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `experiment.json`: what a folder is the result of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The experiment's name.
    pub name: String,
    /// The resolved configuration: dotted key -> value, `grid.<key>` -> list for the factors.
    pub configuration: BTreeMap<String, Value>,
    /// How it was carried out at first: deadlines, dtype, limits of memory. Not compared.
    #[serde(default)]
    pub execution: BTreeMap<String, Value>,
    /// Hash of `configuration`.
    pub configuration_hash: String,
    /// Ids of all runs that belong to it, in the order they are done.
    pub runs: Vec<String>,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Where results came from. Differs from machine to machine and is never compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub version: String,
    /// The git commit it was built from, if known.
    pub git: Option<String>,
    /// The host.
    pub host: String,
    /// The configuration's file.
    pub config_file: Option<String>,
    /// Keys that were given in an older spelling, and such notes.
    pub notes: Vec<String>,
    /// Seconds since 1970.
    pub begun_unix_s: u64,
}

/// `models/<name>.json`: the model behind a name, as first used in this folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The configuration's name for it.
    pub name: String,
    /// Blob ids, or headers and sizes.
    pub identity: String,
    /// The dtype it computes in.
    pub dtype: String,
    /// The kernel set and the revision of its arithmetic: `avx512/2`.
    pub kernel_set: String,
}
