//! Compares `auto` with brute force over every placement of small models on small machines.
use super::{Assigned, assign};
use crate::problem::{FixedBytes, GpuBudget, HostBudget, ModuleBytes, Problem};
use crate::score::{OffBytes, PlacementScore, score};
use crate::{DeviceMapMode, Tier};
use checkpoint::ModuleKind;
use proptest::prelude::*;

/// Every possible assignment of modules to tiers.
fn every_placement(problem: &Problem) -> Vec<Vec<Tier>> {
    let mut tiers: Vec<Tier> = (0..problem.gpus.len()).map(Tier::Gpu).collect();
    tiers.push(Tier::Cpu);
    if problem.disk_budget > 0 {
        tiers.push(Tier::Disk);
    }
    let free = if problem.tied { problem.items.len() - 1 } else { problem.items.len() };
    let may = |index: usize, tier: &Tier| match tier {
        Tier::Gpu(gpu) => problem.gpus[*gpu].holds_experts || !is_experts(problem, index),
        _ => true,
    };
    let mut all: Vec<Vec<Tier>> = vec![Vec::new()];
    for index in 0..free {
        let tiers: Vec<Tier> = tiers.iter().copied().filter(|tier| may(index, tier)).collect();
        all = all
            .into_iter()
            .flat_map(|p| tiers.iter().map(move |t| [p.as_slice(), &[*t]].concat()))
            .collect();
    }
    if problem.tied {
        all.iter_mut().for_each(|placement| placement.push(placement[0]));
    }
    all
}

fn is_experts(problem: &Problem, index: usize) -> bool {
    matches!(problem.items.get(index), Some(item) if matches!(item.kind, ModuleKind::Experts(_)))
}

/// Whether a placement fits, with the bytes counted independently of the planner.
fn fits(problem: &Problem, tiers: &[Tier]) -> bool {
    let on = |tier: Tier| (0..tiers.len()).filter(move |i| tiers[*i] == tier);
    let weights = |tier: Tier| on(tier).map(|i| problem.items[i].weights).sum::<u64>();
    let kv = |tier: Tier| on(tier).map(|i| problem.items[i].kv).sum::<u64>();
    let gpus = problem.gpus.iter().enumerate().all(|(i, gpu)| {
        let (w, k) = (weights(Tier::Gpu(i)), kv(Tier::Gpu(i)));
        w <= gpu.budget && w + k + gpu.fixed.total() <= gpu.free.max(gpu.fixed.total())
    });
    let norm = problem.items.len() - 2;
    let multiplied =
        |i: &usize| *i != norm && (*i != 0 || problem.tied) && problem.items[*i].weights > 0;
    // Of routed experts, those of one token are in memory.
    let whole = |i: &usize| !is_experts(problem, *i);
    let bytes = |i: usize| problem.items[i].weights;
    let streamed = on(Tier::Disk).filter(multiplied).filter(whole).map(bytes).max().unwrap_or(0);
    let cache = on(Tier::Disk).filter(|i| !whole(i)).map(|i| problem.items[i].active).max();
    let computes = on(Tier::Cpu).chain(on(Tier::Disk)).any(|i| multiplied(&i));
    let host = &problem.host;
    let fixed = host.fixed.staging + host.fixed.reserve + host.activations(computes);
    let buffers = 2 * streamed + cache.unwrap_or(0);
    let total = weights(Tier::Cpu) + kv(Tier::Cpu) + kv(Tier::Disk) + buffers + fixed;
    gpus && tiers[norm] != Tier::Disk
        && weights(Tier::Disk) <= problem.disk_budget
        && weights(Tier::Cpu) <= host.budget
        && total <= host.usable
}

/// Whether the layers of each tier form one contiguous run, all layers off the GPUs do as well, and
/// the routed experts are on the tiers of their layers, or all off the GPUs and on disk before any
/// layer is.
fn in_runs(problem: &Problem, tiers: &[Tier]) -> bool {
    let on = |experts: bool| -> Vec<Tier> {
        let of = |i: &usize| is_experts(problem, *i) == experts;
        (1..problem.norm()).filter(of).map(|i| tiers[i]).collect()
    };
    let (layers, experts) = (on(false), on(true));
    let one_run = |tiers: &[Tier], is: &dyn Fn(&Tier) -> bool| {
        let starts = tiers
            .iter()
            .enumerate()
            .filter(|(i, t)| is(t) && (*i == 0 || !is(&tiers[i - 1])))
            .count();
        starts <= 1
    };
    let on_cpu_and_disk = |tiers: &[Tier]| {
        one_run(tiers, &|t| *t == Tier::Cpu) && one_run(tiers, &|t| *t == Tier::Disk)
    };
    let all_hold = problem.gpus.iter().all(|gpu| gpu.holds_experts);
    let together = (1..problem.norm())
        .all(|i| !is_experts(problem, i) || (tiers[i] == tiers[i - 1] && tiers[i].is_gpu()));
    let apart = experts.iter().all(|t| !t.is_gpu())
        && on_cpu_and_disk(&experts)
        && (!layers.contains(&Tier::Disk) || !experts.contains(&Tier::Cpu));
    let gpus = (0..problem.gpus.len()).all(|gpu| one_run(&layers, &|t| *t == Tier::Gpu(gpu)));
    gpus && on_cpu_and_disk(&layers)
        && one_run(&layers, &|t| !t.is_gpu())
        && ((together && all_hold) || apart)
}

fn item(kind: ModuleKind, weights: u64, kv: u64) -> ModuleBytes {
    ModuleBytes { kind, weights, kv, active: weights, cache_min: 0, cache_max: 0 }
}

#[derive(Debug, Clone)]
pub(super) struct ProofCase {
    pub layers: Vec<u64>,
    /// Bytes of the routed experts of each layer; 0 or none: the layer has no experts. A token
    /// reads a third of them.
    pub experts: Vec<u64>,
    /// Whether each GPU may hold experts; none: no GPU may.
    pub holds_experts: Vec<bool>,
    pub kv: u64,
    pub singles: (u64, u64, u64),
    pub tied: bool,
    /// Per GPU: bytes of the budget for weights, bytes above the budget, fixed bytes, and whether
    /// the GPU is twice as fast.
    pub gpus: Vec<(u64, u64, u64, bool)>,
    pub host: (u64, u64),
    pub disk: u64,
}

pub(super) fn problem(case: &ProofCase) -> Problem {
    let (embedding, norm, head) = case.singles;
    let mut items = vec![item(ModuleKind::Embedding, embedding, 0)];
    for (i, weights) in case.layers.iter().enumerate() {
        items.push(item(ModuleKind::Layer(i), *weights, case.kv));
        let experts = case.experts.get(i).copied().unwrap_or(0);
        if experts > 0 {
            let active = experts / 3;
            let item = item(ModuleKind::Experts(i), experts, 0);
            items.push(ModuleBytes { active, cache_min: active, cache_max: experts, ..item });
        }
    }
    items.push(item(ModuleKind::FinalNorm, norm, 0));
    items.push(item(ModuleKind::Head, if case.tied { 0 } else { head }, 0));
    if !case.tied {
        items[0].active = 1;
    }
    let gpu = |(index, (budget, above, fixed, fast)): (usize, &(u64, u64, u64, bool))| GpuBudget {
        name: "gpu".to_owned(),
        budget: *budget,
        budget_name: "a budget".to_owned(),
        free: budget + above + fixed,
        fixed: FixedBytes { activations: *fixed, staging: 0, reserve: 0 },
        rate: if *fast { 2_000_000 } else { 1_000_000 },
        is_virtual: false,
        holds_experts: case.holds_experts.get(index).copied().unwrap_or(false),
    };
    let (usable, budget) = case.host;
    Problem {
        logits: 0,
        items,
        tied: case.tied,
        gpus: case.gpus.iter().enumerate().map(gpu).collect(),
        host: HostBudget {
            limit: "a limit".to_owned(),
            available: usable,
            usable,
            budget,
            budget_name: "a budget".to_owned(),
            fixed: FixedBytes { activations: 3, staging: 1, reserve: 1 },
            crossing: 2,
            rate: 200_000,
        },
        disk_budget: case.disk,
        disk_rate: 10_000,
    }
}

fn check(case: &ProofCase) -> Result<(), TestCaseError> {
    let problem = problem(case);
    let names: Vec<String> = (0..problem.items.len()).map(|i| format!("m{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = assign(&problem, &DeviceMapMode::Auto, &names);
    let (mut best, mut least_off): (Option<PlacementScore>, Option<OffBytes>) = (None, None);
    for tiers in every_placement(&problem).iter().filter(|tiers| fits(&problem, tiers)) {
        let found = score(&problem, tiers);
        least_off = Some(least_off.map_or(found.off_bytes, |least| least.min(found.off_bytes)));
        if in_runs(&problem, tiers) && best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    }
    let Ok(Assigned { tiers, .. }) = found else {
        prop_assert!(
            best.is_none() && least_off != Some(OffBytes::NONE),
            "a placement exists: {best:?}"
        );
        return Ok(());
    };
    prop_assert!(fits(&problem, &tiers), "does not fit: {tiers:?}");
    let found = score(&problem, &tiers);
    // If the host has enough memory, no placement leaves fewer bytes off the GPUs. If a placement
    // leaves none off them, the host's memory does not matter.
    if case.host == PLENTY || least_off == Some(OffBytes::NONE) {
        prop_assert_eq!(Some(found.off_bytes), least_off, "{:?}", tiers);
    }
    // If only an order with several runs per GPU leaves so few bytes off the GPUs, time and cuts
    // are not compared.
    if best.is_none_or(|best| found.off_bytes < best.off_bytes) {
        return Ok(());
    }
    // Where GPUs hold a part of the experts, or some GPUs none, their order is not searched for
    // time and cuts.
    let holding = problem.gpus.iter().filter(|gpu| gpu.holds_experts).count();
    let all_or_none = holding == 0 || holding == problem.gpus.len();
    let is_whole = found.off_bytes == OffBytes::NONE && all_or_none;
    if problem.has_experts() && holding > 0 && !is_whole {
        return Ok(());
    }
    prop_assert_eq!(Some(found), best, "{:?}", tiers);
    prop_assert!(in_runs(&problem, &tiers));
    Ok(())
}

/// Usable bytes and budget of a host that can hold any model of these tests.
pub(super) const PLENTY: (u64, u64) = (10_000, 10_000);

fn case(
    gpus: std::ops::RangeInclusive<usize>,
    layers: std::ops::RangeInclusive<usize>,
    disk: bool,
) -> impl Strategy<Value = ProofCase> {
    let equal = (1u64..12, layers.clone()).prop_map(|(w, n)| vec![w; n]);
    let unequal = prop::collection::vec(1u64..12, layers);
    let gpus = prop_oneof![
        (prop::collection::vec((0u64..40, 0u64..12, 0u64..3, any::<bool>()), gpus.clone())),
        ((0u64..40, 0u64..12, 0u64..3), gpus).prop_map(|((b, a, f), n)| vec![(b, a, f, false); n]),
    ];
    let disk = if disk { prop_oneof![Just(u64::MAX), 1u64..40].boxed() } else { Just(0).boxed() };
    (
        prop_oneof![equal, unequal],
        0u64..4,
        (1u64..15, 1u64..3, 1u64..15),
        any::<bool>(),
        gpus,
        prop_oneof![Just(PLENTY), (0u64..80, 0u64..80)],
        disk,
    )
        .prop_map(|(layers, kv, singles, tied, gpus, host, disk)| ProofCase {
            layers,
            experts: Vec::new(),
            holds_experts: Vec::new(),
            kv,
            singles,
            tied,
            gpus,
            host,
            disk,
        })
}

/// The same with routed experts in some of the layers, which some or none of the GPUs may hold.
fn split_case(
    gpus: std::ops::RangeInclusive<usize>,
    layers: std::ops::RangeInclusive<usize>,
    disk: bool,
) -> impl Strategy<Value = ProofCase> {
    let most = *layers.end();
    let equal = (3u64..20).prop_map(move |bytes| vec![bytes; most]);
    let unequal = prop::collection::vec(prop_oneof![Just(0), 3u64..20], most);
    let holds =
        prop_oneof![Just(Vec::new()), Just(vec![true; 3]), prop::collection::vec(any::<bool>(), 3)];
    (case(gpus, layers, disk), prop_oneof![equal, unequal], holds)
        .prop_map(|(case, experts, holds_experts)| ProofCase { experts, holds_experts, ..case })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn two_gpus_and_the_host(case in case(0..=2, 1..=5, false)) {
        check(&case)?;
    }

    #[test]
    fn two_gpus_host_and_disk(case in case(0..=2, 1..=3, true)) {
        check(&case)?;
    }

    #[test]
    fn three_gpus_and_the_host(case in case(3..=3, 1..=4, false)) {
        check(&case)?;
    }

    #[test]
    fn split_layers_on_two_gpus_and_the_host(case in split_case(0..=2, 1..=3, false)) {
        check(&case)?;
    }

    #[test]
    fn split_layers_on_a_gpu_host_and_disk(case in split_case(0..=1, 1..=3, true)) {
        check(&case)?;
    }

    #[test]
    fn every_mode_gives_what_fits_or_refuses(case in prop_oneof![case(0..=3, 1..=6, true), split_case(0..=3, 1..=4, true)]) {
        let problem = problem(&case);
        for mode in [DeviceMapMode::Auto, DeviceMapMode::Sequential, DeviceMapMode::Balanced, DeviceMapMode::BalancedLow0,
                     DeviceMapMode::Cpu, DeviceMapMode::Disk] {
            if let Ok(assigned) = assign(&problem, &mode, &[]) {
                prop_assert!(fits(&problem, &assigned.tiers), "{mode:?}: {:?}", assigned.tiers);
                let auto = assign(&problem, &DeviceMapMode::Auto, &[]);
                let disk = mode == DeviceMapMode::Disk;
                prop_assert!(disk || auto.is_ok(), "{mode:?} fits and auto does not");
                if let (Ok(auto), false) = (auto, disk) {
                    let (auto, found) = (score(&problem, &auto.tiers), score(&problem, &assigned.tiers));
                    prop_assert!(auto.off_bytes <= found.off_bytes);
                    if matches!(mode, DeviceMapMode::Balanced | DeviceMapMode::BalancedLow0) {
                        prop_assert_eq!(auto.off_bytes, found.off_bytes, "{:?}: {:?}", mode, assigned.tiers);
                    }
                }
            }
        }
    }
}
