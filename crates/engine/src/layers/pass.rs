//! What all blocks of one pass share.

use device::DeviceError;
use device::cpu::RopeTable;
use device::cpu::attention::{AttentionOptions, KvLayer, Sequence};

use super::Arithmetic;

/// One forward pass on its way through the blocks.
pub(crate) struct Pass<'a> {
    pub arithmetic: Arithmetic<'a>,
    pub rope: RopeTable<'a>,
    /// Position of each row.
    pub positions: &'a [u32],
    pub sequences: &'a [Sequence<'a>],
    /// Keys and values, one a layer.
    pub kv: &'a mut [KvLayer],
    /// The block that computes.
    pub layer: usize,
    /// Features of the residual stream.
    pub hidden: usize,
}

impl Pass<'_> {
    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Stores the rows' keys and values, both `[rows, kv_heads, head_dim]`, for this block.
    pub fn remember(&mut self, k: &[f32], v: &[f32]) -> Result<(), DeviceError> {
        self.arithmetic.cpu.write_kv(&mut self.kv[self.layer], self.sequences, k, v)
    }

    /// What each row's queries, `[rows, heads, head_dim]`, gather from its sequence.
    pub fn attend(&self, q: &[f32], heads: usize, window: Option<usize>, out: &mut [f32]) -> Result<(), DeviceError> {
        let layer = &self.kv[self.layer];
        let scale = 1.0 / (layer.shape().key_dim as f32).sqrt();
        let options = AttentionOptions { heads, scale, window, sinks: None };
        self.arithmetic.cpu.attention(layer, self.sequences, &options, q, out)
    }
}
