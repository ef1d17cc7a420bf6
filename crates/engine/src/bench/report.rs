//! Options, report and errors of a benchmark.

use device::DeviceError;
use error_kind::{ErrorKind, HasKind};
use serde::{Deserialize, Serialize};

use crate::kv::KvError;
use crate::models::ForwardError;
use crate::weights::ExpertCacheReport;

/// Parameters of a benchmark.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that each sequence decodes after the prompt.
    pub new_tokens: usize,
    /// Batch sizes of decoding: numbers of sequences that are decoded together. Each is measured
    /// separately.
    pub batches: Vec<usize>,
    /// Measured repetitions of the prefill, whose median is reported. A warm-up precedes them.
    pub rounds: usize,
    /// Number of CPU threads that measure the roofline; should equal that of the model.
    pub threads: Option<usize>,
}

/// Throughput of a model, compared with the machine's roofline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Memory bandwidth of all CPU threads together, the median of all measurements. With GPUs: the
    /// bytes of all weights, divided by the time to read them once, device after device, each at
    /// its own bandwidth.
    pub read_bytes_per_s: f64,
    /// Peak arithmetic (2 operations per multiply-add) in the data type that the weights need, the
    /// median of all measurements. On GPUs: the rate of large matrix multiplications.
    pub dot_ops_per_s: f64,
    /// Data type of the multiply-adds: `f32`, `bf16` or `int8`.
    pub dot: String,
    /// Bytes of weights that every pass reads.
    pub weights_read_bytes: f64,
    /// The measurement of prefill, then one for each of [`BenchOptions::batches`].
    pub figures: Vec<SpeedFigure>,
    /// Time to first token.
    pub ttft_s: f64,
    /// Time per output token of one sequence.
    pub tpot_s: f64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpeedFigure {
    /// For example `prefill 512` (tokens), `decode` (one sequence) or `decode x8` (8 sequences).
    pub name: String,
    /// Tokens per second of all sequences together, the median of the repetitions.
    pub tok_s: f64,
    pub best_tok_s: f64,
    /// Tokens per second at the roofline, with the bandwidth and arithmetic measured between the
    /// passes.
    pub limit_tok_s: f64,
    /// Memory bandwidth measured between the passes; 0 in reports of versions without this field.
    #[serde(default)]
    pub read_bytes_per_s: f64,
    /// `tok_s / limit_tok_s`
    pub share: f64,
    /// `memory` or `arithmetic`: the resource that limits the roofline.
    pub bound_by: String,
    /// The use of the cache of routed experts by the measured passes; `None` if none are on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert_cache: Option<ExpertCacheReport>,
}

/// An error of a benchmark.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error(
        "{requested} KV blocks are needed for {sequences} sequences of {tokens} tokens, {free} were planned; raise --context or --concurrency, or measure smaller batches"
    )]
    Blocks {
        sequences: usize,
        /// Tokens of each sequence.
        tokens: usize,
        requested: usize,
        free: usize,
    },
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("the machine's limits could not be measured: {0}")]
    Device(#[from] DeviceError),
    #[error(
        "{steps} steps have {tokens} tokens, but the context holds {capacity}; measure fewer or shorter steps, or raise --context"
    )]
    Context {
        steps: usize,
        tokens: usize,
        /// Tokens that the context holds.
        capacity: usize,
    },
    #[error("step {step}: {cause}")]
    Step {
        /// Index of the step, from 0.
        step: usize,
        cause: String,
    },
    #[error("interrupted")]
    Canceled,
}

impl HasKind for BenchError {
    fn kind(&self) -> ErrorKind {
        match self {
            BenchError::Blocks { .. } | BenchError::Context { .. } => ErrorKind::Usage,
            BenchError::Step { .. } => ErrorKind::Bug,
            BenchError::Forward(error) => error.kind(),
            BenchError::Kv(error) => error.kind(),
            BenchError::Device(_) => ErrorKind::OutOfMemory,
            BenchError::Canceled => ErrorKind::Interrupted,
        }
    }
}
