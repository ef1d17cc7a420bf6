//! The score that orders placements: fewest bytes off the GPUs, then least time per token, then
//! fewest cuts. Bytes of routed experts count after all others, since a token reads only a few of
//! them, and all of the others.
use crate::Tier;
use crate::problem::Problem;

/// Nanoseconds that a change of tier costs per token: the copy of one hidden state and its
/// synchronization.
pub(crate) const HOP_NS: u64 = 15_000;
/// Nanoseconds to look up one row of an embedding on disk.
pub(crate) const DISK_ROW_NS: u64 = 200_000;

/// Bytes of weights in host memory and on disk. Fields are compared in their order, so that a GPU
/// holds what a token reads completely before what it reads a share of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OffBytes {
    /// Bytes of all modules but routed experts.
    pub rest: u64,
    /// Bytes of routed experts.
    pub experts: u64,
}

impl OffBytes {
    pub const NONE: OffBytes = OffBytes { rest: 0, experts: 0 };
    pub const MAX: OffBytes = OffBytes { rest: u64::MAX, experts: u64::MAX };

    /// The bytes of the modules for which `off` holds.
    pub fn of(problem: &Problem, off: impl Fn(usize) -> bool) -> OffBytes {
        let mut bytes = OffBytes::NONE;
        for (_, item) in problem.items.iter().enumerate().filter(|(index, _)| off(*index)) {
            *if item.is_experts() { &mut bytes.experts } else { &mut bytes.rest } += item.weights;
        }
        bytes
    }
}

/// The score of a placement. Smaller is better; fields are compared in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlacementScore {
    /// Bytes of weights in host memory and on disk.
    pub off_bytes: OffBytes,
    /// Nanoseconds per token, including changes of tier.
    pub time_ns: u64,
    /// Number of changes of tier, see [`cuts`].
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
        Tier::Disk if problem.is_computed(index) => {
            read_ns(item.read_from_disk(), problem.disk_rate)
        }
        Tier::Disk => DISK_ROW_NS,
    }
}

/// Number of changes of tier between consecutive modules. The hidden states go to routed experts on
/// another tier than their layer and come back to the layer.
pub(crate) fn cuts(problem: &Problem, tiers: &[Tier]) -> u64 {
    let (mut cuts, mut last) = (0, tiers.first());
    for (item, tier) in problem.items.iter().zip(tiers) {
        if last != Some(tier) {
            cuts += if item.is_experts() { 2 } else { 1 };
        }
        if !item.is_experts() {
            last = Some(tier);
        }
    }
    cuts
}

/// Scores a whole placement.
pub(crate) fn score(problem: &Problem, tiers: &[Tier]) -> PlacementScore {
    let cuts = cuts(problem, tiers);
    let time: u64 =
        tiers.iter().enumerate().map(|(index, tier)| item_ns(problem, index, *tier)).sum();
    PlacementScore {
        off_bytes: OffBytes::of(problem, |index| !tiers[index].is_gpu()),
        time_ns: time.saturating_add(cuts * HOP_NS),
        cuts,
    }
}
