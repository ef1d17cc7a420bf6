//! Cards of one kind are interchangeable: what is asked of one can be asked of its twin. Counting kinds instead of cards keeps the search
//! small, and exact.
use crate::problem::Problem;

/// Cards that nothing tells apart, once embedding, norm and head have their places.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub cards: Vec<usize>,
    /// Room for the weights of blocks.
    pub weights: u64,
    /// Room for weights, keys and values of blocks.
    pub space: u64,
}

/// The kinds of cards of a problem with some modules placed, and the sets that can be made of them.
///
/// A set is a number of cards of each kind, written as one mixed-radix number, so that a larger set has a larger number.
#[derive(Debug, Clone)]
pub(super) struct Kinds {
    pub kinds: Vec<Kind>,
    strides: Vec<usize>,
    sets: usize,
}

impl Kinds {
    /// `None` if a card cannot hold what `placed` puts there: pairs of item and card.
    pub fn new(problem: &Problem, placed: &[(usize, usize)]) -> Option<Kinds> {
        let mut kinds: Vec<Kind> = Vec::new();
        for (index, card) in problem.cards.iter().enumerate() {
            let on = || {
                placed
                    .iter()
                    .filter(|(_, at)| *at == index)
                    .map(|(item, _)| problem.items[*item].weights)
            };
            let (used, special): (u64, bool) = (on().sum(), on().next().is_some());
            let (weights, space) =
                (card.budget.checked_sub(used)?, card.space().checked_sub(used)?);
            let twin = |kind: &Kind| {
                problem.cards[kind.cards[0]].is_twin(card) && !is_special(placed, kind.cards[0])
            };
            match kinds.iter_mut().find(|kind| !special && twin(kind)) {
                Some(kind) => kind.cards.push(index),
                None => kinds.push(Kind { cards: vec![index], weights, space }),
            }
        }
        let mut strides = Vec::new();
        let mut sets = 1usize;
        for kind in &kinds {
            strides.push(sets);
            sets = sets.checked_mul(kind.cards.len() + 1)?;
        }
        Some(Kinds { kinds, strides, sets })
    }

    /// How many sets there are; the last is that of all cards.
    pub fn sets(&self) -> usize {
        self.sets
    }

    pub fn all(&self) -> usize {
        self.sets - 1
    }

    /// Cards of a kind in a set.
    pub fn count(&self, set: usize, kind: usize) -> usize {
        set / self.strides[kind] % (self.kinds[kind].cards.len() + 1)
    }

    /// A set with one card of a kind more.
    pub fn with(&self, set: usize, kind: usize) -> usize {
        set + self.strides[kind]
    }

    /// A set with one card of a kind less.
    pub fn without(&self, set: usize, kind: usize) -> usize {
        set - self.strides[kind]
    }

    /// The kind of a card.
    pub fn of_card(&self, card: usize) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.cards.contains(&card))
    }
}

fn is_special(placed: &[(usize, usize)], card: usize) -> bool {
    placed.iter().any(|(_, at)| *at == card)
}

/// Sums over blocks: `weights[i]` and `all[i]` are of the first `i`.
#[derive(Debug)]
pub(super) struct Sums {
    pub weights: Vec<u64>,
    /// Weights, keys and values.
    pub all: Vec<u64>,
}

impl Sums {
    pub fn new(problem: &Problem) -> Sums {
        let (mut weights, mut all) = (vec![0u64], vec![0u64]);
        for item in &problem.items[1..=problem.layers()] {
            weights.push(weights[weights.len() - 1].saturating_add(item.weights));
            all.push(all[all.len() - 1].saturating_add(item.weights).saturating_add(item.kv));
        }
        Sums { weights, all }
    }

    /// How far a card of this kind reaches from block `from` on.
    pub fn reach(&self, kind: &Kind, from: usize) -> usize {
        let within = |sums: &[u64], room: u64| {
            let limit = sums[from].saturating_add(room);
            from + sums[from..].partition_point(|sum| *sum <= limit) - 1
        };
        within(&self.weights, kind.weights).min(within(&self.all, kind.space))
    }

    /// How far a card of this kind reaches back from block `to` (excluded).
    pub fn reach_back(&self, kind: &Kind, to: usize) -> usize {
        let within = |sums: &[u64], room: u64| {
            let limit = sums[to].saturating_sub(room);
            sums[..=to].partition_point(|sum| *sum < limit)
        };
        within(&self.weights, kind.weights).max(within(&self.all, kind.space))
    }

    pub fn blocks(&self) -> usize {
        self.weights.len() - 1
    }
}
