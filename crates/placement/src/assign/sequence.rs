//! Assigns modules in order to GPUs in order: `sequential` and `balanced`.
use super::OnGpus;
use crate::problem::Problem;

/// Fills each GPU before the next; the rest is off the GPUs.
pub(super) fn sequential(problem: &Problem) -> OnGpus {
    filled(problem, &vec![u64::MAX; problem.gpus.len()])
}

/// The same bytes of weights on each GPU, the smallest that spill no more than `sequential`. The
/// first `spare` GPUs get only what the others cannot hold.
pub(super) fn balanced(problem: &Problem, spare: usize) -> OnGpus {
    let spare = spare.min(problem.gpus.len().saturating_sub(1));
    let all = vec![u64::MAX; problem.gpus.len()];
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

fn off_bytes(problem: &Problem, on_gpus: &OnGpus) -> u64 {
    on_gpus
        .iter()
        .zip(&problem.items)
        .filter(|(on, _)| on.is_none())
        .map(|(_, item)| item.weights)
        .sum()
}

fn filled(problem: &Problem, shares: &[u64]) -> OnGpus {
    let (mut gpu, mut weights, mut kv) = (0, 0u64, 0u64);
    let mut on_gpus = Vec::new();
    for (index, item) in problem.items.iter().enumerate() {
        if problem.tied && index == problem.head() {
            on_gpus.push(on_gpus[0]);
            continue;
        }
        while let Some(room) = problem.gpus.get(gpu) {
            let more = weights + item.weights;
            if more <= shares[gpu] && room.holds(more, kv + item.kv) {
                break;
            }
            (gpu, weights, kv) = (gpu + 1, 0, 0);
        }
        (weights, kv) = (weights + item.weights, kv + item.kv);
        on_gpus.push((gpu < problem.gpus.len()).then_some(gpu));
    }
    on_gpus
}
