//! The documents `experiment.json` and `models/<name>.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `experiment.json`: configuration and provenance of an experiment's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// Format version, [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    pub name: String,
    /// The resolved configuration: dotted key -> value, and `grid.<key>` -> list of levels for the
    /// factors.
    pub configuration: BTreeMap<String, Value>,
    /// Execution settings of the process that created the folder: deadlines, dtype, memory limits.
    /// They are not compared when the folder is opened again.
    #[serde(default)]
    pub execution: BTreeMap<String, Value>,
    /// Hash of `configuration`.
    pub configuration_hash: String,
    /// Ids of all runs, in the order of execution.
    pub runs: Vec<String>,
    pub provenance: Provenance,
}

/// Origin of the results. Depends on the machine and is not compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of the program.
    pub version: String,
    /// Version of the experiment's design.
    #[serde(default = "first_design")]
    pub design: String,
    /// Git commit of the build, if known.
    pub git: Option<String>,
    pub host: String,
    /// Path of the configuration file.
    pub config_file: Option<String>,
    /// Notes on the configuration, such as keys in an older spelling.
    pub notes: Vec<String>,
    /// Unix time of the start, in seconds.
    pub begun_unix_s: u64,
}

/// The design of folders that do not name one.
fn first_design() -> String {
    "v1".into()
}

/// `models/<name>.json`: a model, as recorded at its first use in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Format version, [`crate::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the model in the configuration.
    pub name: String,
    /// Hash that identifies the weights, from blob ids or from file headers and sizes; for a remote
    /// model, its name.
    pub identity: String,
    /// Dtype of the model's computation.
    pub dtype: String,
    /// Kernel set and revision of its arithmetic, such as `avx512/3`.
    pub kernel_set: String,
}
