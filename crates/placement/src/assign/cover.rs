//! Divides a range of layers into contiguous runs, one per GPU: the least time, then the fewest
//! cuts, then the order closest to that of the GPUs.
use super::gpu_classes::{GpuClasses, PrefixSums};
use crate::problem::Problem;
use crate::score::{HOP_NS, read_ns};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

/// Sets of GPUs times layers times classes up to which every length of every run is tried. Beyond
/// it all runs but one are as long as their GPUs allow: with layers of one size, a second shorter
/// run only moves layers from a faster GPU to a slower one.
const EXACT_MAX: usize = 16_384;

/// A contiguous run of layers, `from..to`, and the class of its GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerRun {
    pub kind: usize,
    pub from: usize,
    pub to: usize,
}

/// A range of layers to divide, and the GPUs that are available for it.
pub(super) struct Cover<'a> {
    pub problem: &'a Problem,
    pub kinds: &'a GpuClasses,
    pub sums: &'a PrefixSums,
    pub range: Range<usize>,
    /// The set of available GPUs, as numbered by [`GpuClasses`].
    pub set: usize,
    /// The class of the GPU that holds the module before (or after) the range, if any.
    pub before: Option<usize>,
    pub after: Option<usize>,
    /// Counts the states that are visited.
    pub visits: &'a Cell<usize>,
}

/// Cost of a division, compared from left to right: nanoseconds including hops, number of cuts, and
/// number of changes to a class whose first GPU has a lower index.
type Cost = (u64, u64, u64);

/// The least cost of each state that was reached, and the state and the run before it.
type ReachedStates = BTreeMap<CoverState, (Cost, Option<(CoverState, LayerRun)>)>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CoverState {
    set: usize,
    at: usize,
    last: Option<usize>,
    /// Whether a run is shorter than its GPU allows, if only one may be.
    shorter: bool,
}

impl Cover<'_> {
    /// The best runs, in the order of the layers; `None` if the GPUs cannot hold the range. States
    /// are visited in the order of the least cost that a division through them can have, so the
    /// first that covers the range is the best.
    pub fn best(&self) -> Option<Vec<LayerRun>> {
        let times = self.times();
        let available = |kind: &usize| self.kinds.count(self.set, *kind) > 0;
        let fastest = (0..times.len()).filter(available).min_by_key(|kind| times[*kind].last());
        let least = |state: &CoverState, cost: Cost| {
            if state.at == self.range.end {
                let hop = u64::from(state.last != self.after || self.after.is_none());
                return (cost.0 + hop * HOP_NS, cost.1 + hop, cost.2);
            }
            let left =
                fastest.map_or(0, |kind| times[kind][self.range.end] - times[kind][state.at]);
            (cost.0 + left, cost.1, cost.2)
        };
        let start = CoverState { set: 0, at: self.range.start, last: self.before, shorter: false };
        let mut reached: ReachedStates = BTreeMap::from([(start, ((0, 0, 0), None))]);
        let mut open = BinaryHeap::from([Reverse((least(&start, (0, 0, 0)), start))]);
        while let Some(Reverse((bound, state))) = open.pop() {
            let (cost, _) = reached[&state];
            if bound > least(&state, cost) {
                continue; // It was reached at less cost since.
            }
            self.visits.set(self.visits.get() + 1);
            if state.at == self.range.end {
                return Some(runs_to(&reached, state));
            }
            for (to, to_cost, run) in self.steps(&times, state, cost) {
                if reached.get(&to).is_none_or(|(known, _)| to_cost < *known) {
                    reached.insert(to, (to_cost, Some((state, run))));
                    open.push(Reverse((least(&to, to_cost), to)));
                }
            }
        }
        None
    }

    fn steps(
        &self,
        times: &[Vec<u64>],
        place: CoverState,
        cost: Cost,
    ) -> Vec<(CoverState, Cost, LayerRun)> {
        let mut steps = Vec::new();
        let exact = self.kinds.sets() * self.sums.layers() * self.kinds.kinds.len() <= EXACT_MAX;
        for (kind, of) in self.kinds.kinds.iter().enumerate() {
            if self.kinds.count(place.set, kind) >= self.kinds.count(self.set, kind) {
                continue;
            }
            let reach = self.sums.reach(of, place.at).min(self.range.end);
            // If all GPUs are equally fast, a shorter run is never better.
            let longest_only = self.one_rate() || (place.shorter && !exact);
            let shortest = if longest_only { reach } else { place.at + 1 };
            for to in shortest.max(place.at + 1)..=reach {
                // A further run of the same class is on another GPU and costs a hop. Only the first
                // run can share a GPU with the module before the range.
                let hop = u64::from(place.set != 0 || place.last != Some(kind));
                let back = u64::from(
                    place.last.is_some_and(|last| self.first_gpu(last) > self.first_gpu(kind)),
                );
                let time = cost.0 + times[kind][to] - times[kind][place.at] + hop * HOP_NS;
                let run = LayerRun { kind, from: place.at, to };
                let place = CoverState {
                    set: self.kinds.with(place.set, kind),
                    at: to,
                    last: Some(kind),
                    shorter: !exact && (place.shorter || to < reach),
                };
                steps.push((place, (time, cost.1 + hop, cost.2 + back), run));
            }
        }
        steps
    }

    fn one_rate(&self) -> bool {
        self.problem.gpus.windows(2).all(|pair| pair[0].rate == pair[1].rate)
    }

    fn first_gpu(&self, kind: usize) -> usize {
        self.kinds.kinds[kind].gpus[0]
    }

    /// For each class, the nanoseconds that a token spends on the first `i` layers: `[class][i]`.
    fn times(&self) -> Vec<Vec<u64>> {
        let times = |kind: usize| {
            let rate = self.problem.gpus[self.first_gpu(kind)].rate;
            let layers = &self.problem.items[1..self.problem.norm()];
            let sums = layers.iter().scan(0u64, |sum, item| {
                *sum += read_ns(item.active, rate);
                Some(*sum)
            });
            std::iter::once(0).chain(sums).collect()
        };
        (0..self.kinds.kinds.len()).map(times).collect()
    }
}

/// The runs that lead to a state.
fn runs_to(reached: &ReachedStates, mut state: CoverState) -> Vec<LayerRun> {
    let mut runs = Vec::new();
    while let Some((before, run)) = reached[&state].1 {
        runs.push(run);
        state = before;
    }
    runs.reverse();
    runs
}
