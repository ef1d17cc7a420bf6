//! Permutation tests.

use crate::known::{close, labels, number, numbers, tests};
use analysis::inference::{Alternative, PermutationOptions, permutation_test};
use base::SplitMix64;

const OPTIONS: PermutationOptions = PermutationOptions {
    alternative: Alternative::TwoSided,
    exact_max: 10_000,
    draws: 2000,
    seed: 3,
};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn permutations_within_worlds_agree_with_all_arrangements() {
    let known = &tests()["permutation"];
    let (doses, worlds) = (numbers(&known["doses"]), labels(&known["blocks"]));
    let outcome = numbers(&known["outcome"]);
    let test = |options: &PermutationOptions| {
        permutation_test(&doses, &worlds, options, |doses| dot(doses, &outcome)).unwrap()
    };
    for (alternative, key) in [
        (Alternative::TwoSided, "two_sided"),
        (Alternative::Greater, "greater"),
        (Alternative::Less, "less"),
    ] {
        let found = test(&PermutationOptions { alternative, ..OPTIONS });
        assert!(found.exact);
        assert_eq!(found.arrangements as f64, number(&known["arrangements"]));
        close(found.p, &known[key], 1e-12, key);
        close(found.statistic, &known["statistic"], 1e-12, "statistic");
        close(found.mean, &known["mean"], 1e-12, "mean");
        let drawn = test(&PermutationOptions { alternative, exact_max: 10, ..OPTIONS });
        assert!(!drawn.exact && drawn.arrangements == 2000);
        assert!((drawn.p - found.p).abs() < 4.0 * drawn.p_error, "{} {}", drawn.p, found.p);
    }
}

#[test]
fn two_groups_agree_with_scipy() {
    let known = &tests()["permutation"];
    let outcome = numbers(&known["outcome"])[..11].to_vec();
    let treated: Vec<f64> = (0..11).map(|at| f64::from(u8::from(at >= 5))).collect();
    let found = permutation_test(&treated, &[], &OPTIONS, |treated| {
        dot(treated, &outcome) / 6.0
            - outcome.iter().zip(treated).map(|(y, t)| y * (1.0 - t)).sum::<f64>() / 5.0
    })
    .unwrap();
    close(found.p, &known["two_groups_p"], 1e-12, "p");
    assert_eq!(found.arrangements, 462);
}

#[test]
fn arrangements_without_statistic_count_as_extreme() {
    let doses = [0.0, 0.0, 1.0, 1.0];
    let found =
        permutation_test(
            &doses,
            &[],
            &OPTIONS,
            |doses| {
                if doses[0] == 1.0 { f64::NAN } else { doses[3] }
            },
        )
        .unwrap();
    // Of the six arrangements three have no statistic, two of the others are as large as the data.
    assert_eq!((found.failed, found.arrangements), (3, 6));
    assert_eq!(found.p, 1.0);
    assert_eq!(found.warnings[0].code, "failed_arrangements");
}

/// A test at level 5% rejects 5% of true null hypotheses: 12 worlds, each with its own level and
/// spread, doses 0 to 3.
#[test]
fn permutations_have_the_nominal_error_rate() {
    let mut random = SplitMix64(99);
    let (mut exact_rejections, mut drawn_rejections) = (0, 0);
    let repeats = 400;
    for repeat in 0..repeats {
        let (mut doses, mut worlds, mut outcome) = (Vec::new(), Vec::new(), Vec::new());
        for world in 0..12u32 {
            let (level, spread) = (3.0 * random.next_f64(), 0.2 + random.next_f64());
            for dose in 0..4u32 {
                doses.push(f64::from(dose));
                worlds.push(world);
                outcome.push(level + spread * random.next_f64().powi(3));
            }
        }
        let drawn = PermutationOptions { draws: 199, seed: repeat, ..OPTIONS };
        let statistic = |doses: &[f64]| dot(doses, &outcome);
        let p = permutation_test(&doses, &worlds, &drawn, statistic).unwrap().p;
        drawn_rejections += u32::from(p <= 0.05);
        // Two doses in six worlds: all 6^6 arrangements.
        let two: Vec<f64> =
            doses[..16].iter().map(|dose| f64::from(u8::from(*dose >= 2.0))).collect();
        let statistic = |doses: &[f64]| dot(doses, &outcome[..16]);
        let p = permutation_test(&two, &worlds[..16], &OPTIONS, statistic).unwrap();
        assert!(p.exact);
        exact_rejections += u32::from(p.p <= 0.05);
    }
    for rejections in [exact_rejections, drawn_rejections] {
        let rate = f64::from(rejections) / repeats as f64;
        assert!((0.03..=0.07).contains(&rate), "rejected {rate} of true null hypotheses");
    }
}
