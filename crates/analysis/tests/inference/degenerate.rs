//! Data that do not determine a result: an error that says why, never NaN or a panic.

use crate::regression::covariates;
use analysis::AnalysisError;
use analysis::inference::*;
use analysis::survival::Covariates;
use proptest::prelude::*;

/// Asserts that a result is not estimable, and that its text has a word.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, AnalysisError>, word: &str) {
    match result {
        Err(AnalysisError::NotEstimable(text)) => {
            assert!(text.contains(word), "expected {word:?} in {text:?}");
        }
        other => panic!("expected NotEstimable, found {other:?}"),
    }
}

#[track_caller]
fn is_usage_error<T: std::fmt::Debug>(result: Result<T, AnalysisError>) {
    assert!(matches!(result, Err(AnalysisError::Usage(_))), "expected Usage, found {result:?}");
}

#[test]
fn paired_tests_refuse_ties_and_too_few_pairs() {
    refused(sign_test(&[]), "no pairs");
    refused(sign_test(&[0.0, 0.0]), "tied");
    refused(wilcoxon_signed_rank(&[0.0; 3], Zeros::Drop), "tied");
    refused(wilcoxon_signed_rank(&[0.0; 3], Zeros::Pratt), "tied");
    refused(hodges_lehmann(&[], 0.95), "no pairs");
    refused(mean_difference(&[1.0], 0.95), "two");
    refused(mean_difference(&[0.1; 7], 0.95), "spread");
    assert!(hodges_lehmann(&[2.0], 0.95).unwrap().interval.is_none());
    is_usage_error(hodges_lehmann(&[2.0], 95.0));
    assert!(matches!(sign_test(&[1.0, f64::NAN]), Err(AnalysisError::BadValue { row: 2, .. })));
}

#[test]
fn permutations_refuse_blocks_of_one_dose() {
    let options = PermutationOptions {
        alternative: Alternative::TwoSided,
        exact_max: 100,
        draws: 10,
        seed: 1,
    };
    let sum = |doses: &[f64]| doses.iter().sum();
    refused(permutation_test(&[], &[], &options, sum), "dose");
    refused(permutation_test(&[1.0, 1.0, 2.0, 2.0], &[1, 1, 2, 2], &options, sum), "dose");
    refused(permutation_test(&[0.0, 1.0], &[], &options, |_| f64::NAN), "determine");
    is_usage_error(permutation_test(&[0.0, 1.0], &[1], &options, sum));
    // A constant statistic: every arrangement is as extreme.
    assert_eq!(permutation_test(&[0.0, 1.0], &[], &options, |_| 0.0).unwrap().p, 1.0);
}

#[test]
fn tables_and_proportions_refuse_nothing_to_compare() {
    let options = ContingencyOptions { tables_max: 100, draws: 10, seed: 1 };
    refused(contingency_test(&[], &options), "0 rows");
    refused(contingency_test(&[vec![0, 0], vec![0, 0]], &options), "0 rows");
    refused(contingency_test(&[vec![3, 4], vec![0, 0]], &options), "1 rows");
    is_usage_error(contingency_test(&[vec![3, 4], vec![1]], &options));
    let two = contingency_test(&[vec![1, 0], vec![0, 1]], &options).unwrap();
    assert_eq!((two.p, two.cramers_v, two.cramers_v_corrected), (1.0, 1.0, 0.0));
    refused(wilson(0, 0, 0.95), "no trials");
    is_usage_error(wilson(2, 1, 0.95));
    refused(clustered_difference(&[true, false], &[true, true], &[1, 2], 0.95), "control");
    let (outcome, treated) = ([true, true, false, false], [true, true, false, false]);
    refused(clustered_difference(&outcome, &treated, &[1, 2, 1, 2], 0.95), "spread");
    refused(clustered_difference(&[true, false], &[true, false], &[1, 1], 0.95), "spread");
    assert!(matches!(holm(&[0.1, 1.1]), Err(AnalysisError::BadValue { row: 2, .. })));
    assert_eq!(holm(&[]).unwrap(), Vec::<f64>::new());
}

#[test]
fn calibration_refuses_no_forecasts_and_no_probabilities() {
    let bins = ForecastBins::EqualWidth(10);
    refused(forecast_calibration(&[], &[], bins, 0.95), "no forecasts");
    is_usage_error(forecast_calibration(&[0.5], &[true], ForecastBins::EqualWidth(0), 0.95));
    assert!(matches!(
        forecast_calibration(&[1.5], &[true], bins, 0.95),
        Err(AnalysisError::BadValue { .. })
    ));
}

const BOOTSTRAP: BootstrapOptions = BootstrapOptions { replicates: 99, seed: 4, level: 0.95 };

/// 0, 1, ..., n - 1.
fn count(n: u32) -> Vec<f64> {
    (0..n).map(f64::from).collect()
}

fn one(values: &[f64]) -> Covariates {
    covariates(&[("dose", values.to_vec())])
}

#[test]
fn regressions_refuse_what_does_not_vary() {
    let (dose, worlds) = (count(8), [1, 1, 2, 2, 3, 3, 4, 4]);
    let outcome = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    refused(ols(&[], &Covariates::default(), &[], 0.95), "worlds");
    refused(ols(&outcome, &one(&dose), &[1; 8], 0.95), "1 worlds");
    refused(ols(&outcome, &one(&[2.0; 8]), &worlds, 0.95), "dose does not vary");
    refused(ols(&[3.0; 8], &one(&dose), &worlds, 0.95), "outcome does not vary");
    refused(ols(&dose, &one(&dose), &worlds, 0.95), "exactly");
    let twice = covariates(&[
        ("dose", dose.clone()),
        ("twice", count(8).iter().map(|v| 2.0 * v + 1.0).collect()),
    ]);
    refused(ols(&outcome, &twice, &worlds, 0.95), "twice is a combination");
    refused(ols(&outcome[..2], &one(&dose[..2]), &[1, 2], 0.95), "2 rows");
    is_usage_error(ols(&outcome, &one(&dose[..7]), &worlds, 0.95));
    is_usage_error(ols(&outcome, &one(&dose), &worlds[..7], 0.95));
    is_usage_error(ols(&outcome, &one(&dose), &worlds, 1.0));
    assert!(matches!(
        ols(&[f64::NAN; 8], &one(&dose), &worlds, 0.95),
        Err(AnalysisError::BadValue { row: 1, .. })
    ));
    refused(logit(&[1.0; 8], &one(&dose), &worlds, 0.95), "all rows have");
    assert!(matches!(
        logit(&dose, &one(&dose), &worlds, 0.95),
        Err(AnalysisError::BadValue { row: 3, .. })
    ));
}

#[test]
fn separation_is_named_with_its_covariates() {
    let worlds = [1, 2, 3, 4, 1, 2, 3, 4];
    let crash = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    refused(logit(&crash, &one(&count(8)), &worlds, 0.95), "separation: dose");
    // Quasi-complete: all rows with the flag crash, other rows both do and do not.
    let crash = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let noise = vec![3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
    let flag = vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0];
    let x = covariates(&[("noise", noise), ("flag", flag)]);
    refused(logit(&crash, &x, &worlds, 0.95), "separation: flag predicts");
}

proptest! {
    /// With one covariate, outcomes are separated where those of one kind lie beside the others.
    #[test]
    fn separation_is_found_where_it_is(
        rows in prop::collection::vec((0i32..7, any::<bool>()), 4..14),
    ) {
        let dose: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let crash: Vec<f64> = rows.iter().map(|row| f64::from(u8::from(row.1))).collect();
        let range = |which: bool| {
            let doses = rows.iter().filter(|row| row.1 == which).map(|row| row.0);
            (doses.clone().min(), doses.max())
        };
        let ((Some(low0), Some(high0)), (Some(low1), Some(high1))) = (range(false), range(true))
        else { return Ok(()) };
        prop_assume!(dose.iter().any(|value| *value != dose[0]));
        let separated = high0 <= low1 || high1 <= low0;
        match logit(&crash, &one(&dose), &[], 0.95) {
            Ok(fit) => prop_assert!(!separated, "{fit:?}"),
            Err(AnalysisError::NotEstimable(text)) => {
                prop_assert!(separated == text.contains("separation"), "{text}");
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

proptest! {
    // Each case runs a dozen methods, with their bootstraps.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the data are, results are finite or refused.
    #[test]
    fn small_data_give_finite_results_or_refusals(
        rows in prop::collection::vec((0u32..4, 0i32..4, -2i32..3, any::<bool>()), 0..16),
    ) {
        let worlds: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let dose: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
        let outcome: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
        let crash: Vec<bool> = rows.iter().map(|row| row.3).collect();
        let number = |crash: &bool| f64::from(u8::from(*crash));
        let crash_number: Vec<f64> = crash.iter().map(number).collect();
        let times: Vec<f64> = outcome.iter().map(|value| value + 3.0).collect();
        let sizes: Vec<f64> = dose.iter().map(|dose| dose + 1.0).collect();
        let options = BootstrapOptions { replicates: 19, ..BOOTSTRAP };
        let wild = WildOptions {
            weights: WildWeights::Rademacher,
            replicates: 99,
            exact_max: 64,
            seed: 1,
            level: Some(0.9),
        };
        let curve = |kind| DoseResponseOptions { kind, knots: 3, points: 4, bootstrap: options };
        let (mean, share) = (curve(ResponseKind::Mean), curve(ResponseKind::Probability));
        let treated: Vec<bool> = dose.iter().map(|dose| *dose > 1.0).collect();
        let features: Vec<Vec<f64>> =
            dose.iter().zip(&outcome).map(|(dose, outcome)| vec![*dose, *outcome]).collect();
        let data = CensoredTimes { times: &times, observed: &crash };
        finite("ols", ols(&outcome, &one(&dose), &worlds, 0.9))?;
        finite("logit", logit(&crash_number, &one(&dose), &worlds, 0.9))?;
        finite("wild", wild_cluster_bootstrap(&outcome, &one(&dose), &worlds, 0, &wild))?;
        finite("icc", icc_continuous(&outcome, &worlds, &options))?;
        finite("latent icc", icc_binary(&crash, &worlds, &options))?;
        finite("scaling", scaling_law(data, &sizes, &worlds, &options))?;
        finite("mean", dose_response(&dose, &outcome, &worlds, &mean))?;
        finite("share", dose_response(&dose, &crash_number, &worlds, &share))?;
        finite("difference", clustered_difference(&crash, &treated, &worlds, 0.9))?;
        finite("taxonomy", taxonomy(&features, 2..=6))?;
        finite("t", mean_difference(&outcome, 0.9))?;
        finite("two stages", two_stage_least_squares(
            &outcome, ("dose", &dose), &covariates(&[("z", times.clone())]), &Covariates::default(),
            &worlds, 0.9,
        ))?;
    }
}

/// Checks that a result is refused as such, or that it serializes without null for a number that is
/// not finite (serde_json writes NaN as null): fields that may be absent are null on purpose.
fn finite<T: serde::Serialize>(
    what: &str,
    result: Result<T, AnalysisError>,
) -> Result<(), TestCaseError> {
    match result {
        Ok(value) => {
            let value = serde_json::to_value(&value).expect("a result is JSON");
            let optional = [
                "icc_interval",
                "between_sd_interval",
                "world_sd_interval",
                "f",
                "p",
                "low",
                "high",
                "interval",
                "p_flat",
                "p_straight",
                "steepest",
                "halfway",
            ];
            check_nulls(what, "", &value, &optional)
        }
        Err(AnalysisError::NotEstimable(_) | AnalysisError::Usage(_)) => Ok(()),
        Err(other) => Err(TestCaseError::fail(format!("{what}: {other}"))),
    }
}

fn check_nulls(
    what: &str,
    key: &str,
    value: &serde_json::Value,
    optional: &[&str],
) -> Result<(), TestCaseError> {
    match value {
        serde_json::Value::Null if !optional.contains(&key) => {
            Err(TestCaseError::fail(format!("{what}: {key} is not finite")))
        }
        serde_json::Value::Array(items) => {
            items.iter().try_for_each(|item| check_nulls(what, key, item, optional))
        }
        serde_json::Value::Object(fields) => {
            fields.iter().try_for_each(|(key, item)| check_nulls(what, key, item, optional))
        }
        _ => Ok(()),
    }
}

#[test]
fn wild_and_score_bootstraps_refuse_what_they_cannot_test() {
    let options = WildOptions {
        weights: WildWeights::Webb,
        replicates: 99,
        exact_max: 64,
        seed: 1,
        level: None,
    };
    let (dose, worlds) = (count(8), [1, 1, 2, 2, 3, 3, 4, 4]);
    let outcome = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    is_usage_error(wild_cluster_bootstrap(&outcome, &one(&dose), &worlds, 1, &options));
    refused(wild_cluster_bootstrap(&outcome, &one(&dose), &[1; 8], 0, &options), "1 worlds");

    let information = [vec![2.0, 1.0], vec![1.0, 2.0]];
    let scores = [vec![1.0, 1.0], vec![-1.0, 0.5]];
    assert!(score_wild_bootstrap(&scores, &information, 1, 1, 99).is_ok());
    refused(score_wild_bootstrap(&scores[..1], &information, 0, 1, 99), "1 worlds");
    // The scores of coefficient 1 do not sum to 0, so they are not of its restricted fit.
    is_usage_error(score_wild_bootstrap(&scores, &information, 0, 1, 99));
    is_usage_error(score_wild_bootstrap(&scores, &information, 2, 1, 99));
    is_usage_error(score_wild_bootstrap(&[vec![1.0], vec![1.0]], &information, 1, 1, 99));
    let singular = [vec![1.0, 1.0], vec![1.0, 1.0]];
    refused(score_wild_bootstrap(&scores, &singular, 1, 1, 99), "positive definite");
    let zeros = [vec![0.0, 0.0], vec![0.0, 0.0]];
    refused(score_wild_bootstrap(&zeros, &information, 1, 1, 99), "no information");
}

#[test]
fn instruments_refuse_no_relation() {
    let worlds: Vec<u32> = (0..16).map(|row| row / 2).collect();
    let sign = |row: u32, bit: u32| if row >> bit & 1 == 1 { 1.0 } else { -1.0 };
    let column = |bit: u32| (0..16).map(|row| sign(row, bit)).collect::<Vec<f64>>();
    let outcome: Vec<f64> = (0..16).map(|row| f64::from(row * row % 7)).collect();
    let none = Covariates::default();
    // Columns of a factorial design are orthogonal.
    let unrelated = covariates(&[("p_shock", column(2))]);
    let dose = column(1);
    refused(
        two_stage_least_squares(&outcome, ("dose", &dose), &unrelated, &none, &worlds, 0.95),
        "no relation",
    );
    is_usage_error(two_stage_least_squares(&outcome, ("dose", &dose), &none, &none, &worlds, 0.95));
}

#[test]
fn variance_components_refuse_one_run_a_world() {
    refused(icc_continuous(&[1.0, 2.0, 3.0], &[1, 2, 3], &BOOTSTRAP), "one run each");
    refused(icc_continuous(&[1.0, 2.0], &[1, 1], &BOOTSTRAP), "1 worlds");
    refused(icc_continuous(&[2.0; 4], &[1, 1, 2, 2], &BOOTSTRAP), "all values are equal");
    refused(icc_binary(&[true; 4], &[1, 1, 2, 2], &BOOTSTRAP), "all runs have");
    refused(icc_binary(&[true, true, false, false], &[1, 1, 2, 2], &BOOTSTRAP), "no upper bound");
}

#[test]
fn scaling_refuses_one_size_and_times_that_do_not_determine_a_line() {
    let times = [3.0, 4.0, 6.0, 5.0, 9.0, 8.0];
    let worlds = [1, 2, 3, 1, 2, 3];
    let sizes = [1e8, 1e8, 1e8, 1e9, 1e9, 1e9];
    let scaling = |times: &[f64], observed: &[bool], sizes: &[f64]| {
        scaling_law(CensoredTimes { times, observed }, sizes, &worlds, &BOOTSTRAP)
    };
    let found = scaling(&times, &[true; 6], &sizes).unwrap();
    assert!(found.warnings.iter().any(|warning| warning.code == "two_sizes"));
    refused(scaling(&times, &[true; 6], &[1e8; 6]), "1 sizes");
    refused(scaling(&times, &[false; 6], &sizes), "0 events");
    // No event of the larger models: their times have no upper bound.
    let observed = [true, true, true, false, false, false];
    refused(scaling(&times, &observed, &sizes), "no maximum");
    refused(scaling(&[1.0; 6], &[true; 6], &sizes), "no spread");
    let exact: Vec<f64> = sizes.iter().map(|size| size.sqrt()).collect();
    refused(scaling(&exact, &[true; 6], &sizes), "line");
    assert!(matches!(
        scaling(&[0.0; 6], &[true; 6], &sizes),
        Err(AnalysisError::BadValue { row: 1, .. })
    ));
}

#[test]
fn dose_response_refuses_two_doses_and_separation() {
    let kind = ResponseKind::Probability;
    let options = DoseResponseOptions { kind, knots: 3, points: 5, bootstrap: BOOTSTRAP };
    let worlds: Vec<u32> = (0..12).map(|row| row / 3).collect();
    let dose: Vec<f64> = (0..12).map(|row| f64::from(row % 3)).collect();
    let crash: Vec<f64> = dose.iter().map(|dose| f64::from(u8::from(*dose > 0.5))).collect();
    refused(dose_response(&dose, &crash, &worlds, &options), "separation");
    let two: Vec<f64> = (0..12).map(|row| f64::from(row % 2)).collect();
    refused(dose_response(&two, &crash, &worlds, &options), "2 distinct doses");
    refused(dose_response(&[], &[], &[], &options), "0 distinct doses");
    let options = DoseResponseOptions { knots: 9, ..options };
    is_usage_error(dose_response(&dose, &crash, &worlds, &options));
}

#[test]
fn clusters_refuse_too_few_rows_and_constant_features() {
    refused(taxonomy(&[], 2..=6), "varies");
    refused(taxonomy(&[vec![1.0], vec![2.0]], 2..=6), "2 distinct");
    refused(taxonomy(&vec![vec![1.0, 2.0]; 9], 2..=6), "varies");
    is_usage_error(taxonomy(&[vec![1.0], vec![2.0, 3.0]], 2..=6));
    is_usage_error(taxonomy(&[vec![1.0], vec![2.0], vec![4.0]], 7..=9));
    is_usage_error(k_medoids(&[0.0, 1.0, 1.0, 0.0], 2, 2));
    is_usage_error(k_medoids(&[0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 1.0, 0.0], 3, 2));
    let rows = [vec![1.0, 5.0], vec![2.0, 5.0], vec![9.0, 5.0], vec![9.5, 5.0]];
    assert_eq!(taxonomy(&rows, 2..=6).unwrap().constant_features, [1]);
}

#[test]
fn bootstraps_refuse_one_cluster_and_no_statistic() {
    let one = |_: Resample<'_>| Some(1.0);
    refused(cluster_bootstrap(&[3, 3], &BOOTSTRAP, one), "1 worlds");
    refused(cluster_bootstrap(&[], &BOOTSTRAP, one), "0 worlds");
    refused(cluster_bootstrap(&[1, 2], &BOOTSTRAP, |_| None), "determine");
    refused(cluster_bootstrap(&[1, 2], &BOOTSTRAP, |_| Some(f64::NAN)), "determine");
    let mut calls = 0;
    let only_the_data = |_: Resample<'_>| {
        calls += 1;
        (calls == 1).then_some(1.0)
    };
    refused(cluster_bootstrap(&[1, 2], &BOOTSTRAP, only_the_data), "99 of 99");
}
