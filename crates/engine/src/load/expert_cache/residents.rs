//! [`Residents`]: the experts of the disk tier that are in memory, and which of them to give up.

use std::cmp::Ordering;

use super::layout::ExpertLayout;
use super::reader::{ExpertUnit, UnitId};
use super::use_counts::UseCounts;
use crate::weights::ExpertPart;

/// The parts of experts in memory, by layer.
pub(super) struct Residents {
    layers: Vec<LayerResidents>,
}

struct LayerResidents {
    counts: UseCounts,
    /// By [`ExpertLayout::index`].
    units: Vec<Option<Resident>>,
    /// The index of the unpinned unit with the lowest count; `None` if it is not known.
    coldest: Option<Option<usize>>,
}

struct Resident {
    unit: ExpertUnit,
    /// Whether the current pass needs it.
    pinned: bool,
}

impl Residents {
    pub fn new(layers: &[ExpertLayout]) -> Self {
        let layer = |layout: &ExpertLayout| LayerResidents {
            counts: UseCounts::new(layout.experts()),
            units: (0..layout.len()).map(|_| None).collect(),
            coldest: None,
        };
        Residents { layers: layers.iter().map(layer).collect() }
    }

    /// Counts the uses of a pass of `tokens` tokens in a layer.
    pub fn count(
        &mut self,
        layer: usize,
        tokens: usize,
        uses: impl Iterator<Item = (usize, usize)>,
    ) {
        self.layers[layer].counts.add(tokens, uses);
        self.layers[layer].coldest = None;
    }

    pub fn get(&self, id: UnitId) -> Option<&ExpertUnit> {
        self.layers[id.layer].units[id.index()].as_ref().map(|resident| &resident.unit)
    }

    /// Adds a unit, pinned.
    pub fn insert(&mut self, id: UnitId, unit: ExpertUnit) {
        self.layers[id.layer].units[id.index()] = Some(Resident { unit, pinned: true });
    }

    /// Pins or unpins a unit; false if it is not in memory.
    pub fn pin(&mut self, id: UnitId, pinned: bool) -> bool {
        let layer = &mut self.layers[id.layer];
        layer.coldest = None;
        let unit = &mut layer.units[id.index()];
        unit.as_mut().is_some_and(|resident| {
            resident.pinned = pinned;
            true
        })
    }

    /// Removes the unpinned unit with the lowest count; of several, the one whose layer comes last
    /// after `layer`, the current one. `None` if all are pinned.
    pub fn evict(&mut self, layer: usize) -> Option<ExpertUnit> {
        let count = self.layers.len();
        // The number of layers between a layer's next pass and now.
        let distance = |of: usize| (of + count - layer - 1) % count;
        let mut coldest: Option<(f64, usize, usize)> = None;
        for (of, residents) in self.layers.iter_mut().enumerate() {
            let Some(index) = residents.coldest() else { continue };
            let uses = residents.uses(index);
            let is_colder = coldest.is_none_or(|(least, before, _)| {
                uses < least || (uses == least && distance(of) > distance(before))
            });
            if is_colder {
                coldest = Some((uses, of, index));
            }
        }
        let (_, of, index) = coldest?;
        self.layers[of].coldest = None;
        self.layers[of].units[index].take().map(|resident| resident.unit)
    }
}

impl LayerResidents {
    /// The uses of the expert of a unit.
    fn uses(&self, index: usize) -> f64 {
        self.counts.of(index / ExpertPart::ALL.len())
    }

    /// The unpinned unit with the lowest count and, of several, the highest index.
    fn coldest(&mut self) -> Option<usize> {
        if let Some(known) = self.coldest {
            return known;
        }
        let free = |index: &usize| matches!(&self.units[*index], Some(unit) if !unit.pinned);
        let colder = |a: &usize, b: &usize| match self.uses(*a).total_cmp(&self.uses(*b)) {
            Ordering::Equal => b.cmp(a),
            other => other,
        };
        let coldest = (0..self.units.len()).filter(free).min_by(colder);
        self.coldest = Some(coldest);
        coldest
    }
}

impl UnitId {
    fn index(&self) -> usize {
        ExpertLayout::index(self.expert, self.part)
    }
}
