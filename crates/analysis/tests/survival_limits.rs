//! What survival methods do where data do not determine a result.

use analysis::AnalysisError;
use analysis::survival::cox::{self, CoxFit, CoxOptions};
use analysis::survival::{
    Covariates, DiscreteOptions, RiskData, RobustErrors, aalen_johansen, discrete_hazard,
    kaplan_meier, log_rank, restricted_mean, restricted_mean_difference,
};

fn durations(times: &[f64], causes: &[u32]) -> RiskData {
    RiskData::from_durations(times, causes).unwrap()
}

/// Events at 1, 2, ..., of subjects with these columns.
fn model(columns: &[(&str, &[f64])], robust: RobustErrors) -> Result<CoxFit, AnalysisError> {
    let rows = columns[0].1.len();
    let times: Vec<f64> = (1..=rows).map(|time| time as f64).collect();
    let columns = columns.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec()));
    let covariates = Covariates::from_columns(columns.collect()).unwrap();
    let options = CoxOptions { robust, ..CoxOptions::default() };
    cox::fit(&durations(&times, &vec![1; rows]), &covariates, &options)
}

fn not_estimable<T: std::fmt::Debug>(result: Result<T, AnalysisError>) -> String {
    match result {
        Err(AnalysisError::NotEstimable(text)) => text,
        other => panic!("expected NotEstimable, found {other:?}"),
    }
}

const X: [f64; 20] = [
    1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 3.0, 3.0, 9.0, 1.0, 6.0, 2.0, 8.0, 4.0, 7.0, 5.0, 1.0, 6.0, 9.0,
    2.0,
];

#[test]
fn separation_is_warned_about() {
    // The first ten of twenty events have x = 1.
    let x: Vec<f64> = (0..20).map(|row| f64::from(u8::from(row < 10))).collect();
    let fit = model(&[("x", &x)], RobustErrors::None).unwrap();
    assert_eq!(fit.warnings.len(), 1, "{:?}", fit.warnings);
    assert_eq!(fit.warnings[0].code, "separation");
    assert!(fit.warnings[0].text.contains("\"x\""));
    assert!(fit.coefficients[0].coef > 10.0 && fit.coefficients[0].se > 100.0);
    // Beside it, another covariate is not blamed.
    let fit = model(&[("other", &X), ("x", &x)], RobustErrors::None).unwrap();
    let separated = fit.warnings.iter().filter(|warning| warning.code == "separation");
    let texts: Vec<&str> = separated.map(|warning| warning.text.as_str()).collect();
    assert!(texts.len() == 1 && texts[0].contains("\"x\""), "{texts:?}");
}

#[test]
fn covariates_without_information_are_named() {
    let found = not_estimable(model(&[("x", &[3.0; 20])], RobustErrors::None));
    assert_eq!(found, r#"covariate "x" has the same value, 3, in all rows"#);
    let twice: Vec<f64> = X.iter().map(|x| 2.0 * x - 1e6).collect();
    let found = not_estimable(model(&[("x", &X), ("y", &twice)], RobustErrors::None));
    let expected = "is a linear combination of x in all risk sets; leave one out";
    assert_eq!(found, format!(r#"covariate "y" {expected}"#));

    // Constant within strata.
    let mut rows = durations(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 1, 1]);
    rows.strata = vec![0, 1, 0, 1];
    let covariates =
        Covariates::from_columns(vec![("x".to_owned(), vec![0.1, 0.7, 0.1, 0.7])]).unwrap();
    let found = not_estimable(cox::fit(&rows, &covariates, &CoxOptions::default()));
    assert_eq!(found, r#"covariate "x" is the same for all rows at risk at each event"#);
}

#[test]
fn few_events_and_clusters_are_warned_about() {
    let fit = model(&[("x", &X[..8])], RobustErrors::SmallSample).unwrap();
    let codes: Vec<&str> = fit.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["few_events", "few_clusters"]);

    let mut rows = durations(&X, &[1; 20]);
    rows.clusters = vec![3; 20];
    let covariates =
        Covariates::from_columns(vec![("x".to_owned(), (0..20).map(f64::from).collect())]).unwrap();
    let found = not_estimable(cox::fit(&rows, &covariates, &CoxOptions::default()));
    assert_eq!(found, "robust errors need two or more clusters, found 1");
    rows.cause = vec![0; 20];
    let found = not_estimable(cox::fit(&rows, &covariates, &CoxOptions::default()));
    assert_eq!(found, "Cox model: there is no event");
}

/// A huge hazard early leaves no trace in the sums over later risk sets.
#[test]
fn hazards_of_any_size_are_summed() {
    let mut x: Vec<f64> = X.to_vec();
    x.extend([1e3; 5]);
    let mut rows = durations(&[2.0; 25], &[1; 25]);
    for row in 0..20 {
        rows.start[row] = 1.0;
        rows.stop[row] = 2.0 + row as f64;
    }
    rows.stop[20..].copy_from_slice(&[0.1, 0.2, 0.3, 0.4, 0.5]);
    let fit = |rows: &RiskData, x: Vec<f64>| {
        let covariates = Covariates::from_columns(vec![("x".to_owned(), x)]).unwrap();
        cox::fit(rows, &covariates, &CoxOptions::default()).unwrap()
    };
    // The first five are in no risk set with others, and among them nothing differs.
    let all = fit(&rows, x.clone());
    let late = fit(&rows.select(|row| row < 20), X.to_vec());
    let (found, expected) = (&all.coefficients[0], &late.coefficients[0]);
    assert!((found.coef - expected.coef).abs() < 1e-9, "{} {}", found.coef, expected.coef);
    assert!((found.se - expected.se).abs() < 1e-9, "{} {}", found.se, expected.se);
}

#[test]
fn curves_end_where_the_observation_ends() {
    let curve = kaplan_meier(&durations(&[1.0, 2.0, 3.0, 4.0], &[1, 0, 1, 0]), 0.95).unwrap();
    assert_eq!(curve.at(0.5).unwrap().survival, 1.0);
    assert_eq!(curve.at(3.0).unwrap().survival, 0.375);
    assert_eq!(curve.at(4.0).unwrap().survival, 0.375);
    assert_eq!(curve.at(4.1), None);
    let median = curve.median();
    assert_eq!((median.time, median.upper), (Some(3.0), None));
    assert_eq!(curve.quantile(0.9).time, None);
    let found = not_estimable(restricted_mean(&curve, 5.0));
    assert_eq!(found, "mean time up to 5: the observation ends at 4; use a horizon up to there");

    // All have died: survival is 0 for ever, and has no band.
    let curve = kaplan_meier(&durations(&[1.0, 2.0], &[1, 1]), 0.95).unwrap();
    let end = curve.at(9.0).unwrap();
    assert!(end.survival == 0.0 && end.se.is_nan() && end.lower.is_nan() && end.upper.is_nan());
    let mean = restricted_mean(&curve, 9.0).unwrap();
    assert_eq!(mean.value, 1.5);
    // The variance of a mean of 1 and 2 with divisor n, divided by n.
    assert!((mean.se - (0.25f64 / 2.0).sqrt()).abs() < 1e-12);

    let without = kaplan_meier(&durations(&[9.0, 9.0], &[0, 0]), 0.95).unwrap();
    let difference = restricted_mean_difference(&without, &curve, 9.0).unwrap();
    assert_eq!((difference.value, difference.se), (7.5, mean.se));
    assert!(restricted_mean_difference(&without, &without, 9.0).unwrap().p.is_nan());
}

#[test]
fn quantiles_allow_for_rounding() {
    // 7/8 * 6/7 * 5/6 * 4/5 is 1/2, but not in floating point in every order.
    let times: Vec<f64> = (1..=8).map(f64::from).collect();
    let curve = kaplan_meier(&durations(&times, &[1; 8]), 0.95).unwrap();
    assert_eq!(curve.median().time, Some(4.0));
}

#[test]
fn early_events_among_few_are_warned_about() {
    let mut rows = durations(&[2.0; 31], &[1; 31]);
    for row in 1..31 {
        rows.start[row] = 1.0;
        rows.stop[row] = 5.0 + row as f64;
    }
    rows.stop[0] = 0.5;
    let curve = kaplan_meier(&rows, 0.95).unwrap();
    assert_eq!(curve.survival[0], 0.0);
    assert_eq!(curve.warnings[0].code, "small_risk_set");
    assert!(curve.warnings[0].text.starts_with("at the event at 0.5 only 1 are at risk"));
    let all = RiskData { start: vec![0.0; 31], ..rows };
    assert_eq!(kaplan_meier(&all, 0.95).unwrap().warnings, []);
}

#[test]
fn tests_and_incidence_need_events() {
    let rows = durations(&[1.0, 2.0, 3.0, 4.0], &[0, 0, 0, 0]);
    let found = not_estimable(log_rank(&rows, &[0, 0, 1, 1]));
    assert_eq!(found, "log-rank test: at no event are two groups at risk");
    let found = not_estimable(log_rank(&rows, &[1, 1, 1, 1]));
    assert_eq!(found, "log-rank test: expected two or more groups, found 1");
    let found = not_estimable(aalen_johansen(&rows, 0.95));
    assert_eq!(found, "incidence: there is no event of any cause");
    assert!(kaplan_meier(&rows, 1.0).is_err());
    let found = aalen_johansen(&durations(&[1.0, 2.0, 3.0], &[1, 2, 0]), 0.95).unwrap();
    assert!(found.at(1, 0.5) == Some((0.0, 0.0, 0.0)) && found.at(1, 3.5).is_none());
    assert!(found.at(3, 1.0).is_none());
    assert_eq!(not_estimable(found.cause(3)), "no event is of cause 3");
}

#[test]
fn bins_need_events() {
    let rows = durations(&[1.0, 2.0, 3.0, 14.0], &[1, 1, 1, 0]);
    let covariates =
        Covariates::from_columns(vec![("x".to_owned(), vec![1.0, 3.0, 2.0, 1.5])]).unwrap();
    let fit =
        |edges: &[f64]| discrete_hazard(&rows, &covariates, edges, &DiscreteOptions::default());
    let found = not_estimable(fit(&[0.0, 10.0, 20.0]));
    assert_eq!(found, "bin (10, 20] has no event; join it with another");
    let found = fit(&[0.0, 10.0]).unwrap_err().to_string();
    assert_eq!(found, "bins: row 4 is at risk from 0 to 14; expected within 0 to 10");
    assert_eq!(fit(&[0.0, 20.0]).unwrap().bins[0].name, "(0, 20]");
}
