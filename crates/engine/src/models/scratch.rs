//! Everything a pass writes to besides the KV pool: allocated once, used by every pass.

use device::DeviceError;
use device::cpu::Cpu;

use crate::layers::{Buffers, Widths};

/// Buffers for passes of a bounded size. Made by [`crate::Model::scratch`].
pub struct Scratch {
    pub(crate) buffers: Buffers<Cpu>,
    /// `[logits_rows_max, vocab]`
    pub(crate) logits: Vec<f32>,
    /// Position of each row.
    pub(crate) positions: Vec<u32>,
    rows_max: usize,
    logits_rows_max: usize,
}

impl Scratch {
    pub(crate) fn new(
        cpu: &Cpu,
        widths: Widths,
        vocab: usize,
        rows_max: usize,
        logits_rows_max: usize,
    ) -> Result<Self, DeviceError> {
        Ok(Scratch {
            buffers: Buffers::new(cpu, widths, rows_max)?,
            logits: vec![0.0; logits_rows_max * vocab],
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

    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        4 * (self.logits.len() + self.positions.capacity()) as u64 + self.buffers.bytes()
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({} rows, {} with logits)", self.rows_max, self.logits_rows_max)
    }
}
