//! Placements of small cases, each with a result that is worked out by hand.
use super::assign;
use super::brute_force::{PLENTY, ProofCase, problem};
use crate::score::{OffBytes, PlacementScore, score};
use crate::{DeviceMapMode, Tier};

#[test]
fn a_scattered_order_avoids_a_spill() {
    // Layers of 7 + 3 and of 6 + 4 bytes fill two GPUs of 10 bytes exactly; contiguous runs cannot.
    let case = ProofCase {
        layers: vec![7, 6, 3, 4],
        experts: Vec::new(),
        holds_experts: Vec::new(),
        kv: 0,
        singles: (1, 1, 1),
        tied: false,
        gpus: vec![(10, 0, 0, false), (10, 0, 0, false), (3, 0, 0, false)],
        host: (80, 80),
        disk: 0,
    };
    let problem = problem(&case);
    let assigned = assign(&problem, &DeviceMapMode::Auto, &[]).expect("fits");
    assert_eq!(score(&problem, &assigned.tiers).off_bytes, OffBytes::NONE);
    assert_eq!(assigned.notes.len(), 1);
}

#[test]
fn a_scattered_order_leaves_fewer_bytes_off() {
    // With one contiguous run, a GPU of 9 bytes holds the layer of 7 bytes and the norm; the layers
    // of 6 and 3 bytes fill it.
    let case = ProofCase {
        layers: vec![6, 7, 3],
        experts: Vec::new(),
        holds_experts: Vec::new(),
        kv: 0,
        singles: (20, 1, 20),
        tied: false,
        gpus: vec![(9, 0, 0, false)],
        host: PLENTY,
        disk: 0,
    };
    let problem = problem(&case);
    let assigned = assign(&problem, &DeviceMapMode::Auto, &[]).expect("fits");
    let (gpu, cpu) = (Tier::Gpu(0), Tier::Cpu);
    assert_eq!(assigned.tiers, [cpu, gpu, cpu, gpu, cpu, cpu]);
}

#[test]
fn a_score_is_bytes_then_time_then_cuts() {
    let case = ProofCase {
        layers: vec![10, 20],
        experts: Vec::new(),
        holds_experts: Vec::new(),
        kv: 5,
        singles: (4, 1, 8),
        tied: false,
        gpus: vec![(100, 0, 0, false), (100, 0, 0, true)],
        host: PLENTY,
        disk: 100,
    };
    let problem = problem(&case);
    let tiers = [Tier::Cpu, Tier::Gpu(0), Tier::Disk, Tier::Cpu, Tier::Gpu(1)];
    // Reads: one row of the embedding (1 byte) and the norm (1 byte) at 200 kB/s, layers of 10
    // bytes at 1 MB/s and of 20 bytes at 10 kB/s, the head (8 bytes) at 2 MB/s.
    let reads_ns = 5_000 + 10_000 + 2_000_000 + 5_000 + 4_000;
    let expected = PlacementScore {
        off_bytes: OffBytes { rest: 4 + 20 + 1, experts: 0 },
        time_ns: reads_ns + 4 * crate::score::HOP_NS,
        cuts: 4,
    };
    assert_eq!(score(&problem, &tiers), expected);
    let [none, some] = [OffBytes::NONE, OffBytes { rest: 0, experts: 9 }];
    let mut scores = [
        PlacementScore { off_bytes: OffBytes { rest: 1, experts: 0 }, time_ns: 1, cuts: 1 },
        PlacementScore { off_bytes: some, time_ns: 1, cuts: 1 },
        PlacementScore { off_bytes: none, time_ns: 2, cuts: 1 },
        PlacementScore { off_bytes: none, time_ns: 1, cuts: 2 },
        PlacementScore { off_bytes: none, time_ns: 1, cuts: 1 },
    ];
    scores.sort();
    let ordered: Vec<(u64, u64, u64, u64)> =
        scores.iter().map(|s| (s.off_bytes.rest, s.off_bytes.experts, s.time_ns, s.cuts)).collect();
    assert_eq!(ordered, [(0, 0, 1, 1), (0, 0, 1, 2), (0, 0, 2, 1), (0, 9, 1, 1), (1, 0, 1, 1)]);
}

#[test]
fn max_memory_bounds_weights_and_the_rest_of_the_gpu_bounds_all() {
    let on_gpu = |budget: u64, above: u64| {
        // Bytes: embedding 2, four layers of 10 with 3 of keys and values each, norm 1, head 2,
        // activations 4.
        let case = ProofCase {
            layers: vec![10; 4],
            experts: Vec::new(),
            holds_experts: Vec::new(),
            kv: 3,
            singles: (2, 1, 2),
            tied: false,
            gpus: vec![(budget, above, 4, false)],
            host: PLENTY,
            disk: 0,
        };
        let problem = problem(&case);
        let tiers = assign(&problem, &DeviceMapMode::Auto, &[]).expect("fits").tiers;
        tiers
            .iter()
            .zip(&problem.items)
            .filter(|(tier, _)| tier.is_gpu())
            .map(|(_, item)| item.weights)
            .sum::<u64>()
    };
    // Weights of 45 bytes fit into a budget of 45. The 12 bytes of keys and values use the rest of
    // the GPU's memory, which the budget does not limit.
    assert_eq!(on_gpu(45, 12), 45);
    assert_eq!(on_gpu(44, 13), 44, "the budget is one short: the norm is off");
    assert_eq!(on_gpu(45, 11), 44, "the GPU is one short");
    assert_eq!(on_gpu(60, 0), 45, "a larger budget takes from the same GPU");
}

#[test]
fn balanced_that_would_spill_in_its_order_takes_what_auto_found() {
    // In module order the head does not fit after the norm; `auto` puts it on the first GPU.
    let case = ProofCase {
        layers: vec![10; 4],
        experts: Vec::new(),
        holds_experts: Vec::new(),
        kv: 0,
        singles: (1, 1, 9),
        tied: false,
        gpus: vec![(30, 0, 0, false), (21, 0, 0, false)],
        host: PLENTY,
        disk: 0,
    };
    let problem = problem(&case);
    for mode in [DeviceMapMode::Balanced, DeviceMapMode::BalancedLow0] {
        let assigned = assign(&problem, &mode, &[]).expect("fits");
        assert!(assigned.tiers.iter().all(|tier| tier.is_gpu()), "{:?}", assigned.tiers);
        assert!(assigned.notes[0].contains(mode.name()), "{:?}", assigned.notes);
    }
    let sequential = assign(&problem, &DeviceMapMode::Sequential, &[]).expect("fits");
    assert_eq!(sequential.tiers.last(), Some(&Tier::Cpu));
}

#[test]
fn balanced_spreads_and_low_0_spares_the_first() {
    let case = ProofCase {
        layers: vec![10; 8],
        experts: Vec::new(),
        holds_experts: Vec::new(),
        kv: 1,
        singles: (4, 1, 4),
        tied: false,
        gpus: vec![(70, 20, 0, false); 3],
        host: (10, 10),
        disk: 0,
    };
    let problem = problem(&case);
    let weights = |mode: DeviceMapMode| -> Vec<u64> {
        let assigned = assign(&problem, &mode, &[]).expect("fits");
        let on =
            |gpu| (0..problem.items.len()).filter(move |i| assigned.tiers[*i] == Tier::Gpu(gpu));
        let on: Vec<Vec<usize>> = (0..3).map(|gpu| on.clone()(gpu).collect()).collect();
        on.iter().map(|items| items.iter().map(|i| problem.items[*i].weights).sum()).collect()
    };
    assert_eq!(weights(DeviceMapMode::Balanced), [34, 30, 25]);
    assert_eq!(weights(DeviceMapMode::BalancedLow0)[0], 0);
    assert_eq!(weights(DeviceMapMode::Sequential), [64, 25, 0]);
    assert_eq!(weights(DeviceMapMode::Auto), [64, 25, 0]);
}
