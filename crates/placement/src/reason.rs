//! Reasons for each module's tier: the limit that excludes a faster tier, the missing bytes, and
//! the next alternative.
use crate::problem::Problem;
use crate::{DeviceMapMode, Reason, Shortage, Tier, short_text};

/// Bytes that a placement leaves free on a GPU.
struct GpuFree {
    weights: u64,
    space: u64,
}

pub(crate) fn reasons(problem: &Problem, tiers: &[Tier], mode: &DeviceMapMode) -> Vec<Reason> {
    let left: Vec<GpuFree> = (0..problem.gpus.len()).map(|gpu| left(problem, tiers, gpu)).collect();
    tiers
        .iter()
        .enumerate()
        .map(|(index, tier)| reason(problem, &left, index, *tier, mode))
        .collect()
}

/// The smallest number of bytes that any GPU lacks to hold one more of the modules off the GPUs.
pub(crate) fn nearest_shortage(problem: &Problem, tiers: &[Tier]) -> Option<Shortage> {
    let left: Vec<GpuFree> = (0..problem.gpus.len()).map(|gpu| left(problem, tiers, gpu)).collect();
    let off = tiers
        .iter()
        .enumerate()
        .filter(|(index, tier)| !tier.is_gpu() && problem.items[*index].weights > 0);
    off.filter_map(|(index, _)| nearest(problem, &left, index))
        .min_by_key(|shortage| shortage.short_bytes)
}

fn left(problem: &Problem, tiers: &[Tier], gpu: usize) -> GpuFree {
    let on = || tiers.iter().zip(&problem.items).filter(|(tier, _)| **tier == Tier::Gpu(gpu));
    let weights: u64 = on().map(|(_, item)| item.weights).sum();
    let all: u64 = weights + on().map(|(_, item)| item.kv).sum::<u64>();
    let of = &problem.gpus[gpu];
    GpuFree { weights: of.budget.saturating_sub(weights), space: of.space().saturating_sub(all) }
}

/// The shortage of a GPU for one more module, under the limit that lacks more bytes: the budget for
/// weights, or the GPU's memory.
fn short(problem: &Problem, left: &GpuFree, gpu: usize, index: usize) -> Shortage {
    let item = &problem.items[index];
    let of = &problem.gpus[gpu];
    let (weights_short, all) =
        (item.weights.saturating_sub(left.weights), item.weights.saturating_add(item.kv));
    let space_short = all.saturating_sub(left.space);
    let (limit, need_bytes, have_bytes, short_bytes) = if weights_short >= space_short {
        (of.budget_name.clone(), item.weights, left.weights, weights_short)
    } else {
        let limit = format!(
            "memory of {gpu} ({}) beside KV cache, activations, staging and driver",
            of.name
        );
        (limit, all, left.space, space_short)
    };
    Shortage {
        what: "one module more".to_owned(),
        tier: Tier::Gpu(gpu),
        limit,
        need_bytes,
        have_bytes,
        short_bytes,
    }
}

fn nearest(problem: &Problem, left: &[GpuFree], index: usize) -> Option<Shortage> {
    let shorts = left
        .iter()
        .enumerate()
        .filter(|(gpu, _)| problem.may_be_on(index, *gpu))
        .map(|(gpu, left)| short(problem, left, gpu, index));
    shorts.min_by_key(|shortage| shortage.short_bytes)
}

fn reason(
    problem: &Problem,
    left: &[GpuFree],
    index: usize,
    tier: Tier,
    mode: &DeviceMapMode,
) -> Reason {
    if matches!(mode, DeviceMapMode::Explicit(_)) {
        return plain("the device map that was given says so".to_owned());
    }
    if problem.tied && index == problem.head() {
        return plain("shares the embedding's weights and is where they are".to_owned());
    }
    match tier {
        Tier::Gpu(gpu) => on_gpu(problem, left, index, gpu),
        Tier::Cpu => in_memory(problem, left, index, mode),
        Tier::Disk => on_disk(problem, index, mode),
    }
}

fn plain(text: String) -> Reason {
    Reason { text, bound_by: None, short_bytes: 0, alternative: None }
}

fn on_gpu(problem: &Problem, left: &[GpuFree], index: usize, gpu: usize) -> Reason {
    let free = match &left[gpu] {
        GpuFree { weights, space } if weights <= space => {
            format!(
                "{gpu} has {} left under {}",
                short_text(*weights),
                problem.gpus[gpu].budget_name
            )
        }
        GpuFree { space, .. } => {
            format!("{gpu} has {} left beside all else on it", short_text(*space))
        }
    };
    let is_other = |other: usize| other != gpu && problem.may_be_on(index, other);
    let others = || left.iter().enumerate().filter(|(other, _)| is_other(*other));
    let shorts: Vec<Shortage> =
        others().map(|(other, left)| short(problem, left, other, index)).collect();
    let alternative =
        shorts.iter().find(|shortage| shortage.short_bytes == 0).map(|shortage| shortage.tier);
    let alternative = alternative.map_or_else(|| "cpu".to_owned(), |tier| tier.to_string());
    let before = shorts
        .into_iter()
        .rfind(|shortage| shortage.tier < Tier::Gpu(gpu) && shortage.short_bytes > 0);
    let text = match &before {
        Some(full) => format!("{} is {} short; {free}", full.tier, short_text(full.short_bytes)),
        None => format!("fits; {free}"),
    };
    let short_bytes = before.as_ref().map_or(0, |full| full.short_bytes);
    Reason {
        text,
        bound_by: before.map(|full| full.limit),
        short_bytes,
        alternative: Some(alternative),
    }
}

fn in_memory(problem: &Problem, left: &[GpuFree], index: usize, mode: &DeviceMapMode) -> Reason {
    let below = if problem.may_stream(index) { Some("disk".to_owned()) } else { None };
    if matches!(mode, DeviceMapMode::Cpu | DeviceMapMode::Disk) {
        let text = format!("device map {} puts it into host memory", mode.name());
        return Reason { alternative: below, ..plain(text) };
    }
    match nearest(problem, left, index) {
        None if !left.is_empty() => Reason {
            alternative: below,
            ..plain("no GPU kernel computes routed experts; host memory has room".to_owned())
        },
        None => Reason {
            alternative: below,
            ..plain("no GPU can be used; host memory has room".to_owned())
        },
        Some(full) if full.short_bytes == 0 => {
            let text = format!("there is room on {}, but not in this order of modules", full.tier);
            Reason {
                text,
                bound_by: Some(format!("device map {}", mode.name())),
                short_bytes: 0,
                alternative: Some(full.tier.to_string()),
            }
        }
        Some(full) => {
            let text = format!(
                "no GPU has room: {} is the nearest and {} short under {}",
                full.tier,
                short_text(full.short_bytes),
                full.limit
            );
            Reason {
                text,
                bound_by: Some(full.limit),
                short_bytes: full.short_bytes,
                alternative: below,
            }
        }
    }
}

fn on_disk(problem: &Problem, index: usize, mode: &DeviceMapMode) -> Reason {
    if *mode == DeviceMapMode::Disk {
        return Reason {
            alternative: Some("cpu".to_owned()),
            ..plain("device map disk leaves it in the files".to_owned())
        };
    }
    let item = &problem.items[index];
    let short_bytes = item.weights;
    let full = if problem.may_be_on_a_gpu(index) {
        "the GPUs and host memory are full"
    } else {
        "host memory is full"
    };
    let text = if item.is_experts() {
        let active = short_text(item.active);
        format!("{full}; what it has left is a cache of the most used; a token uses {active}")
    } else {
        format!("{full}; {} more host memory would take one", short_text(short_bytes))
    };
    let bound_by = Some(format!("90% of {}", problem.host.limit));
    Reason { text, bound_by, short_bytes, alternative: Some("cpu".to_owned()) }
}
