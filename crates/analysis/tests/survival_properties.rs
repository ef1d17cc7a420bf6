//! Properties of survival methods: what must not change a result, and plain definitions against
//! which the fast algorithms are checked.

mod known_answers;

use analysis::survival::cox::{
    self, CoxFit, CoxOptions, ProportionalHazardsMethod, Ties, TimeTransform,
    proportional_hazards_test,
};
use analysis::survival::{
    Covariates, DiscreteOptions, HazardTies, RiskData, RobustErrors, aalen_johansen, concordance,
    discrete_hazard, kaplan_meier, log_rank, nelson_aalen,
};
use known_answers::{assert_close, by_row};
use proptest::prelude::*;
use proptest::sample::Index;

/// Subjects with late entries, whole times with many ties, two causes, two strata and six clusters.
#[derive(Debug, Clone)]
struct Study {
    rows: RiskData,
    covariates: Covariates,
    groups: Vec<u32>,
}

fn study() -> impl Strategy<Value = Study> {
    let subject = (0u32..6, 1u32..25, 0u32..3, -2.0..2.0f64, 0u32..3, 0u32..2);
    proptest::collection::vec(subject, 50..90).prop_map(|subjects| {
        let mut study = Study {
            rows: RiskData::default(),
            covariates: Covariates::default(),
            groups: Vec::new(),
        };
        study.covariates.names = vec!["x".to_owned(), "level".to_owned()];
        for (id, (start, length, cause, x, level, stratum)) in subjects.into_iter().enumerate() {
            let rows = &mut study.rows;
            rows.start.push(f64::from(start));
            rows.stop.push(f64::from(start + length));
            rows.cause.push(cause);
            rows.strata.push(stratum);
            rows.subjects.push(id as u32);
            rows.clusters.push(id as u32 % 6);
            study.covariates.values.extend([x, f64::from(level)]);
            study.groups.push(level);
        }
        study
    })
}

fn options() -> CoxOptions {
    CoxOptions { robust: RobustErrors::Plain, cause: Some(1), ..CoxOptions::default() }
}

/// The fit, if the data of the case allow one.
fn fitted(study: &Study, options: &CoxOptions) -> Result<CoxFit, TestCaseError> {
    match cox::fit(&study.rows, &study.covariates, options) {
        Ok(fit) if fit.warnings.iter().all(|warning| warning.code != "separation") => Ok(fit),
        _ => Err(TestCaseError::reject("separated")),
    }
}

/// Rows of a study in another order, or parts of them.
fn picked(study: &Study, order: &[usize]) -> Study {
    let rows = &study.rows;
    let pick = |values: &[f64]| order.iter().map(|row| values[*row]).collect();
    let whole = |values: &[u32]| order.iter().map(|row| values[*row]).collect();
    Study {
        rows: RiskData {
            start: pick(&rows.start),
            stop: pick(&rows.stop),
            cause: whole(&rows.cause),
            strata: whole(&rows.strata),
            clusters: whole(&rows.clusters),
            subjects: whole(&rows.subjects),
        },
        covariates: Covariates {
            names: study.covariates.names.clone(),
            values: order
                .iter()
                .flat_map(|row| study.covariates.values[row * 2..][..2].to_vec())
                .collect(),
        },
        groups: whole(&study.groups),
    }
}

/// Each row in two, cut at a whole time within it if there is one.
fn split(study: &Study, cuts: &[Index]) -> Study {
    let mut order = Vec::new();
    let mut times = Vec::new();
    for row in 0..study.rows.rows() {
        let (start, stop) = (study.rows.start[row], study.rows.stop[row]);
        let length = (stop - start) as usize;
        if length < 2 {
            order.push(row);
            times.push((start, stop, study.rows.cause[row]));
            continue;
        }
        let cut = start + 1.0 + cuts[row % cuts.len()].index(length - 1) as f64;
        order.extend([row, row]);
        times.extend([(cut, stop, study.rows.cause[row]), (start, cut, 0)]);
    }
    let mut study = picked(study, &order);
    study.rows.start = times.iter().map(|row| row.0).collect();
    study.rows.stop = times.iter().map(|row| row.1).collect();
    study.rows.cause = times.iter().map(|row| row.2).collect();
    study
}

/// Asserts that estimates, errors and tests are the same.
fn assert_same(found: &CoxFit, expected: &CoxFit, tolerance: f64) {
    let coefs = |fit: &CoxFit| fit.coefficients.iter().map(|c| c.coef).collect::<Vec<f64>>();
    let tests = |fit: &CoxFit| {
        let robust = fit.robust_wald.map_or(0.0, |test| test.chi2);
        [fit.log_likelihood, fit.score.chi2, fit.wald.chi2, robust]
    };
    assert_close("coef", &coefs(found), &coefs(expected), tolerance);
    let covariance = by_row(&expected.covariance);
    assert_close("covariance", &by_row(&found.covariance), &covariance, tolerance);
    let robust = |fit: &CoxFit| by_row(fit.robust_covariance.as_ref().unwrap());
    assert_close("robust covariance", &robust(found), &robust(expected), tolerance);
    assert_close("tests", &tests(found), &tests(expected), 100.0 * tolerance);
    assert_eq!(found.concordance, expected.concordance);
}

fn proportional_hazards(fit: &CoxFit) -> Vec<f64> {
    let mut found = Vec::new();
    for transform in [TimeTransform::Rank, TimeTransform::Km, TimeTransform::Identity] {
        for method in [ProportionalHazardsMethod::Average, ProportionalHazardsMethod::Score] {
            let test = proportional_hazards_test(fit, transform, method).unwrap();
            found.extend(test.by_coefficient.iter().map(|(_, test)| test.chi2));
            found.push(test.global.chi2);
        }
    }
    found
}

/// Results of the methods without covariates.
fn estimates(study: &Study) -> Vec<f64> {
    let curve = kaplan_meier(&study.rows, 0.95).unwrap();
    let hazard = nelson_aalen(&study.rows, HazardTies::Simultaneous, 0.95).unwrap();
    let incidence = aalen_johansen(&study.rows, 0.95).unwrap();
    let mut found = [curve.survival, curve.upper, hazard.hazard, hazard.se].concat();
    found.extend(curve.events.iter().chain(&curve.at_risk).map(|count| *count as f64));
    for cause in incidence.causes {
        found.extend(cause.incidence.iter().chain(&cause.variance));
    }
    if let Ok(test) = log_rank(&study.rows, &study.groups) {
        found.extend([test.chi2, test.df as f64]);
    }
    found
}

/// Efron's log-likelihood of stratified data by its definition.
fn log_likelihood(study: &Study, coefs: &[f64], ties: Ties) -> f64 {
    let rows = &study.rows;
    let score = |row: usize| -> f64 {
        study.covariates.values[row * 2..][..2].iter().zip(coefs).map(|(x, coef)| x * coef).sum()
    };
    let dies = |row: usize| rows.cause[row] == 1;
    let mut sum = 0.0;
    for row in (0..rows.rows()).filter(|row| dies(*row)) {
        let same = |other: &usize| {
            rows.strata[*other] == rows.strata[row]
                && rows.start[*other] < rows.stop[row]
                && rows.stop[row] <= rows.stop[*other]
        };
        let at_risk: Vec<usize> = (0..rows.rows()).filter(same).collect();
        let tied: Vec<usize> = at_risk
            .iter()
            .copied()
            .filter(|r| dies(*r) && rows.stop[*r] == rows.stop[row])
            .collect();
        let before = tied.iter().position(|tied| *tied == row).unwrap() as f64;
        let gone = if ties == Ties::Efron { before / tied.len() as f64 } else { 0.0 };
        let hazard = |rows: &[usize]| rows.iter().map(|row| score(*row).exp()).sum::<f64>();
        sum += score(row) - (hazard(&at_risk) - gone * hazard(&tied)).ln();
    }
    sum
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn splitting_rows_changes_nothing(
        study in study(), cuts in proptest::collection::vec(any::<Index>(), 7),
    ) {
        let halves = split(&study, &cuts);
        assert_close("estimates", &estimates(&halves), &estimates(&study), 1e-12);
        let (fit, expected) = (fitted(&halves, &options())?, fitted(&study, &options())?);
        assert_same(&fit, &expected, 1e-10);
        let (found, expected) = (proportional_hazards(&fit), proportional_hazards(&expected));
        assert_close("proportional hazards", &found, &expected, 1e-8);
        let edges = [0.0, 10.0, 40.0];
        let options = DiscreteOptions::default();
        if let Ok(expected) = discrete_hazard(&study.rows, &study.covariates, &edges, &options) {
            let Study { rows, covariates, .. } = &halves;
            let found = discrete_hazard(rows, covariates, &edges, &options).unwrap();
            let covariance = by_row(&expected.covariance);
            assert_close("discrete", &by_row(&found.covariance), &covariance, 1e-9);
            assert_close("discrete", &[found.log_likelihood], &[expected.log_likelihood], 1e-10);
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(study in study(), shift in 1usize..40) {
        let rows = study.rows.rows();
        let order: Vec<usize> = (0..rows).rev().map(|row| (row + shift) % rows).collect();
        let other = picked(&study, &order);
        assert_close("estimates", &estimates(&other), &estimates(&study), 1e-12);
        let (fit, expected) = (fitted(&other, &options())?, fitted(&study, &options())?);
        assert_same(&fit, &expected, 1e-11);
        let (found, expected) = (proportional_hazards(&fit), proportional_hazards(&expected));
        assert_close("proportional hazards", &found, &expected, 1e-9);
    }

    #[test]
    fn units_of_covariates_are_units_of_coefficients(
        study in study(), scale in 1e-3..1e3f64, shift in -100.0..100.0f64,
    ) {
        let mut other = study.clone();
        other.covariates.values.iter_mut().step_by(2).for_each(|x| *x = *x * scale + shift);
        let (fit, expected) = (fitted(&other, &options())?, fitted(&study, &options())?);
        let (found, expected_coef) = (&fit.coefficients[0], &expected.coefficients[0]);
        let numbers = [found.coef * scale, found.se * scale, found.robust_se.unwrap() * scale];
        let expected_numbers =
            [expected_coef.coef, expected_coef.se, expected_coef.robust_se.unwrap()];
        assert_close("x", &numbers, &expected_numbers, 1e-8);
        let (found, expected_coef) = (&fit.coefficients[1], &expected.coefficients[1]);
        assert_close("level", &[found.coef, found.p], &[expected_coef.coef, expected_coef.p], 1e-9);
        let at = |fit: &CoxFit, x: f64| fit.survival(1, &[x, 1.0]).unwrap().survival;
        if study.rows.strata.iter().zip(&study.rows.cause).any(|row| row == (&1, &1)) {
            let found = at(&fit, 0.5 * scale + shift);
            assert_close("survival", &found, &at(&expected, 0.5), 1e-8);
        }
    }

    #[test]
    fn only_the_order_of_times_matters(study in study()) {
        let mut other = study.clone();
        let times = &mut other.rows;
        times.start.iter_mut().chain(&mut times.stop).for_each(|time| *time = (*time / 5.0).exp());
        let bits = |study: &Study| -> Vec<u64> {
            estimates(study).into_iter().map(f64::to_bits).collect()
        };
        prop_assert_eq!(bits(&other), bits(&study));
        assert_same(&fitted(&other, &options())?, &fitted(&study, &options())?, 0.0);
    }

    #[test]
    fn the_fit_maximizes_the_likelihood_as_defined(study in study(), efron in any::<bool>()) {
        let ties = if efron { Ties::Efron } else { Ties::Breslow };
        let fit = fitted(&study, &CoxOptions { ties, ..options() })?;
        let coefs: Vec<f64> = fit.coefficients.iter().map(|c| c.coef).collect();
        let found = [fit.log_likelihood, fit.null_log_likelihood];
        let at = |coefs: &[f64]| log_likelihood(&study, coefs, ties);
        assert_close("log-likelihood", &found, &[at(&coefs), at(&[0.0, 0.0])], 1e-11);
        for column in 0..2 {
            for step in [-1e-3, 1e-3] {
                let mut near = coefs.clone();
                near[column] += step;
                prop_assert!(at(&near) < fit.log_likelihood);
            }
        }
        let scores = fit.score_residuals().row_sum();
        assert_close("scores", scores.as_slice(), &[0.0, 0.0], 1e-9);
        let residuals: f64 = fit.martingale_residuals().iter().sum();
        assert_close("martingale residuals", &[residuals], &[0.0], 1e-9);
    }

    #[test]
    fn concordance_counts_the_pairs_of_its_definition(study in study()) {
        let rows = &study.rows;
        let scores: Vec<f64> = study.groups.iter().map(|group| f64::from(*group)).collect();
        let mut counts = [0u64; 3];
        for event in (0..rows.rows()).filter(|row| rows.cause[*row] != 0) {
            let time = rows.stop[event];
            for other in (0..rows.rows()).filter(|row| rows.strata[*row] == rows.strata[event]) {
                let later = rows.stop[other] > time
                    || (rows.stop[other] == time && rows.cause[other] == 0);
                if rows.start[other] < time && later {
                    let order = scores[other].total_cmp(&scores[event]);
                    counts[(order as i8 + 1) as usize] += 1;
                }
            }
        }
        let found = concordance(rows, &scores).unwrap();
        prop_assert_eq!([found.concordant, found.tied, found.discordant], counts);
    }

    /// With two groups, the log-rank test is the score test of a Cox model where no times are tied.
    #[test]
    fn the_log_rank_test_is_a_score_test(study in study()) {
        let mut study = study;
        let groups: Vec<u32> = study.groups.iter().map(|group| u32::from(*group > 0)).collect();
        study.rows.stop.iter_mut().enumerate().for_each(|(row, stop)| *stop += row as f64 * 1e-3);
        let values = groups.iter().map(|group| f64::from(*group)).collect();
        let covariates = Covariates::from_columns(vec![("group".to_owned(), values)]).unwrap();
        let options = CoxOptions { cause: None, ..options() };
        if let Ok(fit) = cox::fit(&study.rows, &covariates, &options) {
            let test = log_rank(&study.rows, &groups).unwrap();
            assert_close("score test", &[test.chi2], &[fit.score.chi2], 1e-9);
        }
    }
}
