//! [`ForwardScratch`]: the memory that forward passes write to, besides the KV pool.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::backend::Precision;
use device::cpu::HostBuffer;
use device::cuda::BatchShape;
use placement::{CHUNK_TOKENS, LOGITS_ROWS};

use super::device_buffers::{DeviceBufferSizes, DeviceBuffers, GpuBuffers};
use crate::devices::{DeviceSet, ModulePlacement};
use crate::kv::BLOCK_TOKENS;

/// Buffers for forward passes of a bounded size, on every device of a model. Allocated once by
/// [`crate::Model::scratch`].
pub struct ForwardScratch {
    pub(super) buffers: DeviceBuffers,
    /// `[logits_rows_max, vocab]`
    pub(super) logits: HostBuffer,
    /// Position of each row.
    pub(super) positions: Vec<u32>,
    /// Number of routed experts whose weights the last pass read, over all layers.
    pub(super) experts_read: usize,
    rows_max: usize,
    logits_rows_max: usize,
}

/// The limits that buffers are allocated for.
#[derive(Clone, Copy)]
pub(crate) struct ModelCapacity {
    /// Maximum positions of a sequence.
    pub positions: usize,
    /// Number of blocks of the KV pool.
    pub kv_blocks: usize,
    pub precision: Precision,
}

impl ForwardScratch {
    /// Allocates buffers for the maximum number of rows that the planner assumes.
    pub(crate) fn new(
        devices: &DeviceSet,
        placement: &ModulePlacement,
        config: &ModelConfig,
        capacity: ModelCapacity,
    ) -> Result<Self, DeviceError> {
        let rows_max = CHUNK_TOKENS.min(capacity.positions.max(LOGITS_ROWS));
        let logits_rows_max = LOGITS_ROWS.min(rows_max);
        let logits_len = logits_rows_max * config.vocab_size;
        let pass = BatchShape {
            tokens: rows_max,
            sequences: rows_max,
            entries: rows_max * capacity.positions.div_ceil(BLOCK_TOKENS),
            group: config.heads / config.kv_heads.max(1),
            block_tokens: BLOCK_TOKENS,
            blocks: capacity.kv_blocks,
        };
        let sizes = DeviceBufferSizes { pass, logits_len, precision: capacity.precision };
        Ok(ForwardScratch {
            buffers: DeviceBuffers::new(devices, placement, config, &sizes)?,
            logits: HostBuffer::new(logits_len),
            positions: Vec::with_capacity(rows_max),
            experts_read: 0,
            rows_max,
            logits_rows_max,
        })
    }

    /// Maximum rows of one pass.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Maximum rows of one pass whose logits can be requested.
    pub fn logits_rows_max(&self) -> usize {
        self.logits_rows_max
    }

    /// Number of routed experts whose weights the last pass read, over all layers: experts that
    /// several rows use count once.
    pub fn experts_read(&self) -> usize {
        self.experts_read
    }

    /// Bytes of host memory.
    pub fn bytes(&self) -> u64 {
        let own = 4 * (self.logits.capacity() + self.positions.capacity());
        own as u64 + self.buffers.host.bytes()
    }

    /// Bytes on the GPU with index `gpu` in the model's [`DeviceSet::gpus`].
    pub(crate) fn gpu_bytes(&self, gpu: usize) -> u64 {
        self.buffers.gpus.get(gpu).map_or(0, GpuBuffers::bytes)
    }
}

impl std::fmt::Debug for ForwardScratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForwardScratch({} rows, {} with logits)", self.rows_max, self.logits_rows_max)
    }
}
