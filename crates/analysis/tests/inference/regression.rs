//! Regressions and wild bootstraps.

use crate::known::{close, close_p, close_to, labels, list, number, numbers, regression};
use analysis::inference::{
    RegressionTerm, WildOptions, WildWeights, demean_within, logit, ols, score_wild_bootstrap,
    two_stage_least_squares, wild_cluster_bootstrap,
};
use analysis::survival::Covariates;
use base::SplitMix64;
use proptest::prelude::*;
use serde_json::Value;

/// Columns side by side.
pub fn covariates(columns: &[(&str, Vec<f64>)]) -> Covariates {
    let rows = columns.first().map_or(0, |(_, values)| values.len());
    Covariates {
        names: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        values: (0..rows).flat_map(|row| columns.iter().map(move |(_, v)| v[row])).collect(),
    }
}

#[track_caller]
fn same_terms(terms: &[RegressionTerm], expected: &Value, tolerance: f64) {
    let keys = ["estimates", "se", "p", "low", "high"];
    for (at, term) in terms.iter().enumerate() {
        let found = [term.estimate, term.se, term.p, term.interval.low, term.interval.high];
        for (key, found) in keys.iter().zip(found) {
            let Some(values) = expected.get(key) else { continue };
            let expected = numbers(values)[at];
            assert!(
                (found / expected - 1.0).abs() < tolerance,
                "{key} of {}: expected {expected}, found {found}",
                term.name
            );
        }
    }
}

#[test]
fn least_squares_agrees_with_statsmodels() {
    let known = regression();
    let data = &known["data"];
    let worlds = labels(&data["world"]);
    let x = covariates(&[("dose", numbers(&data["dose"])), ("demand", numbers(&data["demand"]))]);
    let outcome = numbers(&data["number"]);
    let found = ols(&outcome, &x, &worlds, 0.95).unwrap();
    same_terms(&found.terms, &known["ols"], 1e-8);
    close(found.r_squared, &known["ols"]["r_squared"], 1e-10, "R squared");
    close(found.residual_sd, &known["ols"]["residual_sd"], 1e-10, "residual SD");
    for (row, expected) in found.covariance.iter().zip(list(&known["ols"]["covariance"])) {
        for (found, expected) in row.iter().zip(numbers(expected)) {
            assert!((found / expected - 1.0).abs() < 1e-8, "expected {expected}, found {found}");
        }
    }
    // Each row a cluster: HC1.
    let rows = ols(&outcome, &x, &[], 0.95).unwrap();
    same_terms(&rows.terms, &known["ols_rows"], 1e-8);
    assert_eq!(rows.clusters, rows.rows);
    assert_eq!(found.warnings[0].code, "few_worlds");
}

#[test]
fn logit_agrees_with_statsmodels() {
    let known = regression();
    let data = &known["data"];
    let demand: Vec<f64> = numbers(&data["demand"]).iter().map(|value| value / 1e6).collect();
    let x = covariates(&[("dose", numbers(&data["dose"])), ("demand", demand)]);
    let found = logit(&numbers(&data["crash"]), &x, &labels(&data["world"]), 0.95).unwrap();
    same_terms(&found.terms, &known["logit"], 1e-7);
    close(found.log_likelihood, &known["logit"]["log_likelihood"], 1e-12, "log-likelihood");
    close(found.log_likelihood_null, &known["logit"]["log_likelihood_null"], 1e-12, "of no effect");
}

#[test]
fn two_stage_least_squares_agrees_with_linearmodels() {
    let known = regression();
    let data = &known["data"];
    let p_shock = numbers(&data["p_shock"]);
    let square = p_shock.iter().map(|p| p * p).collect();
    let demand: Vec<f64> = numbers(&data["demand"]).iter().map(|value| value / 1e6).collect();
    let dose = numbers(&data["dose"]);
    let found = two_stage_least_squares(
        &numbers(&data["number"]),
        ("dose", &dose),
        &covariates(&[("p_shock", p_shock), ("square", square)]),
        &covariates(&[("demand", demand)]),
        &labels(&data["world"]),
        0.95,
    )
    .unwrap();
    let expected = &known["iv"];
    same_terms(&found.terms, expected, 1e-8);
    assert_eq!(found.terms[1].name, "dose");
    let first = &expected["first_stage"];
    close(found.first_stage.f, &first["f"], 1e-8, "first-stage F");
    close_p(found.first_stage.p, &first["p"], "first-stage p");
    close(found.first_stage.partial_r_squared, &expected["partial_r_squared"], 1e-10, "R squared");
    for (term, expected) in found.first_stage.instruments.iter().zip(numbers(&first["b"])) {
        close_to(term.estimate, expected, 1e-8, &term.name);
    }
    close(found.p_anderson_rubin, &expected["reduced_form"]["p"], 1e-8, "Anderson-Rubin p");
}

#[test]
fn a_weak_instrument_is_named() {
    let mut random = SplitMix64(5);
    let n = 200;
    let instrument: Vec<f64> = (0..n).map(|_| random.next_f64()).collect();
    let dose: Vec<f64> = instrument.iter().map(|z| 0.1 * z + random.next_f64()).collect();
    let outcome: Vec<f64> = dose.iter().map(|d| d + random.next_f64()).collect();
    let worlds: Vec<u32> = (0..n as u32).map(|row| row / 8).collect();
    let instruments = covariates(&[("p_shock", instrument)]);
    let none = Covariates::default();
    let found =
        two_stage_least_squares(&outcome, ("dose", &dose), &instruments, &none, &worlds, 0.95);
    let found = found.unwrap();
    assert!(found.first_stage.f < 10.0);
    assert!(found.warnings.iter().any(|warning| warning.code == "weak_instrument"));
}

fn wild_options(exact_max: u64) -> WildOptions {
    let weights = WildWeights::Rademacher;
    WildOptions { weights, replicates: 9999, exact_max, seed: 1, level: None }
}

#[test]
fn the_wild_bootstrap_agrees_with_refitting_all_signs() {
    let known = regression();
    let (data, wild) = (&known["data"], &known["wild"]);
    let worlds = labels(&data["world"]);
    let dose = numbers(&data["dose"]);
    let x = covariates(&[("dose", dose.clone()), ("demand", numbers(&data["demand"]))]);
    let outcome = numbers(&wild["outcome"]);
    let options = wild_options(1024);
    let found = wild_cluster_bootstrap(&outcome, &x, &worlds, 0, &options).unwrap();
    assert!(found.exact && found.replicates == 1024);
    close_p(found.p, &wild["p"], "p");
    close_p(found.p, &wild["wildboottest_p"], "wildboottest");
    let world = wild_cluster_bootstrap(&outcome, &x, &worlds, 1, &options).unwrap();
    close_p(world.p, &wild["p_of_world_covariate"], "p of a covariate of the world");
    // Other null values, by shifting the outcome.
    for case in list(&wild["p_at"]).iter().map(numbers) {
        let shifted: Vec<f64> = outcome.iter().zip(&dose).map(|(y, d)| y - case[0] * d).collect();
        let found = wild_cluster_bootstrap(&shifted, &x, &worlds, 0, &options).unwrap();
        close_to(found.p, case[1], 1e-12, "p at another value");
    }
    let fit = ols(&outcome, &x, &worlds, 0.95).unwrap();
    close_to(found.estimate, fit.terms[1].estimate, 1e-12, "estimate");
    close_to(found.se, fit.terms[1].se, 1e-12, "error");
    // Drawn signs and Webb's weights say about the same.
    for weights in [WildWeights::Rademacher, WildWeights::Webb] {
        let options = WildOptions { weights, exact_max: 1, ..options };
        let drawn = wild_cluster_bootstrap(&outcome, &x, &worlds, 0, &options).unwrap();
        assert!(!drawn.exact);
        assert!((drawn.p - found.p).abs() < 0.04, "{weights:?}: {} {}", drawn.p, found.p);
    }
}

#[test]
fn the_wild_interval_holds_the_values_that_are_not_rejected() {
    let known = regression();
    let (data, wild) = (&known["data"], &known["wild"]);
    let (worlds, dose) = (labels(&data["world"]), numbers(&data["dose"]));
    let x = covariates(&[("dose", dose.clone()), ("demand", numbers(&data["demand"]))]);
    let outcome = numbers(&wild["outcome"]);
    let options = WildOptions { level: Some(0.95), ..wild_options(1024) };
    let found = wild_cluster_bootstrap(&outcome, &x, &worlds, 0, &options).unwrap();
    let (low, high) = (found.low.unwrap(), found.high.unwrap());
    assert!(low < found.estimate && found.estimate < high);
    let p = |value: f64| {
        let shifted: Vec<f64> = outcome.iter().zip(&dose).map(|(y, d)| y - value * d).collect();
        wild_cluster_bootstrap(&shifted, &x, &worlds, 0, &wild_options(1024)).unwrap().p
    };
    let step = (high - low) * 1e-4;
    assert!(p(low + step) > 0.05 && p(low - step) <= 0.05, "{} {}", p(low + step), p(low - step));
    assert!(p(high - step) > 0.05 && p(high + step) <= 0.05);
}

#[test]
fn the_score_bootstrap_agrees_with_all_signs() {
    let known = &regression()["score"];
    let matrix = |key: &str| list(&known[key]).iter().map(numbers).collect::<Vec<_>>();
    let (scores, information) = (matrix("scores"), matrix("information"));
    let found = score_wild_bootstrap(&scores, &information, 1, 1, 999).unwrap();
    assert!(found.exact && found.replicates == 1024);
    close_p(found.p, &known["p"], "p");
    close(found.one_step, &known["one_step"], 1e-9, "one step");
    close(found.statistic, &known["statistic"], 1e-9, "statistic");
}

#[test]
fn five_worlds_cannot_reject_with_signs() {
    let outcome: Vec<f64> =
        (0..20).map(|row| f64::from(row % 4) + f64::from(row * row % 7)).collect();
    let x = covariates(&[("dose", (0..20).map(|row| f64::from(row % 4)).collect())]);
    let worlds: Vec<u32> = (0..20).map(|row| row / 4).collect();
    let options = WildOptions { level: Some(0.95), ..wild_options(4096) };
    let found = wild_cluster_bootstrap(&outcome, &x, &worlds, 0, &options).unwrap();
    assert!(found.p >= 0.0625);
    assert_eq!((found.low, found.high), (None, None));
    assert_eq!(found.warnings[0].code, "few_sign_vectors");
}

/// Twelve worlds of unequal numbers of runs; the treatment has no effect, on average over worlds,
/// but a different one in each world.
struct Simulated {
    outcome: Vec<f64>,
    treated: Vec<f64>,
    worlds: Vec<u32>,
}

fn simulated(random: &mut SplitMix64) -> Simulated {
    let (mut outcome, mut treated, mut worlds) = (Vec::new(), Vec::new(), Vec::new());
    let mut centered = || random.next_f64() + random.next_f64() + random.next_f64() - 1.5;
    for world in 0..12u32 {
        let (level, effect) = (centered(), centered());
        for run in 0..4 + world % 4 {
            let is_treated = f64::from(run % 2);
            treated.push(is_treated);
            worlds.push(world);
            outcome.push(level + effect * is_treated + centered());
        }
    }
    Simulated { outcome, treated, worlds }
}

#[test]
fn the_wild_bootstrap_has_the_nominal_error_rate() {
    let mut random = SplitMix64(2024);
    let (mut wild, mut score) = (0, 0);
    // In 10,000 repeats: wild 4.9%, score 5.9%.
    let repeats = 1000;
    for _ in 0..repeats {
        let Simulated { outcome, treated, worlds } = simulated(&mut random);
        let x = covariates(&[("treated", treated.clone())]);
        let found = wild_cluster_bootstrap(&outcome, &x, &worlds, 0, &wild_options(4096)).unwrap();
        assert!(found.exact);
        wild += u32::from(found.p <= 0.05);
        // A logit's scores without effect of the treatment: the events' share is their estimate.
        let crash: Vec<f64> = outcome.iter().map(|y| f64::from(u8::from(*y > 0.4))).collect();
        let share = crash.iter().sum::<f64>() / crash.len() as f64;
        let variance = share * (1.0 - share);
        let mut scores = vec![vec![0.0; 2]; 12];
        let mut information = vec![vec![0.0; 2]; 2];
        for row in 0..crash.len() {
            let slope = [1.0, treated[row]];
            for i in 0..2 {
                scores[worlds[row] as usize][i] += slope[i] * (crash[row] - share);
                for j in 0..2 {
                    information[i][j] += variance * slope[i] * slope[j];
                }
            }
        }
        let found = score_wild_bootstrap(&scores, &information, 1, 1, 999).unwrap();
        score += u32::from(found.p <= 0.05);
    }
    for (name, rejections) in [("wild", wild), ("score", score)] {
        let rate = f64::from(rejections) / f64::from(repeats);
        assert!((0.03..=0.07).contains(&rate), "{name}: rejected {rate} of true null hypotheses");
    }
}

#[test]
fn demeaned_values_have_no_level_of_their_group() {
    let found = demean_within(&[1.0, 3.0, 10.0, 20.0, 5.0], &[7, 7, 2, 2, 9]).unwrap();
    assert_eq!(found, [-1.0, 1.0, -5.0, 5.0, 0.0]);
}

proptest! {
    /// Units of a covariate change its coefficient alone, not its test.
    #[test]
    fn regressions_do_not_depend_on_units(
        rows in prop::collection::vec((0u32..6, -3.0f64..3.0, -3.0f64..3.0, any::<bool>()), 12..40),
        scale in 1e-6f64..1e6, shift in -1e3f64..1e3,
    ) {
        let worlds: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let dose: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let outcome: Vec<f64> = rows.iter().map(|row| row.2 + row.1).collect();
        let crash: Vec<f64> = rows.iter().map(|row| f64::from(u8::from(row.3))).collect();
        let plain = covariates(&[("dose", dose.clone())]);
        let scaled = dose.iter().map(|value| value * scale + shift * scale).collect();
        let scaled = covariates(&[("dose", scaled)]);
        for (one, other) in [
            (
                ols(&outcome, &plain, &worlds, 0.9).map(|fit| fit.terms),
                ols(&outcome, &scaled, &worlds, 0.9).map(|fit| fit.terms),
            ),
            (
                logit(&crash, &plain, &worlds, 0.9).map(|fit| fit.terms),
                logit(&crash, &scaled, &worlds, 0.9).map(|fit| fit.terms),
            ),
        ] {
            prop_assert_eq!(one.is_ok(), other.is_ok());
            let (Ok(one), Ok(other)) = (one, other) else { continue };
            prop_assert!((one[1].t - other[1].t).abs() < 1e-5 * (1.0 + one[1].t.abs()));
            let estimate = one[1].estimate;
            let difference = (estimate - other[1].estimate * scale).abs();
            prop_assert!(difference < 1e-6 * (1.0 + estimate.abs()));
        }
    }
}

#[test]
fn few_events_are_named() {
    let crash: Vec<f64> = (0..40).map(|row| f64::from(u8::from(row % 9 == 0))).collect();
    let x = covariates(&[("dose", (0..40).map(|row| f64::from(row % 5)).collect())]);
    let worlds: Vec<u32> = (0..40).map(|row| row / 2).collect();
    let found = logit(&crash, &x, &worlds, 0.95).unwrap();
    let codes: Vec<&str> = found.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["few_events"]);
    assert_eq!(number(&serde_json::json!(found.events)), 5.0);
}

#[test]
fn a_covariate_of_one_world_is_named() {
    let outcome: Vec<f64> = (0..24u32).map(|row| f64::from(row * row % 7)).collect();
    let worlds: Vec<u32> = (0..24).map(|row| row / 4).collect();
    let dummy = worlds.iter().map(|world| f64::from(u8::from(*world == 2))).collect();
    let found = ols(&outcome, &covariates(&[("second", dummy)]), &worlds, 0.95).unwrap();
    let warning = &found.warnings[1];
    assert_eq!(warning.code, "one_world_decides");
    assert!(warning.text.contains("83% of the variation of second"), "{}", warning.text);
}
