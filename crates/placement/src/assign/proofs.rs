//! `auto` against brute force: every placement of small models on small machines is looked at.
use super::{Assigned, assign};
use crate::problem::{Card, Fixed, HostRoom, Item, Problem};
use crate::score::{Score, score};
use crate::{DeviceMapMode, Tier};
use checkpoint::ModuleKind;
use proptest::prelude::*;

/// Every way of putting each module on a tier.
fn every_placement(problem: &Problem) -> Vec<Vec<Tier>> {
    let mut tiers: Vec<Tier> = (0..problem.cards.len()).map(Tier::Gpu).collect();
    tiers.push(Tier::Cpu);
    if problem.disk_budget > 0 {
        tiers.push(Tier::Disk);
    }
    let free = if problem.tied { problem.items.len() - 1 } else { problem.items.len() };
    let mut all: Vec<Vec<Tier>> = vec![Vec::new()];
    for _ in 0..free {
        all = all.into_iter().flat_map(|p| tiers.iter().map(move |t| [p.as_slice(), &[*t]].concat())).collect();
    }
    if problem.tied {
        all.iter_mut().for_each(|placement| placement.push(placement[0]));
    }
    all
}

/// Written without a look at the planner's own counting.
fn fits(problem: &Problem, tiers: &[Tier]) -> bool {
    let on = |tier: Tier| (0..tiers.len()).filter(move |i| tiers[*i] == tier);
    let weights = |tier: Tier| on(tier).map(|i| problem.items[i].weights).sum::<u64>();
    let kv = |tier: Tier| on(tier).map(|i| problem.items[i].kv).sum::<u64>();
    let cards = problem.cards.iter().enumerate().all(|(i, card)| {
        let (w, k) = (weights(Tier::Gpu(i)), kv(Tier::Gpu(i)));
        w <= card.budget && w + k + card.fixed.total() <= card.free.max(card.fixed.total())
    });
    let norm = problem.items.len() - 2;
    let multiplied = |i: &usize| *i != norm && (*i != 0 || problem.tied) && problem.items[*i].weights > 0;
    let streamed = on(Tier::Disk).filter(multiplied).map(|i| problem.items[i].weights).max().unwrap_or(0);
    let computes = on(Tier::Cpu).chain(on(Tier::Disk)).any(|i| multiplied(&i));
    let host = &problem.host;
    let fixed = host.fixed.staging + host.fixed.reserve + if computes { host.fixed.activations } else { 0 };
    let total = weights(Tier::Cpu) + kv(Tier::Cpu) + kv(Tier::Disk) + 2 * streamed + fixed;
    cards
        && tiers[norm] != Tier::Disk
        && weights(Tier::Disk) <= problem.disk_budget
        && weights(Tier::Cpu) <= host.budget
        && total <= host.usable
}

/// Blocks of each tier, and those off the cards together, are one run.
fn in_runs(problem: &Problem, tiers: &[Tier]) -> bool {
    let blocks = &tiers[1..=problem.layers()];
    let one_run = |is: &dyn Fn(&Tier) -> bool| {
        let starts = blocks.iter().enumerate().filter(|(i, t)| is(t) && (*i == 0 || !is(&blocks[i - 1]))).count();
        starts <= 1
    };
    let cards = (0..problem.cards.len()).all(|card| one_run(&|t| *t == Tier::Gpu(card)));
    cards && one_run(&|t| *t == Tier::Cpu) && one_run(&|t| *t == Tier::Disk) && one_run(&|t| !t.is_gpu())
}

fn item(kind: ModuleKind, weights: u64, kv: u64) -> Item {
    Item { kind, weights, kv, active: weights }
}

#[derive(Debug, Clone)]
struct Case {
    blocks: Vec<u64>,
    kv: u64,
    singles: (u64, u64, u64),
    tied: bool,
    /// Budget, room above it, fixed, and whether the card is twice as fast.
    cards: Vec<(u64, u64, u64, bool)>,
    host: (u64, u64),
    disk: u64,
}

fn problem(case: &Case) -> Problem {
    let (embedding, norm, head) = case.singles;
    let mut items = vec![item(ModuleKind::Embedding, embedding, 0)];
    items.extend(case.blocks.iter().enumerate().map(|(i, w)| item(ModuleKind::Block(i), *w, case.kv)));
    items.push(item(ModuleKind::FinalNorm, norm, 0));
    items.push(item(ModuleKind::Head, if case.tied { 0 } else { head }, 0));
    if !case.tied {
        items[0].active = 1;
    }
    let card = |(budget, above, fixed, fast): &(u64, u64, u64, bool)| Card {
        name: "card".to_owned(),
        budget: *budget,
        budget_name: "a budget".to_owned(),
        free: budget + above + fixed,
        fixed: Fixed { activations: *fixed, staging: 0, reserve: 0 },
        rate: if *fast { 2_000_000 } else { 1_000_000 },
        is_virtual: false,
    };
    let (usable, budget) = case.host;
    Problem {
        items,
        tied: case.tied,
        cards: case.cards.iter().map(card).collect(),
        host: HostRoom {
            limit: "a limit".to_owned(),
            available: usable,
            usable,
            budget,
            budget_name: "a budget".to_owned(),
            fixed: Fixed { activations: 3, staging: 1, reserve: 1 },
            rate: 200_000,
        },
        disk_budget: case.disk,
        disk_rate: 10_000,
    }
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let problem = problem(case);
    let names: Vec<String> = (0..problem.items.len()).map(|i| format!("m{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = assign(&problem, &DeviceMapMode::Auto, &names);
    let (mut best, mut without_spill): (Option<Score>, bool) = (None, false);
    for tiers in every_placement(&problem).iter().filter(|tiers| fits(&problem, tiers)) {
        let found = score(&problem, tiers);
        without_spill |= found.off_bytes == 0;
        if in_runs(&problem, tiers) && best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    }
    let Ok(Assigned { tiers, .. }) = found else {
        prop_assert!(best.is_none() && !without_spill, "a placement exists: {best:?}");
        return Ok(());
    };
    prop_assert!(fits(&problem, &tiers), "does not fit: {tiers:?}");
    let found = score(&problem, &tiers);
    if without_spill {
        prop_assert_eq!(found.off_bytes, 0, "a needless spill: {:?}", tiers);
    }
    // Where only a scattered order avoids a spill, that is what counts.
    if best.is_some_and(|best| best.off_bytes > 0) && found.off_bytes == 0 {
        return Ok(());
    }
    if best.is_some() {
        prop_assert_eq!(Some(found), best, "{:?}", tiers);
        prop_assert!(in_runs(&problem, &tiers));
    }
    Ok(())
}

fn case(
    cards: std::ops::RangeInclusive<usize>,
    blocks: std::ops::RangeInclusive<usize>,
    disk: bool,
) -> impl Strategy<Value = Case> {
    let equal = (1u64..12, blocks.clone()).prop_map(|(w, n)| vec![w; n]);
    let unequal = prop::collection::vec(1u64..12, blocks);
    let cards = prop_oneof![
        (prop::collection::vec((0u64..40, 0u64..12, 0u64..3, any::<bool>()), cards.clone())),
        ((0u64..40, 0u64..12, 0u64..3), cards).prop_map(|((b, a, f), n)| vec![(b, a, f, false); n]),
    ];
    let disk = if disk { prop_oneof![Just(u64::MAX), 1u64..40].boxed() } else { Just(0).boxed() };
    (
        prop_oneof![equal, unequal],
        0u64..4,
        (1u64..15, 1u64..3, 1u64..15),
        any::<bool>(),
        cards,
        (0u64..80, 0u64..80),
        disk,
    )
        .prop_map(|(blocks, kv, singles, tied, cards, host, disk)| Case {
            blocks,
            kv,
            singles,
            tied,
            cards,
            host,
            disk,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn two_cards_and_the_host(case in case(0..=2, 1..=5, false)) {
        check(&case)?;
    }

    #[test]
    fn two_cards_host_and_disk(case in case(0..=2, 1..=3, true)) {
        check(&case)?;
    }

    #[test]
    fn three_cards_and_the_host(case in case(3..=3, 1..=4, false)) {
        check(&case)?;
    }

    #[test]
    fn every_mode_gives_what_fits_or_refuses(case in case(0..=3, 1..=6, true)) {
        let problem = problem(&case);
        for mode in [DeviceMapMode::Auto, DeviceMapMode::Sequential, DeviceMapMode::Balanced, DeviceMapMode::BalancedLow0,
                     DeviceMapMode::Cpu, DeviceMapMode::Disk] {
            if let Ok(assigned) = assign(&problem, &mode, &[]) {
                prop_assert!(fits(&problem, &assigned.tiers), "{mode:?}: {:?}", assigned.tiers);
                let auto = assign(&problem, &DeviceMapMode::Auto, &[]);
                let disk = mode == DeviceMapMode::Disk;
                prop_assert!(disk || auto.is_ok(), "{mode:?} fits and auto does not");
                if let (Ok(auto), false) = (auto, disk) {
                    prop_assert!(score(&problem, &auto.tiers).off_bytes <= score(&problem, &assigned.tiers).off_bytes);
                }
            }
        }
    }
}

#[test]
fn a_scattered_order_avoids_a_spill() {
    // 7 + 3 and 6 + 4 fill two cards of 10 exactly; in contiguous runs nothing does.
    let case = Case {
        blocks: vec![7, 6, 3, 4],
        kv: 0,
        singles: (1, 1, 1),
        tied: false,
        cards: vec![(10, 0, 0, false), (10, 0, 0, false), (3, 0, 0, false)],
        host: (80, 80),
        disk: 0,
    };
    let problem = problem(&case);
    let assigned = assign(&problem, &DeviceMapMode::Auto, &[]).expect("fits");
    assert_eq!(score(&problem, &assigned.tiers).off_bytes, 0);
    assert_eq!(assigned.notes.len(), 1);
}

#[test]
fn balanced_spreads_and_low_0_spares_the_first() {
    let case = Case {
        blocks: vec![10; 8],
        kv: 1,
        singles: (4, 1, 4),
        tied: false,
        cards: vec![(70, 20, 0, false); 3],
        host: (10, 10),
        disk: 0,
    };
    let problem = problem(&case);
    let weights = |mode: DeviceMapMode| -> Vec<u64> {
        let assigned = assign(&problem, &mode, &[]).expect("fits");
        let on = |card| (0..problem.items.len()).filter(move |i| assigned.tiers[*i] == Tier::Gpu(card));
        let on: Vec<Vec<usize>> = (0..3).map(|card| on.clone()(card).collect()).collect();
        on.iter().map(|items| items.iter().map(|i| problem.items[*i].weights).sum()).collect()
    };
    assert_eq!(weights(DeviceMapMode::Balanced), [34, 30, 25]);
    assert_eq!(weights(DeviceMapMode::BalancedLow0)[0], 0);
    assert_eq!(weights(DeviceMapMode::Sequential), [64, 25, 0]);
    assert_eq!(weights(DeviceMapMode::Auto), [64, 25, 0]);
}
