//! Assigns the modules in their order to the GPUs in their order: `sequential` and `balanced`.
use super::OnGpus;
use crate::problem::Problem;

/// Fills each GPU before the next. The modules that do not fit stay off the GPUs.
pub(super) fn sequential(problem: &Problem) -> OnGpus {
    filled(problem, &vec![u64::MAX; problem.gpus.len()])
}

/// Limits the weights on each GPU to the same number of bytes: the smallest limit that leaves no
/// more bytes off the GPUs than `sequential`. The first `spare` GPUs have a limit of their own,
/// which is minimized first, so that they hold only what the other GPUs cannot.
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

/// The smallest number up to `high` for which `enough` holds, if it holds for all larger ones;
/// `high` if it holds for no smaller one.
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
