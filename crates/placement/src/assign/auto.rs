//! The best placement: the fewest bytes off the GPUs (in host memory or on disk), then the least
//! time per token, then the fewest cuts (changes of tier between consecutive modules).
//!
//! Embedding, norm and head may be on any GPU or off the GPUs. The layers of each GPU are one
//! contiguous run, GPUs may follow each other in any order, and at most one run of layers is off
//! the GPUs. Among the placements of this shape the search is exact: for each assignment of
//! embedding, norm and head, and for each set of GPUs that hold the layers before the run off the
//! GPUs, these GPUs hold as many of the first layers as possible and the other GPUs as many of the
//! last, so that the run in between is the smallest. If layers differ in size, `pack` searches for
//! orders that leave fewer bytes off the GPUs. With more than about five different GPUs the search
//! is cut short in the time a token (`cover::EXACT_MAX`, [`VISITS_MAX`]), never in the bytes.
//!
//! Routed experts are on the tier of their layer if all fits on the GPUs. Otherwise all other
//! modules go onto GPUs before any experts: the search then counts layers without their experts. If
//! GPUs can hold experts, `pack` fills with them what is left.
use super::cover::{Cover, LayerRun};
use super::gpu_classes::{GpuClasses, PrefixSums};
use super::layers::{ExpertsAre, LayerProblem};
use super::{Assigned, OnGpus, pack, sequence, split};
use crate::problem::Problem;
use crate::score::{HOP_NS, OffBytes, PlacementScore, item_ns, score};
use crate::{Shortage, Tier};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

/// Assignments of embedding, norm and head that leave more sets of GPUs than this are not searched.
/// If none remains, the GPUs are filled in their own order. Eight different GPUs form 256 sets.
const SETS_MAX: usize = 1024;

/// States of divisions into runs after which no further candidates of the same bytes off the GPUs
/// are tried, if one fits: they differ in time a token alone. Reached with more than five different
/// GPUs, after a second or two.
const VISITS_MAX: usize = 500_000;

/// An assignment of embedding, norm and head, and the run of layers that stays off the GPUs.
struct PlacementCandidate {
    single: usize,
    /// The set of GPUs that hold the layers before the run off the GPUs.
    front: usize,
    off: Range<usize>,
    off_bytes: u64,
}

/// One assignment of embedding, norm and head to GPUs, and the classes of GPUs that it leaves for
/// layers.
struct SingleModules {
    /// Pairs of module index and GPU; modules that are not listed are off the GPUs.
    placed: Vec<(usize, usize)>,
    kinds: GpuClasses,
}

/// The best placement, as defined at the top of this file.
///
/// # Errors
/// The shortage, if no placement fits.
pub(super) fn best(problem: &Problem) -> Result<Assigned, Box<Shortage>> {
    if !problem.has_experts() || problem.gpus.is_empty() {
        return best_runs(&LayerProblem::new(problem, ExpertsAre::OffGpus));
    }
    let off_bytes = |found: &Result<Assigned, Box<Shortage>>| match found {
        Ok(assigned) => score(problem, &assigned.tiers).off_bytes,
        Err(_) => OffBytes::MAX,
    };
    let holders = problem.gpus.iter().filter(|gpu| gpu.holds_experts).count();
    if holders == problem.gpus.len() {
        let whole = best_runs(&LayerProblem::new(problem, ExpertsAre::WithLayer));
        if off_bytes(&whole) == OffBytes::NONE {
            return whole;
        }
    }
    let mut best = best_runs(&LayerProblem::new(problem, ExpertsAre::OffGpus));
    if holders > 0 {
        // Host memory may be too small for all experts.
        let whole = best_runs(&LayerProblem::on_holders(problem));
        if off_bytes(&whole) < off_bytes(&best) {
            best = whole;
        }
    }
    if holders > 0
        && let Some(packed) = pack::pack(problem, off_bytes(&best))
        && let Ok(tiers) = split::least(problem, &packed, false)
    {
        return Ok(Assigned { tiers, notes: vec![pack::EXPERTS_NOTE.to_owned()] });
    }
    best
}

/// The best placement with at most one run of layers per GPU and one off the GPUs.
fn best_runs(layers: &LayerProblem) -> Result<Assigned, Box<Shortage>> {
    let problem = &layers.problem;
    let sums = PrefixSums::new(problem);
    let singles = singles(problem);
    let mut candidates = Vec::new();
    for (index, single) in singles.iter().enumerate() {
        candidates.extend(candidates_of(problem, &sums, single, index));
    }
    candidates.sort_by_key(|candidate| candidate.off_bytes);
    let least_off = candidates.first().map_or(u64::MAX, |candidate| candidate.off_bytes);
    let off = OffBytes { rest: least_off, experts: 0 };
    if least_off > 0
        && !pack::is_needless(problem, least_off)
        && let Some(packed) = pack::pack(problem, off)
        && let Ok(tiers) = split::least(layers.full, &layers.expand(&packed), false)
    {
        return Ok(Assigned { tiers, notes: vec![pack::NOTE.to_owned()] });
    }
    if candidates.is_empty() {
        let on_gpus = layers.expand(&sequence::sequential(problem));
        return split::least(layers.full, &on_gpus, false).map(Assigned::plain);
    }
    // Whether host memory and disk hold the modules off the GPUs does not depend on which GPU holds
    // which of the others, so the answer is the same for most candidates.
    let mut known = BTreeMap::new();
    let mut fits = |candidate: &PlacementCandidate| {
        let off = off_gpus(problem, &singles[candidate.single], candidate);
        *known.entry(off).or_insert_with_key(|off| {
            let on_gpus = off.iter().map(|off| (!off).then_some(0)).collect();
            !split::splits(layers.full, &layers.expand(&on_gpus), false).is_empty()
        })
    };
    for group in candidates.chunk_by(|a, b| a.off_bytes == b.off_bytes) {
        let fitting: Vec<&PlacementCandidate> = group.iter().filter(|c| fits(c)).collect();
        if let Some((_, tiers)) = best_of(layers, &sums, &singles, &fitting) {
            return Ok(Assigned::plain(in_gpus_order(problem, tiers)));
        }
    }
    let visits = Cell::new(0);
    let nearest =
        candidates.first().map(|candidate| on_gpus(layers, &sums, &singles, candidate, &visits));
    let nearest = nearest.flatten().unwrap_or_else(|| vec![None; problem.items.len()]);
    Err(Box::new(split::shortage(layers.full, &layers.expand(&nearest))))
}

fn best_of(
    layers: &LayerProblem,
    sums: &PrefixSums,
    singles: &[SingleModules],
    group: &[&PlacementCandidate],
) -> Option<(PlacementScore, Vec<Tier>)> {
    let bound = if group.first()?.off_bytes == 0 { lower_bound(layers) } else { None };
    let mut best: Option<(PlacementScore, Vec<Tier>)> = None;
    let visits = Cell::new(0);
    for candidate in group {
        if best.is_some() && visits.get() > VISITS_MAX {
            break;
        }
        let Some(on_gpus) = on_gpus(layers, sums, singles, candidate, &visits) else { continue };
        for tiers in split::splits(layers.full, &layers.expand(&on_gpus), false) {
            let found = score(layers.full, &tiers);
            if best.as_ref().is_none_or(|(known, _)| found < *known) {
                best = Some((found, tiers));
            }
        }
        if bound.is_some() && best.as_ref().map(|(score, _)| *score) <= bound {
            break;
        }
    }
    best
}

/// Whether each module is off the GPUs under a candidate.
fn off_gpus(
    problem: &Problem,
    single: &SingleModules,
    candidate: &PlacementCandidate,
) -> Vec<bool> {
    let is_placed = |item: usize| single.placed.iter().any(|(placed, _)| *placed == item);
    let is_off = |item: usize| match item {
        item if problem.tied && item == problem.head() => !is_placed(0),
        item if item == 0 || item >= problem.norm() => !is_placed(item),
        item => candidate.off.contains(&(item - 1)),
    };
    (0..problem.items.len()).map(is_off).collect()
}

/// All assignments of embedding, norm and head to GPUs or off them. Among identical GPUs that have
/// no module yet, only the first is tried.
fn singles(problem: &Problem) -> Vec<SingleModules> {
    let mut items = vec![0, problem.norm(), problem.head()];
    if problem.tied {
        items.pop();
    }
    let mut choices: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for item in items {
        let mut next = Vec::new();
        for choice in &choices {
            for gpu in 0..problem.gpus.len() {
                if !has_untouched_twin_before(problem, choice, gpu) {
                    next.push([choice.as_slice(), &[(item, gpu)]].concat());
                }
            }
            next.push(choice.clone());
        }
        choices = next;
    }
    choices
        .into_iter()
        .filter_map(|placed| {
            GpuClasses::new(problem, &placed).map(|kinds| SingleModules { placed, kinds })
        })
        .filter(|single| single.kinds.sets() <= SETS_MAX)
        .collect()
}

fn has_untouched_twin_before(problem: &Problem, choice: &[(usize, usize)], gpu: usize) -> bool {
    let touched = |gpu: usize| choice.iter().any(|(_, at)| *at == gpu);
    !touched(gpu)
        && (0..gpu).any(|other| !touched(other) && problem.gpus[other].is_twin(&problem.gpus[gpu]))
}

/// For each set of GPUs that may hold the leading layers, the fewest consecutive layers that must
/// be off the GPUs so that all others fit on them.
fn candidates_of(
    problem: &Problem,
    sums: &PrefixSums,
    single: &SingleModules,
    index: usize,
) -> Vec<PlacementCandidate> {
    let kinds = &single.kinds;
    let (mut ahead, mut behind) = (vec![0; kinds.sets()], vec![sums.layers(); kinds.sets()]);
    for set in 1..kinds.sets() {
        for (kind, of) in
            kinds.kinds.iter().enumerate().filter(|(kind, _)| kinds.count(set, *kind) > 0)
        {
            let less = kinds.without(set, kind);
            ahead[set] = sums.reach(of, ahead[less]).max(ahead[set]);
            behind[set] = sums.reach_back(of, behind[less]).min(behind[set]);
        }
    }
    let is_off = |item: &usize| !single.placed.iter().any(|(placed, _)| placed == item);
    let single_bytes: u64 = [0, problem.norm(), problem.head()]
        .into_iter()
        .filter(is_off)
        .map(|i| problem.items[i].weights)
        .sum();
    if (0..kinds.sets()).any(|set| ahead[set] >= behind[kinds.all() - set]) {
        return vec![PlacementCandidate {
            single: index,
            front: kinds.all(),
            off: 0..0,
            off_bytes: single_bytes,
        }];
    }
    let candidate = |front: usize| {
        let off = ahead[front]..behind[kinds.all() - front];
        let off_bytes = single_bytes + sums.weights[off.end] - sums.weights[off.start];
        PlacementCandidate { single: index, front, off, off_bytes }
    };
    (0..kinds.sets()).map(candidate).collect()
}

/// The GPU of each module under a candidate, with the best runs of layers; `None` if the GPUs
/// cannot hold the runs.
fn on_gpus(
    layers: &LayerProblem,
    sums: &PrefixSums,
    singles: &[SingleModules],
    candidate: &PlacementCandidate,
    visits: &Cell<usize>,
) -> Option<OnGpus> {
    let problem = &layers.problem;
    let SingleModules { placed, kinds } = &singles[candidate.single];
    let kind_at = |item: usize| {
        placed.iter().find(|(at, _)| *at == item).and_then(|(_, gpu)| kinds.of_gpu(*gpu))
    };
    let cover = |range: Range<usize>, set: usize, before: Option<usize>, after: Option<usize>| {
        Cover { problem, kinds, sums, range, set, before, after, visits }.best()
    };
    let (embedding, norm) = (kind_at(0), kind_at(problem.norm()));
    let runs = if candidate.off.is_empty() {
        cover(0..sums.layers(), kinds.all(), embedding, norm)?
    } else {
        let mut runs = cover(0..candidate.off.start, candidate.front, embedding, None)?;
        runs.extend(cover(
            candidate.off.end..sums.layers(),
            kinds.all() - candidate.front,
            None,
            norm,
        )?);
        runs
    };
    Some(placed_runs(problem, placed, kinds, &runs))
}

fn placed_runs(
    problem: &Problem,
    placed: &[(usize, usize)],
    kinds: &GpuClasses,
    runs: &[LayerRun],
) -> OnGpus {
    let mut on_gpus = vec![None; problem.items.len()];
    for (item, gpu) in placed {
        on_gpus[*item] = Some(*gpu);
    }
    if problem.tied {
        on_gpus[problem.head()] = on_gpus[0];
    }
    let mut taken = vec![0; kinds.kinds.len()];
    for run in runs {
        let gpu = kinds.kinds[run.kind].gpus[taken[run.kind]];
        taken[run.kind] += 1;
        on_gpus[1 + run.from..1 + run.to].fill(Some(gpu));
    }
    on_gpus
}

/// Renumbers identical GPUs in the order in which the forward pass uses them.
fn in_gpus_order(problem: &Problem, mut tiers: Vec<Tier>) -> Vec<Tier> {
    let mut seen: Vec<usize> = Vec::new();
    for tier in &tiers {
        if let Tier::Gpu(gpu) = tier
            && !seen.contains(gpu)
        {
            seen.push(*gpu);
        }
    }
    let mut renamed: Vec<Option<usize>> = vec![None; problem.gpus.len()];
    for &gpu in &seen {
        let twin = |other: &usize| {
            problem.gpus[*other].is_twin(&problem.gpus[gpu]) && !renamed.contains(&Some(*other))
        };
        renamed[gpu] = (0..problem.gpus.len()).find(twin);
    }
    for tier in &mut tiers {
        if let Tier::Gpu(gpu) = tier {
            *gpu = renamed[*gpu].unwrap_or(*gpu);
        }
    }
    tiers
}

/// A lower bound of the score of placements with all modules on GPUs, but for routed experts that
/// are off them: the time of the fastest GPU for every module, and the cuts between the fewest GPUs
/// that can hold all weights.
fn lower_bound(layers: &LayerProblem) -> Option<PlacementScore> {
    let problem = layers.full;
    let fastest = (0..problem.gpus.len()).max_by_key(|gpu| problem.gpus[*gpu].rate)?;
    let is_off =
        |item: usize| problem.items[item].is_experts() && layers.experts == ExpertsAre::OffGpus;
    let item_time = |item: usize| {
        if is_off(item) {
            item_ns(problem, item, Tier::Cpu).min(item_ns(problem, item, Tier::Disk))
        } else {
            item_ns(problem, item, Tier::Gpu(fastest))
        }
    };
    let time: u64 = (0..problem.items.len()).map(item_time).sum();
    let mut rooms: Vec<u64> = problem.gpus.iter().map(|gpu| gpu.budget.min(gpu.space())).collect();
    rooms.sort_unstable_by(|a, b| b.cmp(a));
    let mut left: u64 = layers.problem.items.iter().map(|item| item.weights).sum();
    let mut gpus = 0;
    for room in rooms {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(room);
        gpus += 1u64;
    }
    // The hidden states go to experts off the GPUs and come back.
    let away = (0..problem.items.len()).filter(|item| is_off(*item)).count() as u64;
    let cuts = gpus.saturating_sub(1) + 2 * away;
    let off_bytes = OffBytes::of(problem, is_off);
    Some(PlacementScore { off_bytes, time_ns: time + cuts * HOP_NS, cuts })
}
