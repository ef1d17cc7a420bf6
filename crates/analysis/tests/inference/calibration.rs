//! Calibration of forecasts.

use crate::known::{bools, close, close_to, numbers, tests};
use analysis::inference::{ForecastBins, forecast_calibration};
use proptest::prelude::*;

#[test]
fn calibration_agrees_with_scikit_learn() {
    let known = &tests()["calibration"];
    let (forecasts, outcomes) = (numbers(&known["forecasts"]), bools(&known["outcomes"]));
    let found = forecast_calibration(&forecasts, &outcomes, ForecastBins::Distinct, 0.95).unwrap();
    close(found.brier, &known["brier"], 1e-12, "Brier score");
    close(found.auc.unwrap(), &known["auc"], 1e-12, "AUC");
    close(found.reliability, &known["reliability"], 1e-12, "reliability");
    close(found.resolution, &known["resolution"], 1e-12, "resolution");
    close(found.uncertainty, &known["uncertainty"], 1e-12, "uncertainty");
    close(found.expected_calibration_error, &known["ece"], 1e-12, "ECE");
    close_to(found.within_bins, 0.0, 1e-12, "term within bins");
    let fifths =
        forecast_calibration(&forecasts, &outcomes, ForecastBins::EqualWidth(5), 0.95).unwrap();
    close(fifths.expected_calibration_error, &known["ece_width"], 1e-12, "ECE of fifths");
    assert_eq!(fifths.bins.len(), 5);
}

#[test]
fn bins_cover_their_forecasts() {
    let forecasts = [0.0, 0.2, 0.2, 0.2, 0.2, 0.39, 0.4, 0.99, 1.0, 1.0];
    let outcomes = [false, false, true, false, false, true, true, true, true, false];
    let counts = |bins: ForecastBins| -> Vec<usize> {
        let found = forecast_calibration(&forecasts, &outcomes, bins, 0.95).unwrap();
        for bin in &found.bins {
            assert!(bin.low <= bin.mean_forecast && bin.mean_forecast <= bin.high);
        }
        found.bins.iter().map(|bin| bin.forecasts).collect()
    };
    assert_eq!(counts(ForecastBins::EqualWidth(5)), [1, 5, 1, 3]);
    assert_eq!(counts(ForecastBins::Distinct), [1, 4, 1, 1, 1, 2]);
    // The four equal forecasts stay together.
    assert_eq!(counts(ForecastBins::EqualCount(2)), [5, 5]);
    assert_eq!(counts(ForecastBins::EqualCount(1)), [10]);
}

#[test]
fn one_outcome_has_a_brier_score_but_no_auc() {
    let found = forecast_calibration(&[0.9, 0.7], &[true; 2], ForecastBins::EqualWidth(10), 0.95);
    let found = found.unwrap();
    assert_eq!((found.auc, found.skill), (None, None));
    close_to(found.brier, 0.05, 1e-12, "Brier score");
    assert_eq!(found.warnings[0].code, "one_outcome");
}

proptest! {
    #[test]
    fn the_decomposition_adds_up_in_any_bins(
        rows in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 1..60), number in 1usize..12,
    ) {
        let (forecasts, outcomes): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
        let rules = [
            ForecastBins::EqualWidth(number),
            ForecastBins::EqualCount(number),
            ForecastBins::Distinct,
        ];
        for rule in rules {
            let found = forecast_calibration(&forecasts, &outcomes, rule, 0.9).unwrap();
            let sum = found.reliability - found.resolution + found.uncertainty + found.within_bins;
            prop_assert!((sum - found.brier).abs() < 1e-12);
            let counted: usize = found.bins.iter().map(|bin| bin.forecasts).sum();
            prop_assert_eq!(counted, forecasts.len());
            if rule == ForecastBins::Distinct {
                prop_assert!(found.within_bins.abs() < 1e-12);
            }
            // AUC is a share of pairs.
            let pair = |i: usize, j: usize| match (outcomes[i], outcomes[j]) {
                (true, false) if forecasts[i] > forecasts[j] => 1.0,
                (true, false) if forecasts[i] == forecasts[j] => 0.5,
                _ => 0.0,
            };
            let n = forecasts.len();
            let wins: f64 = (0..n).flat_map(|i| (0..n).map(move |j| pair(i, j))).sum();
            let pairs = found.events * (n - found.events);
            let expected = (pairs > 0).then(|| wins / pairs as f64);
            let agrees = match (found.auc, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
                (found, expected) => found == expected,
            };
            prop_assert!(agrees);
        }
    }
}
