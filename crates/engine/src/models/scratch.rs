//! Everything a pass writes to besides the KV pool: allocated once, used by every pass.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::cpu::Precision;
use device::cuda::BatchShape;
use placement::{CHUNK_TOKENS, LOGITS_ROWS};

use super::work::{GpuBuffers, Work, WorkSizes};
use crate::compute::{Route, Sites};
use crate::kv::BLOCK_TOKENS;
use crate::layers::Widths;

/// Buffers for passes of a bounded size, on every device of a model. Made by
/// [`crate::Model::scratch`].
pub struct Scratch {
    pub(crate) work: Work,
    /// `[logits_rows_max, vocab]`
    pub(crate) logits: Vec<f32>,
    /// Position of each row.
    pub(crate) positions: Vec<u32>,
    rows_max: usize,
    logits_rows_max: usize,
}

/// What buffers have to be enough for.
#[derive(Clone, Copy)]
pub(crate) struct Capacity {
    /// Positions of a sequence.
    pub positions: usize,
    /// Blocks of the KV pool.
    pub kv_blocks: usize,
    /// How activations enter products.
    pub precision: Precision,
}

impl Scratch {
    /// Buffers for as many rows as the plan counts.
    pub(crate) fn new(
        sites: &Sites,
        route: &Route,
        config: &ModelConfig,
        capacity: Capacity,
    ) -> Result<Self, DeviceError> {
        let rows_max = CHUNK_TOKENS.min(capacity.positions.max(LOGITS_ROWS));
        let logits_rows_max = LOGITS_ROWS.min(rows_max);
        let logits = logits_rows_max * config.vocab_size;
        let rows = BatchShape {
            tokens: rows_max,
            sequences: rows_max,
            entries: rows_max * capacity.positions.div_ceil(BLOCK_TOKENS),
            group: config.heads / config.kv_heads.max(1),
            block_tokens: BLOCK_TOKENS,
            blocks: capacity.kv_blocks,
        };
        let sizes =
            WorkSizes { widths: Widths::of(config), rows, logits, precision: capacity.precision };
        Ok(Scratch {
            work: Work::new(sites, route, &sizes)?,
            logits: vec![0.0; logits],
            positions: Vec::with_capacity(rows_max),
            rows_max,
            logits_rows_max,
        })
    }

    /// The most rows of one pass.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// The most rows of one pass that logits can be asked for.
    pub fn logits_rows_max(&self) -> usize {
        self.logits_rows_max
    }

    /// Bytes taken of host memory.
    pub fn bytes(&self) -> u64 {
        4 * (self.logits.len() + self.positions.capacity()) as u64 + self.work.host.bytes()
    }

    /// Bytes taken of the memory of a GPU, by its place among the model's.
    pub(crate) fn gpu_bytes(&self, gpu: usize) -> u64 {
        self.work.gpus.get(gpu).map_or(0, GpuBuffers::bytes)
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({} rows, {} with logits)", self.rows_max, self.logits_rows_max)
    }
}
