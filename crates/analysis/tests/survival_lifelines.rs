//! Survival methods against lifelines 0.30.3, on its data sets (see known_answers).

mod known_answers;

use analysis::survival::cox::{
    self, CoxFit, CoxOptions, ProportionalHazardsMethod, TimeTransform, proportional_hazards_test,
};
use analysis::survival::{
    Coefficient, HazardTies, RiskData, RobustErrors, SurvivalCurve, aalen_johansen, kaplan_meier,
    log_rank, nelson_aalen, restricted_mean,
};
use known_answers::{Answers, assert_close, by_row};

const ROSSI: [&str; 7] = ["fin", "age", "race", "wexp", "mar", "paro", "prio"];

fn answers(name: &str) -> (Answers, Answers) {
    let all = Answers::read("survival_lifelines.json");
    (all.at(&format!("{name}/data")), all.at(&format!("{name}/answers")))
}

fn options(robust: RobustErrors) -> CoxOptions {
    CoxOptions { robust, ..CoxOptions::default() }
}

fn values(fit: &CoxFit, value: impl Fn(&Coefficient) -> f64) -> Vec<f64> {
    fit.coefficients.iter().map(value).collect()
}

/// Compares with lifelines' coefficients, with the error from which its intervals come.
#[track_caller]
fn assert_cox(fit: &CoxFit, expected: &Answers, tolerance: f64) {
    let se = values(fit, |c| c.robust_se.unwrap_or(c.se));
    assert_close("coef", &values(fit, |c| c.coef), &expected.numbers("coef"), tolerance);
    assert_close("se", &se, &expected.numbers("se"), tolerance);
    assert_close("lower", &values(fit, |c| c.lower), &expected.numbers("lower"), tolerance);
    assert_close("upper", &values(fit, |c| c.upper), &expected.numbers("upper"), tolerance);
    assert_close("p", &values(fit, |c| c.p), &expected.numbers("p"), 10.0 * tolerance);
    let log_likelihood = expected.number("log_likelihood");
    assert_close("log-likelihood", &[fit.log_likelihood], &[log_likelihood], 1e-9);
}

#[track_caller]
fn assert_cox_fixed(fit: &CoxFit, expected: &Answers) {
    assert_cox(fit, expected, 1e-8);
    assert_close("covariance", &by_row(&fit.covariance), &expected.numbers("covariance"), 1e-8);
    let concordance = fit.concordance.unwrap().value;
    assert_close("concordance", &[concordance], &[expected.number("concordance")], 1e-12);
    assert_close("AIC", &[fit.aic], &[expected.number("aic")], 1e-9);
    let test = [fit.likelihood_ratio.chi2, fit.likelihood_ratio.p];
    assert_close("likelihood ratio", &test, &expected.numbers("likelihood_ratio"), 1e-7);
}

#[track_caller]
fn assert_curve(curve: &SurvivalCurve, expected: &Answers) {
    let as_f64 = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<_>>();
    assert_close("times", &curve.times, &expected.numbers("times"), 0.0);
    assert_close("at risk", &as_f64(&curve.at_risk), &expected.numbers("at_risk"), 0.0);
    assert_close("events", &as_f64(&curve.events), &expected.numbers("events"), 0.0);
    assert_close("survival", &curve.survival, &expected.numbers("survival"), 1e-12);
    // Where survival is 0, lifelines fills in limits of 1.
    let last = curve.survival.iter().filter(|survival| **survival > 0.0).count();
    let band = |name| expected.numbers(name)[..last].to_vec();
    assert_close("lower", &curve.lower[..last], &band("lower"), 1e-9);
    assert_close("upper", &curve.upper[..last], &band("upper"), 1e-9);
    let median = curve.median();
    let found = [median.time, median.lower, median.upper].map(|time| time.unwrap_or(f64::NAN));
    assert_close("median", &found, &expected.numbers("median"), 0.0);
}

#[test]
fn waltons_survival_and_hazard() {
    let (data, expected) = answers("waltons");
    let rows = data.durations("T", "E");
    let curve = kaplan_meier(&rows, 0.95).unwrap();
    assert_curve(&curve, &expected.at("kaplan_meier"));
    for (ties, name) in
        [(HazardTies::Simultaneous, "simultaneous"), (HazardTies::Successive, "successive")]
    {
        let hazard = nelson_aalen(&rows, ties, 0.95).unwrap();
        assert_close(name, &hazard.hazard, &expected.numbers(name), 1e-12);
    }
    let mean = restricted_mean(&curve, 50.0).unwrap();
    assert_close("mean", &[mean.value], &[expected.number("restricted_mean_50")], 1e-10);
    let test = log_rank(&rows, &data.labels("group")).unwrap();
    assert_close("log-rank", &[test.chi2, test.p], &expected.numbers("log_rank"), 1e-9);
    assert!((test.p / expected.numbers("log_rank")[1] - 1.0).abs() < 1e-9, "{}", test.p);
}

/// The numbers of the review of the experiment, as printed there.
#[test]
fn waltons_as_reviewed() {
    let (data, _) = answers("waltons");
    let rows = data.durations("T", "E");
    let curve = kaplan_meier(&rows, 0.95).unwrap();
    let (at_20, at_56) = (curve.at(20.0).unwrap(), curve.at(56.0).unwrap());
    let found = [at_20.survival, at_56.survival, at_56.lower, at_56.upper];
    assert_close("survival", &found, &[0.9136503067, 0.42990265, 0.3526890, 0.5046796], 1e-7);
    let median = curve.median();
    assert_eq!((median.time, median.lower, median.upper), (Some(56.0), Some(53.0), Some(58.0)));
    let hazard = nelson_aalen(&rows, HazardTies::Simultaneous, 0.95).unwrap();
    let at = hazard.times.iter().position(|time| *time == 56.0).unwrap();
    assert_close("hazard", &[hazard.hazard[at]], &[0.8051926409], 1e-9);
}

#[test]
fn rossi_models() {
    let (data, expected) = answers("rossi");
    let rows = data.durations("week", "arrest");
    let covariates = data.covariates(&ROSSI);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox_fixed(&fit, &expected.at("efron"));
    assert_eq!((fit.rows, fit.subjects, fit.events), (432, 432, 114));
    assert_eq!(fit.warnings, []);
    for (transform, name) in [
        (TimeTransform::OrdinalRank, "rank"),
        (TimeTransform::Identity, "identity"),
        (TimeTransform::Log, "log"),
    ] {
        let method = ProportionalHazardsMethod::Average;
        let test = proportional_hazards_test(&fit, transform, method).unwrap();
        let found: Vec<f64> = test.by_coefficient.iter().map(|(_, test)| test.chi2).collect();
        let expected = expected.numbers(&format!("proportional_hazards/{name}"));
        assert_close(name, &found, &expected, 1e-7);
    }

    let ages = data.numbers("age").into_iter().map(|age| match age {
        ..=20.0 => 0,
        ..=25.0 => 1,
        ..=30.0 => 2,
        _ => 3,
    });
    let test = log_rank(&rows, &ages.collect::<Vec<u32>>()).unwrap();
    assert_close("log-rank", &[test.chi2, test.p], &expected.numbers("log_rank_age"), 1e-9);
}

/// The numbers of the review of the experiment, as printed there. Its robust errors are in a test
/// of the module `cox`: lifelines' depend on the order of rows that are tied.
#[test]
fn rossi_as_reviewed() {
    let (data, _) = answers("rossi");
    let mut rows = data.durations("week", "arrest");
    let covariates = data.covariates(&ROSSI);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::Plain)).unwrap();
    let found = [fit.log_likelihood, fit.concordance.unwrap().value, fit.aic];
    assert_close("fit", &found, &[-658.7476594, 0.6403292, 1331.4953189], 1e-7);
    let coefs = [-0.379422, -0.057438, 0.313900, -0.149796, -0.433704, -0.084871, 0.091497];
    assert_close("coef", &values(&fit, |c| c.coef), &coefs, 1e-6);
    let errors = [0.191379, 0.021999, 0.307993, 0.212224, 0.381868, 0.195757, 0.028649];
    assert_close("se", &values(&fit, |c| c.se), &errors, 1e-6);

    rows.clusters = (0..432).map(|row| row / 8).collect();
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::Plain)).unwrap();
    // With the correction for 54 clusters, intervals are wider by it and by t instead of normal.
    let small = cox::fit(&rows, &covariates, &options(RobustErrors::SmallSample)).unwrap();
    let (plain, small) = (&fit.coefficients[0], &small.coefficients[0]);
    let ratio = small.robust_se.unwrap() / plain.robust_se.unwrap();
    assert_close("correction", &[ratio], &[(54.0f64 / 53.0).sqrt()], 1e-12);
    let width = (small.upper - small.lower) / small.robust_se.unwrap() / 2.0;
    assert_close("t of 53", &[width], &[2.0057459953178696], 1e-12);
    // The test of one coefficient is that of its t.
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::SmallSample)).unwrap();
    let test = fit.wald_test(&[0]).unwrap();
    assert_close("t squared", &[test.chi2, test.p], &[small.statistic.powi(2), small.p], 1e-12);
}

#[test]
fn rossi_stratified() {
    let (data, expected) = answers("rossi");
    let mut rows = data.durations("week", "arrest");
    rows.strata = data.whole("race");
    let covariates = data.covariates(&["fin", "age", "wexp", "mar", "paro", "prio"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox_fixed(&fit, &expected.at("stratified_by_race"));
}

#[test]
fn stanford_time_varying() {
    let (data, expected) = answers("stanford");
    let mut rows = data.intervals("start", "stop", "event");
    rows.subjects = data.whole("id");
    let covariates = data.covariates(&["age", "year", "surgery", "transplant"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox(&fit, &expected, 1e-6);
    assert_eq!((fit.rows, fit.subjects, fit.events), (172, 103, 75));
    assert_close("log-likelihood", &[fit.log_likelihood], &[-290.5656162], 1e-9);
    let coefs = [0.027167, -0.146346, -0.637210, -0.010251];
    assert_close("coef", &values(&fit, |c| c.coef), &coefs, 1e-6);
    let errors = [0.013714, 0.070468, 0.367226, 0.313755];
    assert_close("se", &values(&fit, |c| c.se), &errors, 1e-6);
}

#[test]
fn lung_residuals_and_robust_errors() {
    let (data, expected) = answers("lung");
    let mut rows = data.durations("time", "status");
    let covariates = data.covariates(&["age", "sex", "ph.ecog", "wt.loss"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox_fixed(&fit, &expected.at("fixed"));
    let martingale = fit.martingale_residuals();
    assert_close("martingale", &martingale, &expected.numbers("martingale"), 1e-9);
    // lifelines' are in the order of rows.
    let schoenfeld = fit.schoenfeld_residuals();
    let mut order: Vec<usize> = (0..schoenfeld.rows.len()).collect();
    order.sort_by_key(|event| schoenfeld.rows[*event]);
    let residuals = schoenfeld.residuals.select_rows(&order);
    assert_close("Schoenfeld", &by_row(&residuals), &expected.numbers("schoenfeld"), 1e-8);
    let robust = cox::fit(&rows, &covariates, &options(RobustErrors::Plain)).unwrap();
    assert_cox(&robust, &expected.at("robust"), 1e-8);
    rows.clusters = data.whole("cluster");
    let robust = cox::fit(&rows, &covariates, &options(RobustErrors::Plain)).unwrap();
    assert_cox(&robust, &expected.at("clusters"), 1e-8);

    rows.strata = data.whole("sex");
    let covariates = data.covariates(&["age", "ph.ecog", "wt.loss"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox_fixed(&fit, &expected.at("stratified_by_sex"));
}

#[test]
fn multicenter_late_entries() {
    let (data, expected) = answers("multicenter");
    let rows = data.intervals("W", "T", "D");
    let curve = kaplan_meier(&rows, 0.95).unwrap();
    assert_curve(&curve, &expected.at("kaplan_meier"));
    let hazard = nelson_aalen(&rows, HazardTies::Simultaneous, 0.95).unwrap();
    assert_close("hazard", &hazard.hazard, &expected.numbers("hazard"), 1e-12);
    let covariates = data.covariates(&["AIDSY"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox(&fit, &expected.at("cox_of_year"), 1e-8);
}

#[test]
fn regression_model() {
    let (data, expected) = answers("regression");
    let rows = data.durations("T", "E");
    let covariates = data.covariates(&["var1", "var2", "var3"]);
    let fit = cox::fit(&rows, &covariates, &options(RobustErrors::None)).unwrap();
    assert_cox_fixed(&fit, &expected);
}

#[test]
fn incidence_of_causes() {
    let (data, expected) = answers("incidence");
    for name in ["small", "many"] {
        let times = data.numbers(&format!("{name}/0"));
        let causes = data.whole(&format!("{name}/1"));
        let rows = RiskData::from_durations(&times, &causes).unwrap();
        let found = aalen_johansen(&rows, 0.95).unwrap();
        for cause in [1, 2] {
            let expected = expected.at(&format!("{name}_{cause}"));
            let found = found.cause(cause).unwrap();
            let numbers = |name| expected.numbers(name);
            assert_close("incidence", &found.incidence, &numbers("incidence"), 1e-12);
            // At the last event, with none left, lifelines has a variance of NaN.
            let last = numbers("variance").iter().filter(|value| value.is_finite()).count();
            let variance = &numbers("variance")[..last];
            assert_close("variance", &found.variance[..last], variance, 1e-12);
            // Before the first event, lifelines has limits of NaN.
            let first = found.incidence.iter().filter(|value| **value == 0.0).count();
            let inner = first..last;
            let (lower, upper) =
                (&numbers("lower")[inner.clone()], &numbers("upper")[inner.clone()]);
            assert_close("lower", &found.lower[inner.clone()], lower, 1e-9);
            assert_close("upper", &found.upper[inner], upper, 1e-9);
        }
        if name == "small" {
            let one = found.cause(1).unwrap();
            let at = |values: &[f64]| [values[0], values[3], values[6]];
            assert_close("as reviewed", &at(&one.incidence), &[0.125, 0.275, 0.5], 1e-12);
            let variance = [0.013671875, 0.027921875, 0.044375];
            assert_close("as reviewed", &at(&one.variance), &variance, 1e-12);
        }
    }
}
