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

/// The largest default context: the model's own, at most this.
pub const CONTEXT_DEFAULT_MAX: usize = 8192;

/// The options that a plan obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of weights on each tier.
    pub max_memory: MaxMemory,
    /// How modules are spread over the tiers.
    pub mode: DeviceMapMode,
    /// Tokens of a sequence at most.
    pub context: usize,
    /// Sequences in flight at most.
    pub concurrency: usize,
    pub dtype: DtypeChoice,
    /// The KV cache's dtype; `None`: follows the model's dtype.
    pub kv_dtype: Option<KvDtype>,
    /// Whether modules that fit in no memory may stay in the checkpoint's files. A typed `disk=`
    /// and the modes `disk` and explicit allow it too: see [`Limits::allows_disk`].
    pub disk: bool,
}

impl Limits {
    /// The defaults of `plan`, `load` and `bench`: a context of min(the model's, 8192), one
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

    /// The KV cache's dtype for this model.
    pub fn kv_kept(&self, config: &ModelConfig) -> KvDtype {
        self.kv_dtype.unwrap_or_else(|| KvDtype::for_model(self.dtype, config))
    }

    /// Whether any module may stay on disk.
    pub fn allows_disk(&self) -> bool {
        let typed = self.max_memory.get(crate::Tier::Disk).is_some_and(|bytes| bytes > 0);
        self.disk || typed || matches!(self.mode, DeviceMapMode::Disk | DeviceMapMode::Explicit(_))
    }
}
