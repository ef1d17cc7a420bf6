//! Packs layers of different sizes onto GPUs in any order.
//!
//! If all layers have the same size, contiguous runs are as good as any order. If sizes differ (a
//! dense first layer, mixed quantization), an order with several runs on one GPU may keep more
//! bytes on the GPUs. Each additional run costs only a copy of a hidden state, which is far cheaper
//! than a module off the GPUs. The same search fills GPUs with routed experts, after all else.
use super::OnGpus;
use crate::problem::Problem;
use crate::score::OffBytes;
use std::collections::BTreeMap;

/// The note that the plan shows for such an order.
pub(super) const NOTE: &str = "layers differ in size, and an order with several runs a GPU keeps more of them on the GPUs than one run a GPU";

/// The note if routed experts are apart from their layers.
pub(super) const EXPERTS_NOTE: &str = "routed experts are read only in part for a token: the GPUs hold all else first, and experts where room is left";

/// Maximum number of combinations of modules for one GPU that are tried before the search stops.
/// Models have two or three sizes of layers and need a few thousand.
const FILLINGS_MAX: usize = 200_000;

/// Modules of equal size. `weights` and `all` (weights, keys and values) are bytes of one module.
struct Class {
    experts: bool,
    weights: u64,
    all: u64,
    items: Vec<usize>,
}

/// Bytes on GPUs, compared from left to right: those of all modules but routed experts, and those
/// of routed experts.
type Held = (u64, u64);

/// The maximum bytes of the remaining modules that the GPUs from one index on can hold, and the
/// number of modules of each class that the first of these GPUs holds.
type Best = (Held, Vec<usize>);

struct PackSearch<'a> {
    problem: &'a Problem,
    classes: Vec<Class>,
    /// Results by GPU index and remaining number of modules in each class.
    known: BTreeMap<(usize, Vec<usize>), Best>,
    fillings_left: usize,
}

/// Whether no order of layers can leave fewer bytes off the GPUs than one run per GPU, which leaves
/// `off_bytes`.
pub(super) fn is_needless(problem: &Problem, off_bytes: u64) -> bool {
    let layers = &problem.items[1..problem.norm()];
    let alike = layers
        .windows(2)
        .all(|pair| (pair[0].weights, pair[0].kv) == (pair[1].weights, pair[1].kv));
    let total: u64 = problem.items.iter().map(|item| item.weights).sum();
    let room: u64 =
        problem.gpus.iter().map(|gpu| gpu.budget.min(gpu.space())).fold(0, u64::saturating_add);
    (alike && off_bytes < u64::MAX) || total.saturating_sub(room) >= off_bytes
}

/// The assignment that keeps the most bytes on the GPUs; `None` if it leaves `off` or more off
/// them.
pub(super) fn pack(problem: &Problem, off: OffBytes) -> Option<OnGpus> {
    let classes = classes(problem);
    let left: Vec<usize> = classes.iter().map(|class| class.items.len()).collect();
    let mut search =
        PackSearch { problem, classes, known: BTreeMap::new(), fillings_left: FILLINGS_MAX };
    let held = search.most(0, &left);
    let total = OffBytes::of(problem, |_| true);
    let left_off = OffBytes { rest: total.rest - held.0, experts: total.experts - held.1 };
    (left_off < off).then(|| search.laid_out(left))
}

fn classes(problem: &Problem) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (index, item) in problem.items.iter().enumerate() {
        if problem.tied && index == problem.head() {
            continue;
        }
        let (weights, all) = (item.weights, item.weights.saturating_add(item.kv));
        let key = (item.is_experts(), weights, all);
        match classes.iter_mut().find(|class| (class.experts, class.weights, class.all) == key) {
            Some(class) => class.items.push(index),
            None => {
                let (experts, items) = (item.is_experts(), vec![index]);
                classes.push(Class { experts, weights, all, items });
            }
        }
    }
    classes.sort_by_key(|class| (class.experts, std::cmp::Reverse(class.all)));
    classes
}

impl PackSearch<'_> {
    /// The maximum bytes that the GPUs from `gpu` on can hold, if `left` is the remaining number of
    /// modules in each class.
    fn most(&mut self, gpu: usize, left: &[usize]) -> Held {
        if gpu == self.problem.gpus.len() || left.iter().all(|count| *count == 0) {
            return (0, 0);
        }
        if let Some((held, _)) = self.known.get(&(gpu, left.to_vec())) {
            return *held;
        }
        let room = (self.problem.gpus[gpu].budget, self.problem.gpus[gpu].space());
        let may_hold = |(left, class): (&usize, &Class)| {
            if class.experts && !self.problem.gpus[gpu].holds_experts { 0 } else { *left }
        };
        let here: Vec<usize> = left.iter().zip(&self.classes).map(may_hold).collect();
        let mut fillings = Vec::new();
        self.fillings(&here, 0, room, &mut vec![0; left.len()], &mut fillings);
        let mut best: Best = ((0, 0), vec![0; left.len()]);
        for filling in fillings {
            let rest: Vec<usize> =
                left.iter().zip(&filling).map(|(left, taken)| left - taken).collect();
            let mut held = self.most(gpu + 1, &rest);
            for (count, class) in filling.iter().zip(&self.classes) {
                let bytes = *count as u64 * class.weights;
                *if class.experts { &mut held.1 } else { &mut held.0 } += bytes;
            }
            if held > best.0 {
                best = (held, filling);
            }
        }
        let held = best.0;
        self.known.insert((gpu, left.to_vec()), best);
        held
    }

    /// All maximal combinations of at most `left` modules that fit on one GPU, as numbers of
    /// modules per class: no further module would fit.
    fn fillings(
        &mut self,
        left: &[usize],
        class: usize,
        room: (u64, u64),
        taken: &mut Vec<usize>,
        found: &mut Vec<Vec<usize>>,
    ) {
        if self.fillings_left == 0 {
            return;
        }
        let Some(of) = self.classes.get(class) else {
            self.fillings_left -= 1;
            let more = |(at, of): (usize, &Class)| {
                taken[at] < left[at] && of.weights <= room.0 && of.all <= room.1
            };
            if !self.classes.iter().enumerate().any(more) {
                found.push(taken.clone());
            }
            return;
        };
        let (weights, all) = (of.weights, of.all);
        let by = |room: u64, each: u64| {
            room.checked_div(each).map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        let most = left[class].min(by(room.0, weights)).min(by(room.1, all));
        for count in (0..=most).rev() {
            taken[class] = count;
            let used = count as u64;
            self.fillings(
                left,
                class + 1,
                (room.0 - used * weights, room.1 - used * all),
                taken,
                found,
            );
        }
        taken[class] = 0;
    }

    /// Assigns the modules of each class in their order to the GPUs in their order.
    fn laid_out(&self, mut left: Vec<usize>) -> OnGpus {
        let mut on_gpus = vec![None; self.problem.items.len()];
        let mut items: Vec<_> = self.classes.iter().map(|class| class.items.iter()).collect();
        for gpu in 0..self.problem.gpus.len() {
            let Some((_, filling)) = self.known.get(&(gpu, left.clone())) else { break };
            for (class, count) in filling.iter().enumerate() {
                for item in items[class].by_ref().take(*count) {
                    on_gpus[*item] = Some(gpu);
                }
                left[class] -= count;
            }
        }
        if self.problem.tied {
            on_gpus[self.problem.head()] = on_gpus[0];
        }
        on_gpus
    }
}
