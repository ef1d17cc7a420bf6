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
    /// Nothing in memory, of layers with these numbers of experts.
    pub fn new(experts: impl Iterator<Item = usize>) -> Self {
        let layer = |experts: usize| LayerResidents {
            counts: UseCounts::new(experts),
            units: (0..experts * ExpertPart::ALL.len()).map(|_| None).collect(),
            coldest: None,
        };
        Residents { layers: experts.map(layer).collect() }
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use base::SplitMix64;
    use device::memory::Arena;

    use super::*;

    const LAYERS: usize = 8;
    const EXPERTS: usize = 32;
    const PER_TOKEN: usize = 4;

    /// The experts of a token in a layer, distinct. The chance of an expert falls with its rank,
    /// and each layer has another order of ranks.
    fn choose(rng: &mut SplitMix64, layer: usize, skew: f64) -> Vec<usize> {
        let weight = |rank: usize| ((rank + 1) as f64).powf(-skew);
        let total: f64 = (0..EXPERTS).map(weight).sum();
        let mut chosen = Vec::new();
        while chosen.len() < PER_TOKEN {
            let mut left = rng.next_f64() * total;
            let past = |rank: &usize| {
                left -= weight(*rank);
                left < 0.0
            };
            let rank = (0..EXPERTS).find(past).unwrap_or(0);
            let expert = (rank * 7 + layer * 11) % EXPERTS;
            if !chosen.contains(&expert) {
                chosen.push(expert);
            }
        }
        chosen
    }

    fn unit() -> ExpertUnit {
        ExpertUnit { matrices: Vec::new(), arena: Arena::new(0).expect("no memory at all") }
    }

    /// The share of experts found in a cache for `capacity` of them, after a warm-up.
    fn hit_rate(capacity: usize, skew: f64) -> f64 {
        let mut residents = Residents::new(std::iter::repeat_n(EXPERTS, LAYERS));
        let (mut rng, mut hits, mut count, mut used) = (SplitMix64(5), 0, 0, 0);
        for token in 0..800 {
            for layer in 0..LAYERS {
                let chosen = choose(&mut rng, layer, skew);
                residents.count(layer, 1, chosen.iter().map(|expert| (*expert, 1)));
                let id = |expert| UnitId { layer, expert, part: ExpertPart::Down };
                let missing: Vec<usize> =
                    chosen.iter().copied().filter(|e| !residents.pin(id(*e), true)).collect();
                if token >= 200 {
                    (count, hits) = (count + PER_TOKEN, hits + PER_TOKEN - missing.len());
                }
                for expert in missing {
                    if used == capacity {
                        residents.evict(layer).expect("not all are pinned");
                    }
                    used = (used + 1).min(capacity);
                    residents.insert(id(expert), unit());
                }
                chosen.iter().for_each(|expert| assert!(residents.pin(id(*expert), false)));
            }
        }
        f64::from(hits as u32) / f64::from(count as u32)
    }

    /// The same with the least recently used expert evicted.
    fn hit_rate_of_lru(capacity: usize, skew: f64) -> f64 {
        let (mut cache, mut rng, mut hits, mut count) = (VecDeque::new(), SplitMix64(5), 0, 0);
        for token in 0..800 {
            for layer in 0..LAYERS {
                for expert in choose(&mut rng, layer, skew) {
                    let at = cache.iter().position(|cached| *cached == (layer, expert));
                    if token >= 200 {
                        (count, hits) = (count + 1, hits + u32::from(at.is_some()));
                    }
                    if let Some(at) = at {
                        cache.remove(at);
                    } else if cache.len() == capacity {
                        cache.pop_front();
                    }
                    cache.push_back((layer, expert));
                }
            }
        }
        f64::from(hits) / f64::from(count)
    }

    #[test]
    fn more_is_found_than_with_the_least_recently_used_evicted() {
        for (capacity, skew) in [(26, 0.0), (26, 0.8), (64, 0.0), (64, 0.8), (128, 0.8)] {
            let (found, lru) = (hit_rate(capacity, skew), hit_rate_of_lru(capacity, skew));
            let share = capacity as f64 / (LAYERS * EXPERTS) as f64;
            assert!(found >= lru - 0.005, "{capacity}, {skew}: {found:.3} and {lru:.3}");
            // With equal chances no policy finds more than the share of experts that it holds.
            assert!(found >= share - 0.03, "{capacity}, {skew}: {found:.3} of {share:.3}");
            if skew > 0.0 {
                assert!(found > lru + 0.05, "{capacity}, {skew}: {found:.3} and {lru:.3}");
            }
        }
    }

    #[test]
    fn the_coldest_unit_that_is_not_pinned_goes_first() {
        let mut residents = Residents::new([4, 4].into_iter());
        let id = |layer, expert| UnitId { layer, expert, part: ExpertPart::GateUp };
        for layer in [0, 1] {
            residents.count(layer, 4, [(0, 3), (1, 1), (2, 1)].into_iter());
            (0..3).for_each(|expert| residents.insert(id(layer, expert), unit()));
        }
        assert!(residents.evict(0).is_none(), "all are pinned");
        for layer in [0, 1] {
            (0..3).for_each(|expert| assert!(residents.pin(id(layer, expert), false)));
        }
        assert!(residents.pin(id(1, 2), true));
        // Layer 0 comes last again after layer 0, so its cold experts go before those of layer 1.
        let mut gone = || {
            residents.evict(0).expect("one is not pinned");
            let left = |id: &UnitId| residents.get(*id).is_none();
            (0..6).map(|i| id(i / 3, i % 3)).filter(left).map(|id| (id.layer, id.expert)).collect()
        };
        let steps: Vec<Vec<(usize, usize)>> = (0..5).map(|_| gone()).collect();
        assert_eq!(steps[0], [(0, 2)]);
        assert_eq!(steps[1], [(0, 1), (0, 2)]);
        assert_eq!(steps[2], [(0, 1), (0, 2), (1, 1)]);
        assert_eq!(steps[3], [(0, 0), (0, 1), (0, 2), (1, 1)]);
        assert_eq!(steps[4], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
    }
}
