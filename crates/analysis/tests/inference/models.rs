//! Variance components, lognormal times, dose-response curves, clusters of trajectories.

use crate::known::{
    bools, close, close_p, close_to, labels, list, models, number, numbers, object, r,
};
use crate::regression::covariates;
use analysis::inference::{
    BootstrapOptions, CensoredTimes, DoseResponseOptions, ResponseKind, censored_lognormal,
    cluster_bootstrap, dose_response, icc_binary, icc_continuous, k_medoids, scaling_law, taxonomy,
};
use base::SplitMix64;
use proptest::prelude::*;

const BOOTSTRAP: BootstrapOptions = BootstrapOptions { replicates: 199, seed: 4, level: 0.95 };

#[test]
fn variance_components_agree_with_statsmodels() {
    let known = &models()["icc_continuous"];
    let found =
        icc_continuous(&numbers(&known["values"]), &labels(&known["world"]), &BOOTSTRAP).unwrap();
    close(found.f.unwrap(), &known["f"], 1e-10, "F");
    close_p(found.p.unwrap(), &known["p"], "p");
    close(found.between_sd, &known["between_sd"], 1e-10, "SD of worlds");
    close(found.within_sd, &known["within_sd"], 1e-10, "SD of runs");
    close(found.icc, &known["icc"], 1e-10, "ICC");
    let interval = found.icc_interval.unwrap();
    assert!(interval.low < found.icc && found.icc < interval.high);
}

#[test]
fn the_latent_icc_agrees_with_numeric_integration() {
    let known = &models()["icc_binary"];
    let found = icc_binary(&bools(&known["crash"]), &labels(&known["world"]), &BOOTSTRAP).unwrap();
    close(found.log_likelihood, &known["log_likelihood"], 1e-10, "log-likelihood");
    close(found.intercept, &known["intercept"], 1e-6, "intercept");
    close(found.world_sd, &known["sd"], 1e-6, "SD of worlds");
    close_p(found.p / number(&known["p"]), &serde_json::json!(1.0), "ratio of p");
    let interval = found.world_sd_interval.unwrap();
    assert!(interval.low < found.world_sd && found.world_sd < interval.high);
}

#[test]
fn worlds_that_spread_no_more_than_chance_have_no_variance() {
    // Each world has two of four runs with the outcome: less spread than chance.
    let outcome: Vec<bool> = (0..40).map(|row| row % 2 == 0).collect();
    let worlds: Vec<u32> = (0..40).map(|row| row / 4).collect();
    let found = icc_binary(&outcome, &worlds, &BOOTSTRAP).unwrap();
    assert_eq!((found.world_sd, found.icc, found.p), (0.0, 0.0, 1.0));
    let values: Vec<f64> = outcome.iter().map(|value| f64::from(u8::from(*value))).collect();
    let found = icc_continuous(&values, &worlds, &BOOTSTRAP).unwrap();
    assert_eq!((found.between_sd, found.icc), (0.0, 0.0));
}

#[test]
fn repeats_without_difference_have_an_icc_of_1() {
    let values: Vec<f64> = (0..30).map(|row| f64::from(row / 3)).collect();
    let worlds: Vec<u32> = (0..30).map(|row| row / 3).collect();
    let found = icc_continuous(&values, &worlds, &BOOTSTRAP).unwrap();
    assert_eq!((found.icc, found.f, found.p), (1.0, None, None));
    assert!(found.warnings.iter().any(|warning| warning.code == "no_within_variation"));
}

#[test]
fn lognormal_times_agree_with_lifelines() {
    let known = &models()["lognormal"];
    let (times, observed) = (numbers(&known["time"]), bools(&known["observed"]));
    let parameters = numbers(&known["parameters"]);
    let data = CensoredTimes { times: &times, observed: &observed };
    let x = parameters.iter().map(|size| size.ln() - 20.0).collect();
    let found = censored_lognormal(data, &covariates(&[("x", x)])).unwrap();
    close(found.estimates[0], &known["intercept"], 1e-7, "intercept");
    close(found.estimates[1], &known["slope"], 1e-7, "slope");
    close(found.sigma, &known["sigma"], 1e-7, "sigma");
    close(found.log_likelihood, &known["log_likelihood"], 1e-10, "log-likelihood");
    let se = numbers(&known["se"]);
    assert!((found.se[0] / se[0] - 1.0).abs() < 1e-3 && (found.se[1] / se[1] - 1.0).abs() < 1e-3);

    let scaling = scaling_law(data, &parameters, &labels(&known["world"]), &BOOTSTRAP).unwrap();
    close(scaling.exponent.estimate, &known["slope"], 1e-7, "exponent");
    let tenfold = 10f64.powf(number(&known["slope"]));
    close_to(scaling.tenfold_ratio.estimate, tenfold, 1e-6, "ratio");
    assert_eq!(scaling.medians.len(), 4);
    let (size, median) = &scaling.medians[2];
    let expected = number(&known["intercept"]) + number(&known["slope"]) * (size.ln() - 20.0);
    close_to(median.estimate.ln(), expected, 1e-7, "median");
    let interval = scaling.exponent.percentile;
    assert!(interval.low < scaling.exponent.estimate && scaling.exponent.estimate < interval.high);
}

#[test]
fn lognormal_times_agree_with_survreg() {
    let known = r();
    let (times, observed) = (numbers(&known["time"]), bools(&known["observed"]));
    let data = CensoredTimes { times: &times, observed: &observed };
    let x = covariates(&[("age", numbers(&known["age"])), ("rx", numbers(&known["rx"]))]);
    let found = censored_lognormal(data, &x).unwrap();
    for at in 0..3 {
        close_to(found.estimates[at], numbers(&known["estimates"])[at], 1e-8, "estimate");
        close_to(found.se[at], numbers(&known["se"])[at], 1e-8, "error");
    }
    close(found.sigma, &known["sigma"][0], 1e-8, "sigma");
    close(found.log_likelihood, &known["log_likelihood"][0], 1e-10, "log-likelihood");
}

#[test]
fn without_censoring_the_lognormal_fit_is_least_squares() {
    let mut random = SplitMix64(8);
    let x: Vec<f64> = (0..50).map(|_| random.next_f64()).collect();
    let times: Vec<f64> = x.iter().map(|x| (3.0 * x + random.next_f64()).exp()).collect();
    let observed = [true; 50];
    let data = CensoredTimes { times: &times, observed: &observed };
    let columns = covariates(&[("x", x)]);
    let found = censored_lognormal(data, &columns).unwrap();
    let logs: Vec<f64> = times.iter().map(|time| time.ln()).collect();
    let line = analysis::inference::ols(&logs, &columns, &[], 0.95).unwrap();
    close_to(found.estimates[1], line.terms[1].estimate, 1e-9, "slope");
    close_to(found.sigma, line.residual_sd * (48.0f64 / 50.0).sqrt(), 1e-9, "sigma");
}

#[test]
fn dose_response_curves_agree_with_statsmodels() {
    let known = &models()["dose_response"];
    let (dose, worlds) = (numbers(&known["dose"]), labels(&known["world"]));
    for (kind, key, outcome) in [
        (ResponseKind::Probability, "probability", &known["crash"]),
        (ResponseKind::Mean, "mean", &known["number"]),
    ] {
        let options = DoseResponseOptions { kind, knots: 4, points: 7, bootstrap: BOOTSTRAP };
        let found = dose_response(&dose, &numbers(outcome), &worlds, &options).unwrap();
        let expected = &known[key];
        assert_eq!(found.knots, numbers(&known["knots"]));
        for (at, point) in found.curve.iter().enumerate() {
            close_to(point.dose, 2.0 * at as f64, 1e-12, "dose");
            close_to(point.response, numbers(&expected["response"])[at], 1e-7, "response");
            close_to(point.interval.low, numbers(&expected["low"])[at], 1e-7, "low");
            close_to(point.interval.high, numbers(&expected["high"])[at], 1e-7, "high");
        }
        close(
            found.p_flat.unwrap() * 1e12,
            &serde_json::json!(number(&expected["p_flat"]) * 1e12),
            1e-4,
            "flat",
        );
        close(found.p_straight.unwrap(), &expected["p_straight"], 1e-7, "straight");
        let (steepest, halfway) = (found.steepest.unwrap(), found.halfway.unwrap());
        // The steepest dose is one of a grid of 400 steps.
        assert!((steepest.dose - number(&expected["steepest"])).abs() <= 12.0 / 400.0);
        assert!((halfway.dose - number(&expected["halfway"])).abs() < 2e-4);
        for tip in [steepest, halfway] {
            let interval = tip.interval.unwrap();
            assert!(interval.low <= tip.dose && tip.dose <= interval.high && !tip.at_edge);
            // The data were made to tip at 6.
            assert!(interval.low < 6.2 && interval.high > 5.8, "{key}: {interval:?}");
        }
    }
}

#[test]
fn a_flat_curve_does_not_tip() {
    let mut random = SplitMix64(3);
    let dose: Vec<f64> = (0..200).map(|row| f64::from(row % 5)).collect();
    let crash: Vec<f64> =
        dose.iter().map(|_| f64::from(u8::from(random.next_f64() < 0.5))).collect();
    let worlds: Vec<u32> = (0..200).map(|row| row / 10).collect();
    let kind = ResponseKind::Probability;
    let options = DoseResponseOptions { kind, knots: 4, points: 5, bootstrap: BOOTSTRAP };
    let found = dose_response(&dose, &crash, &worlds, &options).unwrap();
    assert!(found.p_flat.unwrap() > 0.05);
    assert!(found.warnings.iter().any(|warning| warning.code == "no_tipping_point"));
}

#[test]
fn most_controls_at_one_dose_leave_distinct_knots() {
    // 60% of rows at dose 0, as with an oversampled control.
    let dose: Vec<f64> = (0..300).map(|row| [0.0, 0.0, 0.0, 0.3, 1.0][row % 5]).collect();
    let crash: Vec<f64> = (0..300u32)
        .map(|row| f64::from(u8::from((row * 7 + row / 5) % 11 < 4 + row % 5 / 2)))
        .collect();
    let worlds: Vec<u32> = (0..300).map(|row| row / 15).collect();
    let kind = ResponseKind::Probability;
    let options = DoseResponseOptions { kind, knots: 5, points: 3, bootstrap: BOOTSTRAP };
    let found = dose_response(&dose, &crash, &worlds, &options).unwrap();
    assert_eq!(found.knots, [0.0, 0.3, 1.0]);
}

#[test]
fn clusters_agree_with_plain_pam_and_scikit_learn() {
    let known = &models()["clusters"];
    for (rows, by_k) in [("rows", "by_k"), ("noise", "noise_by_k")] {
        let rows: Vec<Vec<f64>> = list(&known[rows]).iter().map(numbers).collect();
        let mut best = (0, f64::NEG_INFINITY);
        for (k, expected) in object(&known[by_k]) {
            let k: usize = k.parse().unwrap();
            let found = taxonomy(&rows, k..=k).unwrap();
            let mut medoids = found.clustering.medoids.clone();
            medoids.sort_unstable();
            let expected_medoids: Vec<usize> =
                numbers(&expected["medoids"]).iter().map(|row| *row as usize).collect();
            assert_eq!(medoids, expected_medoids, "k = {k}");
            close(found.clustering.cost, &expected["cost"], 1e-10, "cost");
            close(found.clustering.mean_silhouette, &expected["silhouette"], 1e-10, "silhouette");
            if found.clustering.mean_silhouette > best.1 {
                best = (k, found.clustering.mean_silhouette);
            }
        }
        let chosen = taxonomy(&rows, 2..=6).unwrap();
        assert_eq!((chosen.k, chosen.clustering.mean_silhouette), best);
        assert_eq!(chosen.tried.len(), 5);
    }
}

#[test]
fn clusters_are_in_falling_order_of_size_with_their_own_medoids() {
    let known = &models()["clusters"];
    let rows: Vec<Vec<f64>> = list(&known["rows"]).iter().map(numbers).collect();
    let found = taxonomy(&rows, 2..=6).unwrap().clustering;
    assert!(found.sizes.windows(2).all(|pair| pair[0] >= pair[1]));
    assert_eq!(found.sizes.iter().sum::<usize>(), rows.len());
    for (cluster, medoid) in found.medoids.iter().enumerate() {
        assert_eq!(found.labels[*medoid], cluster);
    }
}

proptest! {
    /// No single swap of a medoid lowers the cost.
    #[test]
    fn medoids_are_a_local_optimum(
        points in prop::collection::vec((-10i32..10, -10i32..10), 4..24), k in 2usize..4,
    ) {
        let n = points.len();
        let distance = |a: &(i32, i32), b: &(i32, i32)| {
            f64::from((a.0 - b.0).abs() + (a.1 - b.1).abs())
        };
        let distances: Vec<f64> =
            points.iter().flat_map(|a| points.iter().map(move |b| distance(a, b))).collect();
        let found = k_medoids(&distances, n, k).unwrap();
        let cost = |medoids: &[usize]| -> f64 {
            let nearest = |row: usize| {
                medoids.iter().map(|m| distances[row * n + m]).fold(f64::INFINITY, f64::min)
            };
            (0..n).map(nearest).sum()
        };
        prop_assert!((cost(&found.medoids) - found.cost).abs() < 1e-9);
        for at in 0..k {
            for row in 0..n {
                let mut swapped = found.medoids.clone();
                swapped[at] = row;
                prop_assert!(cost(&swapped) >= found.cost - 1e-9);
            }
        }
    }
}

#[test]
fn the_bootstrap_of_a_mean_has_the_error_of_cluster_means() {
    // 40 worlds of three equal runs: the mean's error is that of 40 values.
    let mut random = SplitMix64(12);
    let levels: Vec<f64> = (0..40).map(|_| random.next_f64()).collect();
    let values: Vec<f64> = levels.iter().flat_map(|level| [*level; 3]).collect();
    let worlds: Vec<u32> = (0..120).map(|row| row / 3).collect();
    let options = BootstrapOptions { replicates: 2000, seed: 5, level: 0.9 };
    let found = cluster_bootstrap(&worlds, &options, |sample| {
        // Labels say which rows were drawn together.
        assert_eq!(sample.rows.len(), sample.clusters.len());
        assert_eq!(sample.clusters.last(), Some(&39));
        Some(sample.rows.iter().map(|row| values[*row]).sum::<f64>() / sample.rows.len() as f64)
    })
    .unwrap();
    let mean = levels.iter().sum::<f64>() / 40.0;
    let sd = (levels.iter().map(|level| (level - mean).powi(2)).sum::<f64>() / 40.0).sqrt();
    close_to(found.estimate, mean, 1e-12, "mean");
    assert!((found.se / (sd / 40f64.sqrt()) - 1.0).abs() < 0.05, "{}", found.se);
    let half = 1.645 * found.se;
    assert!((found.percentile.high - found.estimate - half).abs() < 0.1 * half);
    close_to(found.basic.low, 2.0 * mean - found.percentile.high, 1e-12, "basic");
    assert!(found.failed == 0 && found.warnings.is_empty());
    let again = cluster_bootstrap(&worlds, &options, |sample| {
        Some(sample.rows.iter().map(|row| values[*row]).sum::<f64>() / sample.rows.len() as f64)
    });
    assert_eq!(again.unwrap(), found);
}

#[test]
fn resamples_without_statistic_are_counted() {
    let worlds: Vec<u32> = (0..30).collect();
    let has_first = |rows: &[usize]| rows.contains(&0);
    let found = cluster_bootstrap(&worlds, &BOOTSTRAP, |sample| {
        has_first(sample.rows).then(|| sample.rows.iter().sum::<usize>() as f64)
    })
    .unwrap();
    // A row is missing from a third of the resamples.
    assert!(found.failed > 40 && found.failed + found.replicates == 199);
    assert!(found.warnings.iter().any(|warning| warning.code == "failed_resamples"));
}
