//! Data that do not determine a result: an error that says why, never NaN or a panic.

use analysis::AnalysisError;
use analysis::inference::*;

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
