//! The order of placements: fewest bytes off the GPUs, least time, fewest cuts.
use crate::Tier;
use crate::problem::Problem;

/// Time of a change of tier for one token: a copy of one hidden state and the wait for it.
pub(crate) const HOP_NS: u64 = 15_000;
/// Time to look up one row of an embedding on disk.
pub(crate) const DISK_ROW_NS: u64 = 200_000;

/// Smaller is better, from the first field to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlacementScore {
    /// Bytes of weights off the GPUs.
    pub off_bytes: u64,
    /// Time of one token, hops included.
    pub time_ns: u64,
    /// Changes of tier from module to module.
    pub cuts: u64,
}

/// Nanoseconds to read `bytes` at `rate` bytes a second.
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
        // A streamed layer is read as a whole, all experts.
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
