//! Options, report and errors of a benchmark.

use device::DeviceError;
use error_kind::{ErrorKind, HasKind};
use serde::{Deserialize, Serialize};

use crate::kv::KvError;
use crate::models::ForwardError;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens decoded after the prompt.
    pub new_tokens: usize,
    /// Numbers of sequences that are decoded together, one measurement each.
    pub batches: Vec<usize>,
    /// Repetitions of the prefill; the report has the median.
    pub rounds: usize,
    /// Threads that measure the machine: as many as the model computes with.
    pub threads: Option<usize>,
}

/// Throughput of a model, compared with the machine's roofline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Memory bandwidth of all threads, the median of all measurements. With GPUs: the rate at
    /// which all weights can be read once, each from its device.
    pub read_bytes_per_s: f64,
    /// Peak arithmetic (2 operations for each multiply-add) of the kind that the weights need, the
    /// median of all measurements. On GPUs: what large products reach.
    pub dot_ops_per_s: f64,
    /// The kind of multiply-add.
    pub dot: String,
    /// Bytes of weights that every pass reads.
    pub weights_read_bytes: f64,
    /// Prefill, then decoding by number of sequences.
    pub figures: Vec<Figure>,
    /// Time to first token.
    pub ttft_s: f64,
    /// Time per output token of one sequence.
    pub tpot_s: f64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `prefill 512`, `decode`, `decode x8`.
    pub name: String,
    /// Tokens a second of all sequences together: the median.
    pub tok_s: f64,
    pub best_tok_s: f64,
    /// The roofline, with the bandwidth and arithmetic measured in between.
    pub limit_tok_s: f64,
    /// Memory bandwidth measured in between; 0 in reports of older versions.
    #[serde(default)]
    pub read_bytes_per_s: f64,
    /// `tok_s / limit_tok_s`
    pub share: f64,
    /// `memory` or `arithmetic`: what the roofline is limited by.
    pub bound_by: String,
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
        /// Index from 0.
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
