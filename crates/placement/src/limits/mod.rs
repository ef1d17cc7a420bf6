//! The options that a plan obeys.
mod dtype;
mod kv_dtype;
mod max_memory;
mod mode;

pub use dtype::DtypeChoice;
pub use kv_dtype::KvDtype;
pub use max_memory::MaxMemory;
pub use mode::DeviceMapMode;

use checkpoint::ModelConfig;

/// Maximum of the default context, which is otherwise the model's own, in tokens.
pub const CONTEXT_DEFAULT_MAX: usize = 8192;

/// The options that a plan obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of weights that each tier may hold.
    pub max_memory: MaxMemory,
    /// How modules are distributed over the tiers.
    pub mode: DeviceMapMode,
    /// Maximum number of tokens in a sequence.
    pub context: usize,
    /// Maximum number of sequences that run at the same time.
    pub concurrency: usize,
    pub dtype: DtypeChoice,
    /// The dtype of the KV cache; `None`: it depends on the model's dtype.
    pub kv_dtype: Option<KvDtype>,
    /// Whether modules that do not fit into memory may stay in the checkpoint's files. A typed
    /// limit `disk=` and the modes `disk` and explicit also allow it: see [`Limits::allows_disk`].
    pub disk: bool,
}

impl Limits {
    /// The default limits of `plan`, `load` and `bench`: a context of at most 8192 tokens, one
    /// sequence, no disk tier.
    pub fn for_model(config: &ModelConfig) -> Limits {
        Limits {
            max_memory: MaxMemory::default(),
            mode: DeviceMapMode::Auto,
            context: config.max_positions.clamp(1, CONTEXT_DEFAULT_MAX),
            concurrency: 1,
            dtype: DtypeChoice::Auto,
            kv_dtype: None,
            disk: false,
        }
    }

    /// The dtype of the KV cache for this model: the chosen one or the default.
    pub fn kv_kept(&self, config: &ModelConfig) -> KvDtype {
        self.kv_dtype.unwrap_or_else(|| KvDtype::for_model(self.dtype, config))
    }

    /// Whether any module may stay on disk.
    pub fn allows_disk(&self) -> bool {
        let typed = self.max_memory.get(crate::Tier::Disk).is_some_and(|bytes| bytes > 0);
        self.disk || typed || matches!(self.mode, DeviceMapMode::Disk | DeviceMapMode::Explicit(_))
    }
}
