//! What the user asked for.
mod dtype;
mod kv_dtype;
mod max_memory;
mod mode;

pub use dtype::DtypeChoice;
pub use kv_dtype::KvDtype;
pub use max_memory::MaxMemory;
pub use mode::DeviceMapMode;

use checkpoint::ModelConfig;

/// The context that is planned for unless told: the model's own, at most this.
pub const CONTEXT_DEFAULT_MAX: usize = 8192;

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of weights on each tier.
    pub max_memory: MaxMemory,
    /// How to spread them.
    pub mode: DeviceMapMode,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences at a time.
    pub concurrency: usize,
    /// What to compute in.
    pub dtype: DtypeChoice,
    /// What to keep keys and values in; `None`: as the model is computed.
    pub kv_dtype: Option<KvDtype>,
    /// Whether modules that fit in no memory may stay in the checkpoint's files. A typed `disk=`
    /// and the modes `disk` and explicit allow it too; see [`Limits::allows_disk`].
    pub disk: bool,
}

impl Limits {
    /// What `plan`, `load` and `bench` take unless told: a context of min(the model's, 8192), one
    /// sequence, no disk.
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

    /// What keys and values of this model are kept in.
    pub fn kv_kept(&self, config: &ModelConfig) -> KvDtype {
        self.kv_dtype.unwrap_or_else(|| KvDtype::for_model(self.dtype, config))
    }

    /// Whether anything may stay on disk.
    pub fn allows_disk(&self) -> bool {
        let typed = self.max_memory.get(crate::Tier::Disk).is_some_and(|bytes| bytes > 0);
        self.disk || typed || matches!(self.mode, DeviceMapMode::Disk | DeviceMapMode::Explicit(_))
    }
}
