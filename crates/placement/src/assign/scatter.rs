//! The last resort before a spill: blocks of different sizes packed onto cards in any order.
//!
//! Only where no placement in contiguous runs holds everything, and only where blocks differ in size: a copy of one hidden state more is
//! far cheaper than a module that is off the cards.
use super::OnCards;
use crate::problem::Problem;
use std::collections::BTreeSet;

/// What people are told.
pub(super) const NOTE: &str =
    "blocks differ in size and only an order with several runs a card keeps all of them on the cards";

/// Fillings of a card that are looked at before giving up.
const FILLINGS_MAX: usize = 200_000;

/// Modules that nothing tells apart.
struct Class {
    weights: u64,
    all: u64,
    items: Vec<usize>,
}

struct Search<'a> {
    problem: &'a Problem,
    classes: Vec<Class>,
    /// Cards and what was left, from where nothing was found.
    dead: BTreeSet<(usize, Vec<usize>)>,
    fillings_left: usize,
}

/// A card for every module, if there is room for all.
pub(super) fn scatter(problem: &Problem) -> Option<OnCards> {
    let classes = classes(problem);
    let weights: u64 = problem.items.iter().map(|item| item.weights).sum();
    let room: u64 = problem.cards.iter().map(|card| card.budget.min(card.space())).sum();
    if weights > room {
        return None;
    }
    let left: Vec<usize> = classes.iter().map(|class| class.items.len()).collect();
    let mut search = Search { problem, classes, dead: BTreeSet::new(), fillings_left: FILLINGS_MAX };
    let mut counts = Vec::new();
    search.fill(0, &left, &mut counts).then(|| search.laid_out(&counts))
}

fn classes(problem: &Problem) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (index, item) in problem.items.iter().enumerate() {
        if problem.tied && index == problem.head() {
            continue;
        }
        let (weights, all) = (item.weights, item.weights.saturating_add(item.kv));
        match classes.iter_mut().find(|class| (class.weights, class.all) == (weights, all)) {
            Some(class) => class.items.push(index),
            None => classes.push(Class { weights, all, items: vec![index] }),
        }
    }
    classes.sort_by_key(|class| std::cmp::Reverse(class.all));
    classes
}

impl Search<'_> {
    /// Fills cards from `card` on with what is left; true if nothing is left at the end.
    fn fill(&mut self, card: usize, left: &[usize], counts: &mut Vec<Vec<usize>>) -> bool {
        if left.iter().all(|count| *count == 0) {
            return true;
        }
        if card == self.problem.cards.len() || self.dead.contains(&(card, left.to_vec())) {
            return false;
        }
        let (budget, space) = (self.problem.cards[card].budget, self.problem.cards[card].space());
        let mut fillings = Vec::new();
        self.fillings(left, 0, (budget, space), &mut vec![0; left.len()], &mut fillings);
        for filling in fillings {
            let rest: Vec<usize> = left.iter().zip(&filling).map(|(left, taken)| left - taken).collect();
            counts.push(filling);
            if self.fill(card + 1, &rest, counts) {
                return true;
            }
            counts.pop();
        }
        self.dead.insert((card, left.to_vec()));
        false
    }

    /// All fillings of one card to which nothing can be added.
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
            let more = |(at, of): (usize, &Class)| taken[at] < left[at] && of.weights <= room.0 && of.all <= room.1;
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
            self.fillings(left, class + 1, (room.0 - used * weights, room.1 - used * all), taken, found);
        }
        taken[class] = 0;
    }

    /// Items in their order to cards in their order.
    fn laid_out(&self, counts: &[Vec<usize>]) -> OnCards {
        let mut on_cards = vec![None; self.problem.items.len()];
        for (class, of) in self.classes.iter().enumerate() {
            let mut items = of.items.iter();
            for (card, filling) in counts.iter().enumerate() {
                for item in items.by_ref().take(filling[class]) {
                    on_cards[*item] = Some(card);
                }
            }
        }
        if self.problem.tied {
            on_cards[self.problem.head()] = on_cards[0];
        }
        on_cards
    }
}
