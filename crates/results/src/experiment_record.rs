//! `experiment.json` and `models/<name>.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `experiment.json`: configuration and provenance of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    pub name: String,
    /// The resolved configuration: dotted key -> value, `grid.<key>` -> list for the factors.
    pub configuration: BTreeMap<String, Value>,
    /// Execution settings of the first process: deadlines, dtype, memory limits. Not compared.
    #[serde(default)]
    pub execution: BTreeMap<String, Value>,
    /// Hash of `configuration`.
    pub configuration_hash: String,
    /// Ids of all runs, in the order of execution.
    pub runs: Vec<String>,
    pub provenance: Provenance,
}

/// Origin of the results. Depends on the machine and is never compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub version: String,
    /// Git commit of the build, if known.
    pub git: Option<String>,
    pub host: String,
    /// Path of the configuration file.
    pub config_file: Option<String>,
    /// Notes on the configuration, such as keys in an older spelling.
    pub notes: Vec<String>,
    /// Unix time of the start.
    pub begun_unix_s: u64,
}

/// `models/<name>.json`: a model as first used in this folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name in the configuration.
    pub name: String,
    /// Blob ids, or headers and sizes.
    pub identity: String,
    /// The dtype of the computation.
    pub dtype: String,
    /// The kernel set and the revision of its arithmetic: `avx512/2`.
    pub kernel_set: String,
}
