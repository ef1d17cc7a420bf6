//! The best placement: the fewest bytes off the cards, then the least time a token, then the fewest cuts.
//!
//! Embedding, norm and head go anywhere; blocks form one contiguous run a card, in any order of cards, and at most one run off the cards.
//! Within that the search is exact. For each place of the three single modules, and each set of cards that stands before the run off the
//! cards (the others stand behind it), the furthest reach from both ends leaves the smallest run between. Where blocks differ in size and
//! another order leaves fewer bytes off the cards, that one is taken.
use super::cover::{Cover, Run};
use super::kinds::{Kinds, Sums};
use super::{Assigned, OnCards, pack, sequence, split};
use crate::problem::Problem;
use crate::score::{HOP_NS, Score, item_ns, score};
use crate::{Shortage, Tier};
use std::ops::Range;

/// Above so many sets of cards, only the cards' own order is looked at. Eight different cards make 256 sets.
const SETS_MAX: usize = 1024;

/// Where the single modules are, and the blocks that stay off the cards.
struct Candidate {
    single: usize,
    /// Cards before the run off the cards.
    front: usize,
    off: Range<usize>,
    off_bytes: u64,
}

/// One choice of places for embedding, norm and head.
struct Single {
    /// Item and card.
    placed: Vec<(usize, usize)>,
    kinds: Kinds,
}

/// # Errors
/// What is short where nothing fits.
pub(super) fn best(problem: &Problem) -> Result<Assigned, Box<Shortage>> {
    let sums = Sums::new(problem);
    let singles = singles(problem);
    let mut candidates = Vec::new();
    for (index, single) in singles.iter().enumerate() {
        candidates.extend(candidates_of(problem, &sums, single, index));
    }
    candidates.sort_by_key(|candidate| candidate.off_bytes);
    let least_off = candidates.first().map_or(u64::MAX, |candidate| candidate.off_bytes);
    if least_off > 0
        && let Some(packed) = pack::pack(problem, least_off)
        && let Ok(tiers) = split::least(problem, &packed, false)
    {
        return Ok(Assigned { tiers, notes: vec![pack::NOTE.to_owned()] });
    }
    if candidates.is_empty() {
        return split::least(problem, &sequence::sequential(problem), false).map(Assigned::plain);
    }
    for group in candidates.chunk_by(|a, b| a.off_bytes == b.off_bytes) {
        if let Some((_, tiers)) = best_of(problem, &sums, &singles, group) {
            return Ok(Assigned::plain(in_cards_order(problem, tiers)));
        }
    }
    let nearest = candidates.first().map(|candidate| on_cards(problem, &sums, &singles, candidate));
    let nearest = nearest.flatten().unwrap_or_else(|| vec![None; problem.items.len()]);
    Err(Box::new(split::shortage(problem, &nearest)))
}

fn best_of(
    problem: &Problem,
    sums: &Sums,
    singles: &[Single],
    group: &[Candidate],
) -> Option<(Score, Vec<Tier>)> {
    let bound = if group[0].off_bytes == 0 { lower_bound(problem) } else { None };
    let mut best: Option<(Score, Vec<Tier>)> = None;
    for candidate in group {
        let Some(on_cards) = on_cards(problem, sums, singles, candidate) else { continue };
        for tiers in split::ways(problem, &on_cards, false) {
            let found = score(problem, &tiers);
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

/// All places of embedding, norm and head on cards or off them, the most natural first. Of cards that are alike only the first that is
/// still untouched is tried.
fn singles(problem: &Problem) -> Vec<Single> {
    let mut items = vec![0, problem.norm(), problem.head()];
    if problem.tied {
        items.pop();
    }
    let mut choices: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for item in items {
        let mut next = Vec::new();
        for choice in &choices {
            for card in 0..problem.cards.len() {
                if !has_untouched_twin_before(problem, choice, card) {
                    next.push([choice.as_slice(), &[(item, card)]].concat());
                }
            }
            next.push(choice.clone());
        }
        choices = next;
    }
    choices
        .into_iter()
        .filter_map(|placed| Kinds::new(problem, &placed).map(|kinds| Single { placed, kinds }))
        .filter(|single| single.kinds.sets() <= SETS_MAX)
        .collect()
}

fn has_untouched_twin_before(problem: &Problem, choice: &[(usize, usize)], card: usize) -> bool {
    let touched = |card: usize| choice.iter().any(|(_, at)| *at == card);
    !touched(card)
        && (0..card)
            .any(|other| !touched(other) && problem.cards[other].is_twin(&problem.cards[card]))
}

/// The smallest run off the cards for each set of cards before it.
fn candidates_of(problem: &Problem, sums: &Sums, single: &Single, index: usize) -> Vec<Candidate> {
    let kinds = &single.kinds;
    let (mut ahead, mut behind) = (vec![0; kinds.sets()], vec![sums.blocks(); kinds.sets()]);
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
        return vec![Candidate {
            single: index,
            front: kinds.all(),
            off: 0..0,
            off_bytes: single_bytes,
        }];
    }
    let candidate = |front: usize| {
        let off = ahead[front]..behind[kinds.all() - front];
        let off_bytes = single_bytes + sums.weights[off.end] - sums.weights[off.start];
        Candidate { single: index, front, off, off_bytes }
    };
    (0..kinds.sets()).map(candidate).collect()
}

/// The best runs of a candidate.
fn on_cards(
    problem: &Problem,
    sums: &Sums,
    singles: &[Single],
    candidate: &Candidate,
) -> Option<OnCards> {
    let Single { placed, kinds } = &singles[candidate.single];
    let kind_at = |item: usize| {
        placed.iter().find(|(at, _)| *at == item).and_then(|(_, card)| kinds.of_card(*card))
    };
    let cover = |range: Range<usize>, set: usize, before: Option<usize>, after: Option<usize>| {
        Cover { problem, kinds, sums, range, set, before, after }.best()
    };
    let (embedding, norm) = (kind_at(0), kind_at(problem.norm()));
    let runs = if candidate.off.is_empty() {
        cover(0..sums.blocks(), kinds.all(), embedding, norm)?
    } else {
        let mut runs = cover(0..candidate.off.start, candidate.front, embedding, None)?;
        runs.extend(cover(
            candidate.off.end..sums.blocks(),
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
    kinds: &Kinds,
    runs: &[Run],
) -> OnCards {
    let mut on_cards = vec![None; problem.items.len()];
    for (item, card) in placed {
        on_cards[*item] = Some(*card);
    }
    if problem.tied {
        on_cards[problem.head()] = on_cards[0];
    }
    let mut taken = vec![0; kinds.kinds.len()];
    for run in runs {
        let card = kinds.kinds[run.kind].cards[taken[run.kind]];
        taken[run.kind] += 1;
        on_cards[1 + run.from..1 + run.to].fill(Some(card));
    }
    on_cards
}

/// Cards that are alike are numbered in the order in which a token visits them.
fn in_cards_order(problem: &Problem, mut tiers: Vec<Tier>) -> Vec<Tier> {
    let mut seen: Vec<usize> = Vec::new();
    for tier in &tiers {
        if let Tier::Gpu(card) = tier
            && !seen.contains(card)
        {
            seen.push(*card);
        }
    }
    let mut renamed: Vec<Option<usize>> = vec![None; problem.cards.len()];
    for &card in &seen {
        let twin = |other: &usize| {
            problem.cards[*other].is_twin(&problem.cards[card]) && !renamed.contains(&Some(*other))
        };
        renamed[card] = (0..problem.cards.len()).find(twin);
    }
    for tier in &mut tiers {
        if let Tier::Gpu(card) = tier {
            *card = renamed[*card].unwrap_or(*card);
        }
    }
    tiers
}

/// No placement without a spill is better than this: every module on the fastest card, and no more cards than bytes ask for.
fn lower_bound(problem: &Problem) -> Option<Score> {
    let fastest = (0..problem.cards.len()).max_by_key(|card| problem.cards[*card].rate)?;
    let time: u64 =
        (0..problem.items.len()).map(|item| item_ns(problem, item, Tier::Gpu(fastest))).sum();
    let mut rooms: Vec<u64> =
        problem.cards.iter().map(|card| card.budget.min(card.space())).collect();
    rooms.sort_unstable_by(|a, b| b.cmp(a));
    let mut left: u64 = problem.items.iter().map(|item| item.weights).sum();
    let mut cards = 0;
    for room in rooms {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(room);
        cards += 1u64;
    }
    let cuts = cards.saturating_sub(1);
    Some(Score { off_bytes: 0, time_ns: time + cuts * HOP_NS, cuts })
}
