//! Why a load ended without a model.

use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

use device::DeviceError;
use device::cuda::CudaError;

use crate::kv::KvError;
use crate::models::ForwardError;

/// A load that failed; each variant names file, tensor or device and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Somebody asked to stop.
    #[error("interrupted while loading; nothing was kept")]
    Canceled,
    /// The plan puts a module on a GPU, and the driver gives none.
    #[error(
        "{module} is planned for GPU {gpu_index}, but no GPU can be used here: {cause}. To go on without, plan with --device-map cpu, or describe \
         the machine without GPUs"
    )]
    NoGpu {
        /// The module.
        module: String,
        /// The GPU's number in the plan.
        gpu_index: usize,
        /// What the driver said, or that there is none.
        cause: CudaError,
    },
    /// The plan and the checkpoint do not belong together.
    #[error("the plan names no tier for {module}; plan again for this checkpoint")]
    Unplanned {
        /// The module.
        module: String,
    },
    /// An architecture that has no composition yet.
    #[error(
        "{class_name}: {what} is not supported yet; supported are dense Llama, Mistral, Qwen2, Qwen3, OLMo2, Phi and Phi-3 models"
    )]
    Architecture {
        /// The model's class.
        class_name: String,
        /// The part that is missing.
        what: &'static str,
    },
    /// A weight that the architecture needs is not there.
    #[error(
        "tensor {tensor} is not in the checkpoint; expected it because the configuration asks for it"
    )]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A weight of another shape.
    #[error("tensor {tensor}: shape {expected:?} expected from config.json, {found:?} found")]
    Shape {
        /// The tensor.
        tensor: String,
        /// `[out, in]` or `[n]`.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// A weight stored in a form that we do not compute with.
    #[error(
        "tensor {tensor} is stored as {found}, which cannot be used here; convert the checkpoint to bf16, f16 or f32"
    )]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: &'static str,
    },
    /// A conversion that would not be one.
    #[error("tensor {tensor}: {found} cannot be converted to {wanted}; use --dtype auto")]
    Conversion {
        /// The tensor.
        tensor: String,
        /// Stored as.
        found: &'static str,
        /// Asked for.
        wanted: &'static str,
    },
    /// The file is shorter than its header says.
    #[error("{}: {expected} bytes expected, {found} found while reading tensor {tensor} at offset {offset}; the file was truncated: fetch it again", path.display())]
    Truncated {
        /// The shard.
        path: PathBuf,
        /// The tensor being read.
        tensor: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// Size when the headers were read.
        expected: u64,
        /// Size now.
        found: u64,
    },
    /// The file is another one than the headers were read from.
    #[error("{}: replaced or written to while it was being loaded (headers were read from {expected}, now it is {found}); load again when nobody writes to it", path.display())]
    Replaced {
        /// The shard.
        path: PathBuf,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The system could not open or read.
    #[error("{}: {doing} at offset {offset}: {cause}; check the disk or the mount and try again", path.display())]
    Io {
        /// The shard.
        path: PathBuf,
        /// `opening`, `reading tensor x`, ...
        doing: String,
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The device's memory or kernels said no.
    #[error("{what}: {cause}")]
    Device {
        /// What was asked of it.
        what: String,
        /// What it said.
        cause: device::DeviceError,
    },
    /// The memory for keys and values.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The smoke test's pass failed.
    #[error("loaded, but the smoke test failed: {0}")]
    Smoke(#[from] ForwardError),
    /// The smoke test gave something that is not a number.
    #[error(
        "loaded, but the smoke test failed: the logits after token {position} are not finite ({found}); the weights hold NaN or infinity"
    )]
    NotFinite {
        /// Position of the token.
        position: usize,
        /// The first bad value.
        found: f32,
    },
    /// The smoke test would not end in time.
    #[error(
        "loaded, but the smoke test is too slow: {tokens} tokens in {seconds:.1} s, limit {limit_s:.0} s; a step of 200 tokens would take {step_s:.0} s. Keep more layers in memory, or use --dtype int8"
    )]
    TooSlow {
        /// Tokens done.
        tokens: usize,
        /// Seconds spent.
        seconds: f64,
        /// The limit, in seconds.
        limit_s: f64,
        /// Projected seconds of a step of the experiment.
        step_s: f64,
    },
    /// A thread could not be started.
    #[error(
        "a thread for {what} could not be started: {cause}; raise the limit on threads (ulimit -u)"
    )]
    Thread {
        /// What for.
        what: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A thread of ours ended unexpectedly.
    #[error("{what} ended without a word; please report this")]
    Defect {
        /// Which thread.
        what: String,
    },
}

impl LoadError {
    /// The driver's number of the GPU whose memory ran out, if that is why.
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

    pub(crate) fn io(
        path: &Path,
        doing: impl Into<String>,
        offset: u64,
        cause: std::io::Error,
    ) -> Self {
        LoadError::Io { path: path.to_owned(), doing: doing.into(), offset, cause }
    }
}

impl HasKind for LoadError {
    fn kind(&self) -> ErrorKind {
        match self {
            LoadError::Canceled => ErrorKind::Interrupted,
            LoadError::NoGpu { .. } | LoadError::Thread { .. } => ErrorKind::Unavailable,
            LoadError::Unplanned { .. } | LoadError::Defect { .. } => ErrorKind::Bug,
            LoadError::Conversion { .. } => ErrorKind::Usage,
            LoadError::Architecture { .. } | LoadError::Missing { .. } => ErrorKind::BadInput,
            LoadError::Shape { .. } | LoadError::Dtype { .. } | LoadError::Truncated { .. } => {
                ErrorKind::BadInput
            }
            LoadError::Replaced { .. } => ErrorKind::BadInput,
            LoadError::Io { .. } => ErrorKind::Io,
            LoadError::Device { cause, .. } => cause.kind(),
            LoadError::Kv(cause) => cause.kind(),
            // A GPU that is lost or full is that, whenever it is found.
            LoadError::Smoke(ForwardError::Device(DeviceError::Cuda(cause))) => cause.kind(),
            LoadError::Smoke(_) | LoadError::NotFinite { .. } | LoadError::TooSlow { .. } => {
                ErrorKind::WrongResult
            }
        }
    }
}
