//! Mixtures of experts: the choice of experts, and multiplications grouped by expert.
//!
//! Every chosen expert of a row is a *slot*. Slots are sorted by expert and then by row, so that an
//! expert's slots are consecutive and its weights are read once per pass. A slot's results depend
//! on its row alone, and a row's outputs are added in the order of its choice, so that results do
//! not depend on the rows that share an expert.

mod activate;
mod combine;
mod linear;
mod route;

use std::ops::Range;

use super::Cpu;
use super::packed_activations::PackSource;
use crate::DeviceError;
use crate::backend::Epilogue;

/// The experts of the rows of a pass. The buffers are reused by every call of [`Cpu::route`].
#[derive(Debug, Default)]
pub struct ExpertRoutes {
    /// Number of rows.
    rows: usize,
    /// Experts of a row.
    per_row: usize,
    /// Experts of the layer.
    experts: usize,
    /// `[rows, per_row]`: the chosen experts, in the order of their scores.
    chosen: Vec<u32>,
    /// `[rows, per_row]`: the weights of their outputs.
    weights: Vec<f32>,
    /// `[rows, per_row]`: the slots of the chosen experts.
    slots: Vec<u32>,
    /// `[slots]`: the row of each slot.
    slot_rows: Vec<u32>,
    /// The experts that any row uses, ascending.
    groups: Vec<ExpertGroup>,
}

/// The slots of one expert.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExpertGroup {
    expert: usize,
    slots: Range<usize>,
}

impl ExpertRoutes {
    /// The chosen experts of row `row`, best first.
    pub fn chosen(&self, row: usize) -> &[u32] {
        &self.chosen[row * self.per_row..(row + 1) * self.per_row]
    }

    /// The weights of the outputs of [`Self::chosen`].
    pub fn weights(&self, row: usize) -> &[f32] {
        &self.weights[row * self.per_row..(row + 1) * self.per_row]
    }

    /// The slot of the expert with rank `rank` of row `row`.
    pub fn slot(&self, row: usize, rank: usize) -> usize {
        self.slots[row * self.per_row + rank] as usize
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of experts that any row uses.
    pub fn distinct(&self) -> usize {
        self.groups.len()
    }

    /// The experts that any row uses, ascending, and the number of rows that use each.
    pub fn uses(&self) -> impl Iterator<Item = (usize, usize)> {
        self.groups.iter().map(|group| (group.expert, group.slots.len()))
    }

    /// Number of slots: `rows * per_row`.
    fn len(&self) -> usize {
        self.slot_rows.len()
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.groups.iter().map(|group| group.slots.clone())
    }

    /// Bytes of allocated memory.
    pub fn capacity_bytes(&self) -> usize {
        let words = self.chosen.capacity()
            + self.weights.capacity()
            + self.slots.capacity()
            + self.slot_rows.capacity();
        4 * words + self.groups.capacity() * size_of::<ExpertGroup>()
    }

    /// Sorts the chosen experts of all rows into slots.
    fn assign_slots(&mut self) {
        // A counting sort, which is stable: the slots of an expert are in the order of their rows.
        let mut next = vec![0u32; self.experts + 1];
        for &expert in &self.chosen {
            next[expert as usize + 1] += 1;
        }
        self.groups.clear();
        for expert in 0..self.experts {
            let count = next[expert + 1];
            next[expert + 1] += next[expert];
            let slots = next[expert] as usize..(next[expert] + count) as usize;
            if count > 0 {
                self.groups.push(ExpertGroup { expert, slots });
            }
        }
        self.slots.clear();
        self.slot_rows.clear();
        self.slot_rows.resize(self.chosen.len(), 0);
        for (at, &expert) in self.chosen.iter().enumerate() {
            let slot = &mut next[expert as usize];
            self.slots.push(*slot);
            self.slot_rows[*slot as usize] = (at / self.per_row) as u32;
            *slot += 1;
        }
    }
}

impl Cpu {
    /// Packs the rows of `x`, `[rows, cols]`, for the experts that they use.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub(super) fn pack_for_experts(
        &self,
        x: &[f32],
        routes: &ExpertRoutes,
        epilogue: Epilogue<Cpu>,
    ) -> Result<(), DeviceError> {
        let Epilogue { packed, rows, cols, dtypes } = epilogue;
        super::expect("experts: rows", routes.rows, rows)?;
        super::expect("experts: x is [rows, cols]", rows * cols, x.len())?;
        let source = PackSource { x, cols, rows: Some(&routes.slot_rows) };
        packed.pack_groups(self, source, routes.ranges(), dtypes)
    }
}
