//! Contingency tables, proportions, Holm's correction.

use crate::known::{close, close_p, close_to, list, number, numbers, object, r, tests};
use analysis::inference::{
    ContingencyMethod, ContingencyOptions, FamilyTest, clustered_difference, contingency_test,
    holm, holm_by_family, newcombe_difference, wilson,
};
use proptest::prelude::*;
use serde_json::Value;

const OPTIONS: ContingencyOptions =
    ContingencyOptions { tables_max: 100_000, draws: 4000, seed: 7 };

fn counts(value: &Value) -> Vec<Vec<u64>> {
    list(value).iter().map(|row| numbers(row).iter().map(|count| *count as u64).collect()).collect()
}

#[test]
fn contingency_tests_agree_with_scipy_statsmodels_and_r() {
    let known = tests();
    for (name, case) in object(&known["tables"]) {
        let found = contingency_test(&counts(&case["counts"]), &OPTIONS).unwrap();
        close(found.chi_square, &case["chi_square"], 1e-12, name);
        assert_eq!(found.df as f64, number(&case["df"]));
        close_p(found.p_chi_square, &case["p_chi_square"], name);
        close(found.cramers_v, &case["cramers_v"], 1e-12, name);
        close(found.cramers_v_corrected, &case["cramers_v_corrected"], 1e-12, name);
        for (at, row) in list(&case["residuals"]).iter().enumerate() {
            for (column, expected) in numbers(row).into_iter().enumerate() {
                close_to(found.residuals[at][column].unwrap(), expected, 1e-10, name);
            }
        }
        match (found.method, case.get("p_exact")) {
            (ContingencyMethod::Exact, Some(expected)) => close_p(found.p, expected, name),
            (ContingencyMethod::ExactByDraws, Some(expected)) => {
                let error = found.p_exact_error.unwrap();
                assert!(error > 0.0 && error < 0.01);
                assert!((found.p - number(expected)).abs() < 4.0 * error, "{name}: {}", found.p);
            }
            (ContingencyMethod::ChiSquare, None) => {
                assert_eq!((found.p, found.p_exact), (found.p_chi_square, None));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // The enumeration of the script is itself that of scipy's for two by two.
    let two = &known["tables"]["two_by_two_small"];
    close_p(number(&two["p_exact"]), &two["p_fisher"], "Fisher's test");
    let three = number(&known["tables"]["three_by_three_sparse"]["p_exact"]);
    close_p(three, &r()["fisher_p"][0], "R's Fisher test");
}

#[test]
fn a_drawn_exact_p_agrees_with_the_enumerated_one_and_depends_on_the_seed_alone() {
    let known = tests();
    let table = counts(&known["tables"]["three_by_three_sparse"]["counts"]);
    let exact = contingency_test(&table, &OPTIONS).unwrap();
    let drawn = ContingencyOptions { tables_max: 10, ..OPTIONS };
    let one = contingency_test(&table, &drawn).unwrap();
    assert_eq!(one.method, ContingencyMethod::ExactByDraws);
    assert!((one.p - exact.p).abs() < 4.0 * one.p_exact_error.unwrap().max(0.001));
    assert_eq!(one, contingency_test(&table, &drawn).unwrap());
    assert_ne!(one, contingency_test(&table, &ContingencyOptions { seed: 8, ..drawn }).unwrap());
}

#[test]
fn empty_rows_and_columns_do_not_count() {
    let full = contingency_test(&[vec![8, 2], vec![1, 5]], &OPTIONS).unwrap();
    let padded = [vec![8, 0, 2], vec![0, 0, 0], vec![1, 0, 5]];
    let padded = contingency_test(&padded, &OPTIONS).unwrap();
    assert_eq!((padded.p, padded.df, padded.cramers_v), (full.p, full.df, full.cramers_v));
    assert_eq!(padded.residuals[1], vec![None; 3]);
    assert_eq!(padded.residuals[2][2], full.residuals[1][1]);
    assert_eq!(padded.warnings[0].code, "empty_rows_or_columns");
}

proptest! {
    #[test]
    fn transposed_tables_have_the_same_association(
        cells in prop::collection::vec(0u64..8, 6),
    ) {
        let table = [cells[..3].to_vec(), cells[3..].to_vec()];
        let turned: Vec<Vec<u64>> = (0..3).map(|at| vec![cells[at], cells[at + 3]]).collect();
        match (contingency_test(&table, &OPTIONS), contingency_test(&turned, &OPTIONS)) {
            (Ok(one), Ok(other)) => {
                prop_assert!((one.p - other.p).abs() < 1e-10);
                prop_assert!((one.cramers_v - other.cramers_v).abs() < 1e-12);
                prop_assert!(one.cramers_v_corrected <= one.cramers_v + 1e-12);
                prop_assert!((0.0..=1.0).contains(&one.p));
            }
            (one, other) => prop_assert!(one.is_err() && other.is_err()),
        }
    }
}

#[test]
fn intervals_of_proportions_agree_with_statsmodels() {
    let known = tests();
    for case in list(&known["proportions"]["wilson"]) {
        let (successes, total) = (number(&case["successes"]) as u64, number(&case["total"]) as u64);
        let found = wilson(successes, total, number(&case["level"])).unwrap();
        close(found.interval.low, &case["low"], 1e-12, "low");
        close(found.interval.high, &case["high"], 1e-12, "high");
    }
    for case in list(&known["proportions"]["newcombe"]) {
        let pair = |key: &str| {
            let values = numbers(&case[key]);
            (values[0] as u64, values[1] as u64)
        };
        let found = newcombe_difference(pair("first"), pair("second"), 0.95).unwrap();
        close(found.interval.low, &case["low"], 1e-12, "low");
        close(found.interval.high, &case["high"], 1e-12, "high");
    }
}

#[test]
fn worlds_that_agree_widen_the_interval_of_a_difference() {
    // Ten worlds with two control and two treated runs; runs of a world are alike.
    let (mut outcome, mut treated, mut worlds) = (Vec::new(), Vec::new(), Vec::new());
    for world in 0..10u32 {
        for run in 0..4u32 {
            treated.push(run >= 2);
            outcome.push(if run < 2 { world < 3 } else { world < 5 });
            worlds.push(world);
        }
    }
    let found = clustered_difference(&outcome, &treated, &worlds, 0.95).unwrap();
    close_to(found.difference, 0.2, 1e-12, "difference");
    assert_eq!((found.control.successes, found.treated.successes), (6, 10));
    // By hand: differences by world are 1 in two worlds of ten, else 0; CR1 of a balanced design is
    // sqrt(10 / 9 * 39 / 38 * sum of (d - .2)^2) / 10.
    let se = (10.0f64 / 9.0 * 39.0 / 38.0 * (2.0 * 0.64 + 8.0 * 0.04)).sqrt() / 10.0;
    close_to(found.se, se, 1e-12, "se");
    assert_eq!(found.warnings[0].code, "few_worlds");
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in list(&tests()["holm"]) {
        let found = holm(&numbers(&case["p"])).unwrap();
        for (found, expected) in found.iter().zip(numbers(&case["adjusted"])) {
            close_to(*found, expected, 1e-14, "adjusted p");
        }
    }
}

#[test]
fn families_are_corrected_apart_and_missing_tests_still_count() {
    let test = |family: &str, name: &str, p: Option<f64>| FamilyTest {
        family: family.to_owned(),
        name: name.to_owned(),
        p,
    };
    let tests = [
        test("primary", "a", Some(0.01)),
        test("other", "b", Some(0.04)),
        test("primary", "c", None),
        test("primary", "d", Some(0.02)),
    ];
    let found = holm_by_family(&tests).unwrap();
    let adjusted: Vec<Option<f64>> = found.iter().map(|row| row.p_adjusted).collect();
    assert_eq!(adjusted, [Some(0.03), Some(0.04), None, Some(0.04)]);
    assert_eq!(found[2].family_size, 3);
}

proptest! {
    #[test]
    fn adjusted_p_values_keep_the_order_and_are_no_smaller(
        p in prop::collection::vec(0.0f64..=1.0, 0..12),
    ) {
        let adjusted = holm(&p).unwrap();
        for i in 0..p.len() {
            prop_assert!(adjusted[i] >= p[i] && adjusted[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
            }
        }
    }
}
