//! Errors of a load.

use device::DeviceError;
use device::cuda::CudaError;
use error_kind::{ErrorKind, HasKind};

use super::BadWeight;
use crate::kv::KvError;
use crate::models::{CompositionError, ForwardError};
use crate::weights::{ShardError, WeightError};

/// A load that failed. Messages name the file, tensor or device, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("interrupted while loading; nothing was kept")]
    Canceled,
    #[error(
        "{module} is planned for GPU {gpu_index}, but no GPU can be used here: {cause}. To go on without, plan with --device-map cpu, or describe \
         the machine without GPUs"
    )]
    NoGpu {
        /// A module that is planned for the GPU.
        module: String,
        gpu_index: usize,
        cause: CudaError,
    },
    /// The plan was made for another checkpoint.
    #[error("the plan names no tier for {module}; plan again for this checkpoint")]
    Unplanned { module: String },
    /// The model cannot be composed of the checkpoint's tensors.
    #[error(transparent)]
    Composition(#[from] CompositionError),
    #[error("tensor {tensor}: {found} cannot be converted to {requested}; use --dtype auto")]
    Conversion { tensor: String, found: &'static str, requested: &'static str },
    #[error(transparent)]
    Shard(ShardError),
    #[error("{what}: {cause}")]
    Device {
        /// What the device was used for.
        what: String,
        cause: DeviceError,
    },
    #[error(
        "the plan keeps routed experts on disk and gives their cache {planned_bytes} bytes, but a part of an expert has {needed_bytes}; plan again, or raise --max-memory"
    )]
    ExpertCache {
        /// Bytes of the largest part of an expert.
        needed_bytes: u64,
        planned_bytes: u64,
    },
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("loaded, but the smoke test failed: {0}")]
    Smoke(#[from] ForwardError),
    #[error(
        "loaded, but the smoke test failed: the logits after token {position} are not finite ({found}); {}",
        cause_of(weight.as_ref())
    )]
    NotFinite {
        position: usize,
        /// The first NaN or infinity of the logits.
        found: f32,
        /// The first weight that is not finite; `None` if all weights stored as floats are, or if
        /// none was searched.
        weight: Option<BadWeight>,
    },
    #[error(
        "{0}; a router that is not finite chooses experts at random. Fetch the file again, or repair the weights"
    )]
    BadRouter(BadWeight),
    #[error(
        "loaded, but the smoke test is too slow: {tokens} tokens in {seconds:.1} s, limit {limit_s:.0} s; a step of 200 tokens would take {step_s:.0} s. Keep more layers in memory, or use --dtype int8"
    )]
    TooSlow {
        tokens: usize,
        seconds: f64,
        limit_s: f64,
        /// Projected seconds of a step of an experiment.
        step_s: f64,
    },
    #[error(
        "a thread for {what} could not be started: {cause}; raise the limit on threads (ulimit -u)"
    )]
    Thread { what: &'static str, cause: std::io::Error },
    /// A thread of the load ended without a result.
    #[error("{what} ended unexpectedly; please report this")]
    Defect { what: String },
}

/// Why logits are not finite.
fn cause_of(weight: Option<&BadWeight>) -> String {
    match weight {
        Some(bad) => format!("{bad}. Fetch the file again, or repair the weights"),
        None => "the weights stored as floats are finite, so values overflow: use --dtype auto or f32, or the scales of quantized weights are damaged".to_owned(),
    }
}

impl From<WeightError> for LoadError {
    fn from(error: WeightError) -> Self {
        LoadError::Composition(error.into())
    }
}

impl From<ShardError> for LoadError {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Canceled => LoadError::Canceled,
            error => LoadError::Shard(error),
        }
    }
}

impl LoadError {
    /// The CUDA device ordinal of the GPU whose memory was exhausted, if that is the cause.
    pub fn gpu_out_of_memory(&self) -> Option<usize> {
        let cause = match self {
            LoadError::Device { cause, .. } | LoadError::Kv(KvError::Memory { cause, .. }) => cause,
            LoadError::Smoke(ForwardError::Device(cause)) => cause,
            _ => return None,
        };
        match cause {
            DeviceError::Cuda(
                CudaError::OutOfMemory { ordinal, .. }
                | CudaError::QuotaExceeded { ordinal, .. }
                | CudaError::ArenaFull { ordinal, .. },
            ) => Some(*ordinal),
            _ => None,
        }
    }

    pub(crate) fn device(what: impl Into<String>, cause: DeviceError) -> Self {
        LoadError::Device { what: what.into(), cause }
    }
}

impl HasKind for LoadError {
    fn kind(&self) -> ErrorKind {
        match self {
            LoadError::Canceled => ErrorKind::Interrupted,
            LoadError::NoGpu { .. } | LoadError::Thread { .. } => ErrorKind::Unavailable,
            LoadError::Unplanned { .. } | LoadError::Defect { .. } => ErrorKind::Bug,
            LoadError::Conversion { .. } | LoadError::ExpertCache { .. } => ErrorKind::Usage,
            LoadError::Composition(cause) => cause.kind(),
            LoadError::Shard(cause) => cause.kind(),
            LoadError::Device { cause, .. } => cause.kind(),
            LoadError::Kv(cause) => cause.kind(),
            // An error of a GPU, such as a lost device, keeps its kind also if the smoke test finds
            // it.
            LoadError::Smoke(ForwardError::Device(DeviceError::Cuda(cause))) => cause.kind(),
            LoadError::BadRouter(_) => ErrorKind::BadInput,
            LoadError::Smoke(_) | LoadError::NotFinite { .. } | LoadError::TooSlow { .. } => {
                ErrorKind::WrongResult
            }
        }
    }
}
