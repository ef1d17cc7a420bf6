//! The score that orders placements: fewest bytes off the GPUs, then least time per token, then
//! fewest cuts.
use crate::Tier;
use crate::problem::Problem;

/// Nanoseconds that a change of tier costs per token: the copy of one hidden state and its
/// synchronization.
pub(crate) const HOP_NS: u64 = 15_000;
/// Nanoseconds to look up one row of an embedding on disk.
pub(crate) const DISK_ROW_NS: u64 = 200_000;

/// The score of a placement. Smaller is better; fields are compared in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlacementScore {
    /// Bytes of weights in host memory and on disk.
    pub off_bytes: u64,
    /// Nanoseconds per token, including changes of tier.
    pub time_ns: u64,
    /// Number of changes of tier between consecutive modules.
    pub cuts: u64,
}

/// Nanoseconds to read `bytes` at `rate` bytes per second.
pub(crate) fn read_ns(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Nanoseconds that a token spends on one module.
pub(crate) fn item_ns(problem: &Problem, index: usize, tier: Tier) -> u64 {
    let item = &problem.items[index];
    match tier {
        Tier::Gpu(gpu) => read_ns(item.active, problem.gpus[gpu].rate),
        Tier::Cpu => read_ns(item.active, problem.host.rate),
        // A module on disk is read as a whole, with all experts.
        Tier::Disk if problem.is_computed(index) => read_ns(item.weights, problem.disk_rate),
        Tier::Disk => DISK_ROW_NS,
    }
}

/// Scores a whole placement.
pub(crate) fn score(problem: &Problem, tiers: &[Tier]) -> PlacementScore {
    let off = |(index, tier): (usize, &Tier)| {
        if tier.is_gpu() { 0 } else { problem.items[index].weights }
    };
    let cuts = tiers.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
    let time: u64 =
        tiers.iter().enumerate().map(|(index, tier)| item_ns(problem, index, *tier)).sum();
    PlacementScore {
        off_bytes: tiers.iter().enumerate().map(off).sum(),
        time_ns: time.saturating_add(cuts * HOP_NS),
        cuts,
    }
}
