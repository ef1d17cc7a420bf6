//! Modules in their order to cards in theirs: sequential and balanced.
use super::OnCards;
use crate::problem::Problem;

/// Fills each card before the next; what is left after the last is off the cards.
pub(super) fn sequential(problem: &Problem) -> OnCards {
    filled(problem, &vec![u64::MAX; problem.cards.len()])
}

/// The same share of weights on each card, as small as everything allows that fits in sequence. The first `spare` cards get only what the
/// others cannot hold.
pub(super) fn balanced(problem: &Problem, spare: usize) -> OnCards {
    let spare = spare.min(problem.cards.len().saturating_sub(1));
    let all = vec![u64::MAX; problem.cards.len()];
    let least_off = off_bytes(problem, &filled(problem, &all));
    let total: u64 = problem.items.iter().map(|item| item.weights).sum();
    let enough = |shares: &[u64]| off_bytes(problem, &filled(problem, shares)) <= least_off;
    let mut shares = all;
    let first = least(total, |share| {
        let mut shares = shares.clone();
        shares[..spare].fill(share);
        enough(&shares)
    });
    shares[..spare].fill(first);
    let others = least(total, |share| {
        let mut shares = shares.clone();
        shares[spare..].fill(share);
        enough(&shares)
    });
    shares[spare..].fill(others);
    filled(problem, &shares)
}

/// The smallest number up to `high` for which `enough` holds; `high` if none does.
fn least(high: u64, enough: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn off_bytes(problem: &Problem, on_cards: &OnCards) -> u64 {
    on_cards
        .iter()
        .zip(&problem.items)
        .filter(|(on, _)| on.is_none())
        .map(|(_, item)| item.weights)
        .sum()
}

fn filled(problem: &Problem, shares: &[u64]) -> OnCards {
    let (mut card, mut weights, mut kv) = (0, 0u64, 0u64);
    let mut on_cards = Vec::new();
    for (index, item) in problem.items.iter().enumerate() {
        if problem.tied && index == problem.head() {
            on_cards.push(on_cards[0]);
            continue;
        }
        while let Some(room) = problem.cards.get(card) {
            let more = weights + item.weights;
            if more <= shares[card] && room.holds(more, kv + item.kv) {
                break;
            }
            (card, weights, kv) = (card + 1, 0, 0);
        }
        (weights, kv) = (weights + item.weights, kv + item.kv);
        on_cards.push((card < problem.cards.len()).then_some(card));
    }
    on_cards
}
