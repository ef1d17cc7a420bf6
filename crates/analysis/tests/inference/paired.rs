//! Paired tests.

use crate::known::{close, close_p, close_to, number, numbers, object, r, tests};
use analysis::inference::{
    Zeros, hodges_lehmann, mean_difference, sign_test, wilcoxon_signed_rank,
};
use proptest::prelude::*;

#[test]
fn paired_tests_agree_with_scipy_and_with_all_signs_one_by_one() {
    let known = tests();
    for (name, case) in object(&known["paired"]).filter(|(name, _)| !name.starts_with("big")) {
        let differences = numbers(&case["differences"]);
        let sign = sign_test(&differences).unwrap();
        close_p(sign.p, &case["sign_p"], name);
        assert_eq!(sign.positive + sign.negative + sign.ties, differences.len());
        let drop = wilcoxon_signed_rank(&differences, Zeros::Drop).unwrap();
        close_p(drop.p, &case["wilcoxon_drop_p"], name);
        assert_eq!(drop.positive_ranks, number(&case["positive_ranks"]), "{name}");
        assert!(drop.exact);
        let pratt = wilcoxon_signed_rank(&differences, Zeros::Pratt).unwrap();
        close_p(pratt.p, &case["wilcoxon_pratt_p"], name);
        let t = mean_difference(&differences, 0.95).unwrap();
        close(t.t, &case["t"], 1e-12, name);
        close_p(t.p, &case["t_p"], name);
        close(t.interval.low, &case["t_low"], 1e-12, name);
        close(t.interval.high, &case["t_high"], 1e-12, name);
        for (key, level) in [("hodges_lehmann", 0.95), ("hodges_lehmann_80", 0.8)] {
            let (found, expected) = (hodges_lehmann(&differences, level).unwrap(), &case[key]);
            close(found.estimate, &expected["estimate"], 1e-14, name);
            close(found.median, &expected["median"], 1e-14, name);
            close(found.coverage, &expected["coverage"], 1e-12, name);
            match found.interval {
                Some(interval) => {
                    close(interval.low, &expected["low"], 1e-14, name);
                    close(interval.high, &expected["high"], 1e-14, name);
                }
                None => assert!(expected["low"].is_null(), "{name}: expected an interval"),
            }
        }
    }
}

#[test]
fn the_exact_interval_agrees_with_r() {
    let known = r();
    let differences = numbers(&known["differences"]);
    let p = wilcoxon_signed_rank(&differences, Zeros::Drop).unwrap().p;
    close_p(p, &known["wilcoxon_p"][0], "p");
    let found = hodges_lehmann(&differences, 0.95).unwrap();
    let interval = found.interval.unwrap();
    close(interval.low, &known["interval"][0], 1e-14, "low");
    close(interval.high, &known["interval"][1], 1e-14, "high");
    close(found.estimate, &known["pseudo_median"][0], 1e-14, "estimate");
}

#[test]
fn many_pairs_agree_with_scipy() {
    let known = tests();
    let untied = &known["paired"]["big_untied"];
    let found = wilcoxon_signed_rank(&numbers(&untied["differences"]), Zeros::Drop).unwrap();
    close_p(found.p, &untied["wilcoxon_exact_p"], "400 pairs");

    // With 900 pairs the normal approximation is good to a few percent of p.
    let tied = &known["paired"]["big_tied"];
    let differences = numbers(&tied["differences"]);
    for (zeros, key) in
        [(Zeros::Drop, "wilcoxon_normal_p"), (Zeros::Pratt, "wilcoxon_pratt_normal_p")]
    {
        let found = wilcoxon_signed_rank(&differences, zeros).unwrap();
        assert!(found.exact && found.tied > 600);
        let approximate = number(&tied[key]);
        assert!((found.p / approximate - 1.0).abs() < 0.02, "{} {approximate}", found.p);
    }
    close_p(sign_test(&differences).unwrap().p, &tied["sign_p"], "sign test of 900 pairs");
}

#[test]
fn above_2000_ranks_p_is_that_of_the_normal_approximation() {
    let differences: Vec<f64> =
        (1..=2001).map(|at| if at % 20 < 11 { f64::from(at) } else { -f64::from(at) }).collect();
    let found = wilcoxon_signed_rank(&differences, Zeros::Drop).unwrap();
    assert!(!found.exact);
    let n = 2001.0f64;
    let sd = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let z = (found.positive_ranks - n * (n + 1.0) / 4.0) / sd;
    let interval = hodges_lehmann(&differences, 0.95).unwrap().interval.unwrap();
    assert!(interval.low > 0.0 && z > 1.96 && found.p < 0.05 && found.p > 0.0);
}

#[test]
fn all_differences_of_one_sign_give_the_smallest_p() {
    let five = [1.0, 2.0, 3.0, 4.0, 5.0];
    let (sign, wilcoxon) =
        (sign_test(&five).unwrap(), wilcoxon_signed_rank(&five, Zeros::Drop).unwrap());
    close_to(sign.p, 0.0625, 1e-14, "sign test of five pairs");
    assert_eq!((sign.p_smallest, wilcoxon.p, wilcoxon.p_smallest), (0.0625, 0.0625, 0.0625));
    assert_eq!(wilcoxon.rank_biserial, 1.0);
    // Probabilities of 2,000 signs are below the smallest f64.
    let many: Vec<f64> = (1..=2000).map(f64::from).collect();
    let p = wilcoxon_signed_rank(&many[..1100], Zeros::Drop).unwrap().p;
    assert!(p > 0.0 && p < 1e-300, "{p}");
}

proptest! {
    /// Swapping control and treatment changes signs alone; a shift moves the estimate by as much.
    #[test]
    fn paired_results_follow_signs_and_shifts(
        values in prop::collection::vec(-20i32..20, 2..40), shift in -5i32..5,
    ) {
        let differences: Vec<f64> = values.iter().map(|value| f64::from(*value) / 2.0).collect();
        let swapped: Vec<f64> = differences.iter().map(|value| -value).collect();
        prop_assume!(differences.iter().any(|value| *value != 0.0));
        for zeros in [Zeros::Drop, Zeros::Pratt] {
            let (one, other) = (
                wilcoxon_signed_rank(&differences, zeros).unwrap(),
                wilcoxon_signed_rank(&swapped, zeros).unwrap(),
            );
            prop_assert_eq!(one.p, other.p);
            prop_assert_eq!(one.positive_ranks, other.negative_ranks);
            prop_assert!(one.p >= one.p_smallest * (1.0 - 1e-12) && one.p <= 1.0);
        }
        let shifted: Vec<f64> = differences.iter().map(|value| value + f64::from(shift)).collect();
        let (one, other) =
            (hodges_lehmann(&differences, 0.9).unwrap(), hodges_lehmann(&shifted, 0.9).unwrap());
        prop_assert_eq!(one.estimate + f64::from(shift), other.estimate);
        prop_assert_eq!(one.median + f64::from(shift), other.median);
        if let (Some(one), Some(other)) = (one.interval, other.interval) {
            prop_assert_eq!(one.low + f64::from(shift), other.low);
            prop_assert!(one.low <= one.high && other.low <= other.high);
        }
    }

    /// The interval has the values that the exact test does not reject, where no sizes are tied.
    #[test]
    fn the_interval_inverts_the_signed_rank_test(
        values in prop::collection::vec(-1000.0f64..1000.0, 6..20),
    ) {
        let found = hodges_lehmann(&values, 0.95).unwrap();
        let interval = found.interval.unwrap();
        let p = |shift: f64| {
            let shifted: Vec<f64> = values.iter().map(|value| value - shift).collect();
            wilcoxon_signed_rank(&shifted, Zeros::Drop).unwrap().p
        };
        let inside = (interval.high - interval.low) * 1e-7;
        prop_assume!(inside > 1e-7);
        prop_assert!(p(interval.low + inside) > 0.05 * (1.0 - 1e-12));
        prop_assert!(p(interval.high - inside) > 0.05 * (1.0 - 1e-12));
        prop_assert!(p(interval.low - inside) <= 0.05);
        prop_assert!(p(interval.high + inside) <= 0.05);
    }
}
