//! Survival methods against R's survival 3.5-3, on generated data (see known_answers).

mod known_answers;

use analysis::numeric::spline::RestrictedCubicSpline;
use analysis::survival::cox::{
    self, CoxFit, CoxOptions, PredictedSurvival, ProportionalHazardsMethod, SplineExposure, Ties,
    TimeTransform, proportional_hazards_test, spline_effect,
};
use analysis::survival::{
    Coefficient, Covariates, DiscreteFit, DiscreteOptions, EventTime, HazardTies, RiskData,
    RobustErrors, aalen_johansen, discrete_hazard, kaplan_meier, log_rank, nelson_aalen,
    restricted_mean,
};
use known_answers::{Answers, assert_close, by_row};

fn recurrent() -> (RiskData, Covariates, Answers) {
    let all = Answers::read("survival_r.json");
    let data = all.at("recurrent");
    let mut rows = data.intervals("start", "stop", "event");
    rows.subjects = data.whole("id");
    rows.strata = data.whole("stratum");
    rows.clusters = data.whole("world");
    (rows, data.covariates(&["dose", "exposure"]), all.at("andersen_gill"))
}

fn competing() -> (RiskData, Answers, Answers) {
    let all = Answers::read("survival_r.json");
    let data = all.at("competing");
    (data.intervals("start", "stop", "cause"), data, all.at("competing_risks"))
}

fn options(ties: Ties, robust: RobustErrors) -> CoxOptions {
    CoxOptions { ties, robust, recurrent: true, ..CoxOptions::default() }
}

fn errors(coefficients: &[Coefficient]) -> Vec<f64> {
    coefficients.iter().map(|coefficient| coefficient.robust_se.unwrap()).collect()
}

#[track_caller]
fn assert_fit(fit: &CoxFit, expected: &Answers) {
    let coefs: Vec<f64> = fit.coefficients.iter().map(|c| c.coef).collect();
    assert_close("coef", &coefs, &expected.numbers("coef"), 1e-9);
    assert_close("covariance", &by_row(&fit.covariance), &expected.numbers("covariance"), 1e-9);
    let used = by_row(fit.used_covariance());
    assert_close("used covariance", &used, &expected.numbers("used"), 1e-9);
    let found = [fit.null_log_likelihood, fit.log_likelihood];
    assert_close("log-likelihood", &found, &expected.numbers("log_likelihood"), 1e-12);
    let found = [fit.wald.chi2, fit.score.chi2];
    let tests = [expected.number("wald"), expected.number("score")];
    assert_close("tests", &found, &tests, 1e-8);
    if let Some(test) = fit.robust_wald {
        assert_close("robust test", &[test.chi2], &[expected.number("robust_wald")], 1e-8);
    }
    let pairs = fit.concordance.unwrap();
    let counts = [pairs.concordant, pairs.discordant, pairs.tied].map(|count| count as f64);
    let found = [counts.as_slice(), &[pairs.value]].concat();
    assert_close("concordance", &found, &expected.numbers("concordance"), 1e-12);
}

#[test]
fn andersen_gill_models() {
    let (data, covariates, expected) = recurrent();
    let fit = |data: &RiskData, ties, robust| {
        cox::fit(data, &covariates, &options(ties, robust)).unwrap()
    };
    let plain = RiskData { strata: Vec::new(), clusters: Vec::new(), ..data.clone() };
    assert_fit(&fit(&plain, Ties::Efron, RobustErrors::Plain), &expected.at("efron"));
    assert_fit(&fit(&plain, Ties::Breslow, RobustErrors::Plain), &expected.at("breslow"));
    let worlds = RiskData { strata: Vec::new(), ..data.clone() };
    let by_world = fit(&worlds, Ties::Efron, RobustErrors::Plain);
    assert_fit(&by_world, &expected.at("worlds"));
    assert_eq!((by_world.subjects, by_world.clusters), (60, 12));
    let codes: Vec<&str> = by_world.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["few_clusters"]);
    assert_fit(&fit(&data, Ties::Efron, RobustErrors::None), &expected.at("strata"));
}

#[test]
fn residuals() {
    let (data, covariates, expected) = recurrent();
    let plain = RiskData { strata: Vec::new(), ..data.clone() };
    for (ties, name) in [(Ties::Efron, "residuals"), (Ties::Breslow, "residuals_breslow")] {
        let expected = expected.at(name);
        let fit = cox::fit(&plain, &covariates, &options(ties, RobustErrors::None)).unwrap();
        let found = fit.martingale_residuals();
        assert_close("martingale", &found, &expected.numbers("martingale"), 1e-10);
        let found = by_row(&fit.score_residuals());
        assert_close("score", &found, &expected.numbers("score"), 1e-9);
        let found = fit.schoenfeld_residuals();
        assert!(found.times.is_sorted());
        let residuals = by_row(&found.residuals);
        assert_close("Schoenfeld", &residuals, &expected.numbers("schoenfeld"), 1e-9);
        assert_close("scaled", &by_row(&found.scaled), &expected.numbers("scaled"), 1e-8);
    }
    let expected = expected.at("residuals_strata");
    let fit = cox::fit(&data, &covariates, &options(Ties::Efron, RobustErrors::None)).unwrap();
    let found = fit.martingale_residuals();
    assert_close("martingale", &found, &expected.numbers("martingale"), 1e-10);
    let found = by_row(&fit.score_residuals());
    assert_close("score", &found, &expected.numbers("score"), 1e-9);
}

#[test]
fn tests_of_proportional_hazards() {
    let (data, covariates, expected) = recurrent();
    let plain = RiskData { strata: Vec::new(), ..data.clone() };
    for (data, ties, name) in [
        (&plain, Ties::Efron, "zph"),
        (&plain, Ties::Breslow, "zph_breslow"),
        (&data, Ties::Efron, "zph_strata"),
    ] {
        let fit = cox::fit(data, &covariates, &options(ties, RobustErrors::None)).unwrap();
        for (transform, method, test) in [
            (TimeTransform::Identity, ProportionalHazardsMethod::Score, "identity"),
            (TimeTransform::Km, ProportionalHazardsMethod::Score, "km"),
            (TimeTransform::Log, ProportionalHazardsMethod::Score, "log"),
            (TimeTransform::Rank, ProportionalHazardsMethod::Score, "rank"),
            (TimeTransform::Rank, ProportionalHazardsMethod::Average, "average_rank"),
        ] {
            let found = proportional_hazards_test(&fit, transform, method).unwrap();
            let mut chi2: Vec<f64> = found.by_coefficient.iter().map(|(_, t)| t.chi2).collect();
            chi2.push(found.global.chi2);
            let what = format!("{name}/{test}");
            assert_close(&what, &chi2, &expected.numbers(&what), 1e-8);
        }
    }
}

#[track_caller]
fn assert_predicted(found: &PredictedSurvival, expected: &Answers) {
    assert_close("times", &found.times, &expected.numbers("times"), 0.0);
    assert_close("hazard", &found.hazard, &expected.numbers("hazard"), 1e-10);
    assert_close("error", &found.hazard_se, &expected.numbers("hazard_se"), 1e-9);
    assert_close("survival", &found.survival, &expected.numbers("survival"), 1e-10);
    assert_close("lower", &found.lower, &expected.numbers("lower"), 1e-9);
    assert_close("upper", &found.upper, &expected.numbers("upper"), 1e-9);
}

#[test]
fn predicted_survival() {
    let (data, covariates, expected) = recurrent();
    let plain = RiskData { strata: Vec::new(), ..data.clone() };
    let fit = |data: &RiskData, ties| {
        cox::fit(data, &covariates, &options(ties, RobustErrors::None)).unwrap()
    };
    for (ties, name) in [(Ties::Efron, "predicted"), (Ties::Breslow, "predicted_breslow")] {
        let found = fit(&plain, ties).survival(0, &[1.0, 0.5]).unwrap();
        assert_predicted(&found, &expected.at(name));
    }
    let stratified = fit(&data, Ties::Efron);
    let found = stratified.survival(1, &[1.0, 0.5]).unwrap();
    assert_predicted(&found, &expected.at("predicted_strata"));
    assert!(stratified.survival(7, &[1.0, 0.5]).is_err());
}

#[test]
fn mean_number_of_recurrent_events() {
    let (data, _, expected) = recurrent();
    let found = nelson_aalen(&data, HazardTies::Simultaneous, 0.95).unwrap();
    let events = |values: &[f64]| -> Vec<f64> {
        let all = values.iter().zip(&found.events);
        all.filter(|(_, events)| **events > 0).map(|(value, _)| *value).collect()
    };
    assert_close("times", &events(&found.times), &expected.numbers("hazard/times"), 0.0);
    assert_close("hazard", &events(&found.hazard), &expected.numbers("hazard/hazard"), 1e-12);
    assert_close("se", &events(&found.se), &expected.numbers("hazard/se"), 1e-12);
}

#[test]
fn cause_specific_hazards_with_late_entries() {
    let (rows, data, expected) = competing();
    let covariates = data.covariates(&["x", "z"]);
    for cause in [1, 2] {
        let options = CoxOptions { cause: Some(cause), ..options(Ties::Efron, RobustErrors::None) };
        let fit = cox::fit(&rows, &covariates, &options).unwrap();
        assert_fit(&fit, &expected.at(&format!("cause_{cause}")));
        let only = CoxOptions { cause: None, ..options };
        let other_way = cox::fit(&rows.only_cause(cause), &covariates, &only).unwrap();
        assert_eq!(other_way.log_likelihood, fit.log_likelihood);
    }
}

#[test]
fn survival_with_late_entries() {
    let (rows, _, expected) = competing();
    for (level, name) in [(0.95, "kaplan_meier"), (0.9, "kaplan_meier_90")] {
        let expected = expected.at(name);
        let curve = kaplan_meier(&rows, level).unwrap();
        let hazard = nelson_aalen(&rows, HazardTies::Simultaneous, level).unwrap();
        let counts = |counts: &[u64]| counts.iter().map(|n| *n as f64).collect::<Vec<f64>>();
        let points = curve.times.iter().map(|time| curve.at(*time).unwrap());
        let se: Vec<f64> = points.map(|point| point.se).collect();
        for (column, found) in [
            ("times", &curve.times),
            ("at_risk", &counts(&curve.at_risk)),
            ("events", &counts(&curve.events)),
            ("survival", &curve.survival),
            ("se", &se),
            ("lower", &curve.lower),
            ("upper", &curve.upper),
            ("hazard", &hazard.hazard),
            ("hazard_se", &hazard.se),
        ] {
            let at_events = found.iter().zip(&curve.events).filter(|(_, events)| **events > 0);
            let found: Vec<f64> = at_events.map(|(value, _)| *value).collect();
            assert_close(column, &found, &expected.numbers(column), 1e-12);
        }
        for (share, column) in [(0.25, "quartile"), (0.5, "median")] {
            let found = curve.quantile(share);
            let found = [found.time, found.lower, found.upper].map(|t| t.unwrap_or(f64::NAN));
            assert_close(column, &found, &expected.numbers(column), 0.0);
        }
    }
}

#[test]
fn restricted_means() {
    let (rows, data, expected) = competing();
    let groups = data.whole("group");
    let durations = RiskData { start: vec![0.0; rows.rows()], ..rows.clone() };
    for group in 0..3 {
        let curve = kaplan_meier(&durations.select(|row| groups[row] == group), 0.95).unwrap();
        let mean = restricted_mean(&curve, 40.0).unwrap();
        let expected = expected.numbers(&format!("restricted_means_40/{group}"));
        assert_close("mean", &[mean.value, mean.se], &expected, 1e-12);
    }
    let mean = restricted_mean(&kaplan_meier(&rows, 0.95).unwrap(), 40.0).unwrap();
    let expected = expected.numbers("restricted_mean_late_40");
    assert_close("with late entries", &[mean.value, mean.se], &expected, 1e-12);
}

#[test]
fn log_rank_tests() {
    let (rows, data, expected) = competing();
    let groups = data.whole("group");
    let mut rows = RiskData { start: vec![0.0; rows.rows()], ..rows };
    let assert_test = |rows: &RiskData, name: &str| {
        let test = log_rank(rows, &groups).unwrap();
        let expected = expected.at(name);
        assert_close(name, &[test.chi2], &[expected.number("chi2")], 1e-10);
        assert_eq!((test.df, test.groups), (2, vec![0, 1, 2]));
        (test.observed, test.expected, expected)
    };
    let (observed, mean, numbers) = assert_test(&rows, "log_rank");
    assert_close("observed", &observed, &numbers.numbers("observed"), 0.0);
    assert_close("expected", &mean, &numbers.numbers("expected"), 1e-12);
    rows.strata = data.whole("stratum");
    let (observed, mean, numbers) = assert_test(&rows, "log_rank_strata");
    assert_close("observed", &observed, &numbers.numbers("observed"), 0.0);
    assert_close("expected", &mean, &numbers.numbers("expected"), 1e-12);
    let mut late = data.intervals("start", "untied", "cause");
    assert_test(&late, "log_rank_late");
    late.strata = data.whole("stratum");
    assert_test(&late, "log_rank_late_strata");
}

#[test]
fn incidence_with_ties_and_late_entries() {
    let (rows, _, expected) = competing();
    let found = aalen_johansen(&rows, 0.95).unwrap();
    let events: Vec<bool> = (0..found.times.len())
        .map(|time| found.causes.iter().any(|cause| cause.events[time] > 0))
        .collect();
    let at_events = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(&events).filter(|(_, event)| **event).map(|(value, _)| *value).collect()
    };
    let expected = expected.at("incidence");
    assert_close("times", &at_events(&found.times), &expected.numbers("times"), 0.0);
    assert_close("survival", &at_events(&found.survival), &expected.numbers("survival"), 1e-12);
    for (index, cause) in [1u32, 2].into_iter().enumerate() {
        let found = found.cause(cause).unwrap();
        let incidence = expected.numbers(&format!("cause_{cause}"));
        assert_close("incidence", &at_events(&found.incidence), &incidence, 1e-12);
        let variance = expected.numbers(&format!("variance/{index}"));
        assert_close("variance", &at_events(&found.variance), &variance, 1e-12);
    }
}

#[test]
fn grouped_time() {
    let (mut rows, covariates, _) = recurrent();
    let expected = Answers::read("survival_r.json").at("discrete");
    let assert_fit = |fit: &DiscreteFit, expected: &Answers| {
        let all = || fit.bins.iter().chain(&fit.coefficients);
        let coefs: Vec<f64> = all().map(|c| c.coef).collect();
        assert_close("coef", &coefs, &expected.numbers("coef"), 1e-8);
        let se: Vec<f64> = all().map(|c| c.se).collect();
        assert_close("se", &se, &expected.numbers("se"), 1e-8);
        let robust = [errors(&fit.bins), errors(&fit.coefficients)].concat();
        assert_close("robust se", &robust, &expected.numbers("robust_se"), 1e-8);
        let log_likelihood = expected.number("log_likelihood");
        assert_close("log-likelihood", &[fit.log_likelihood], &[log_likelihood], 1e-10);
    };
    let edges = [0.0, 10.0, 20.0, 40.0, 60.0];
    let mut options = DiscreteOptions {
        robust: RobustErrors::Plain,
        recurrent: true,
        ..DiscreteOptions::default()
    };
    let fit = discrete_hazard(&rows, &covariates, &edges, &options).unwrap();
    assert_fit(&fit, &expected.at("within_step"));
    options.event_time = EventTime::InBin;
    let fit = discrete_hazard(&rows, &covariates, &edges, &options).unwrap();
    assert_fit(&fit, &expected.at("in_bin"));
    // Other units of time move the bins alone.
    options.event_time = EventTime::Within(0.25);
    rows.start.iter_mut().chain(&mut rows.stop).for_each(|time| *time /= 4.0);
    let fit = discrete_hazard(&rows, &covariates, &edges.map(|edge| edge / 4.0), &options).unwrap();
    let coefs: Vec<f64> = fit.coefficients.iter().map(|c| c.coef).collect();
    assert_close("coef", &coefs, &expected.numbers("within_step/coef")[4..], 1e-8);
    let bins: Vec<f64> = fit.bins.iter().map(|c| c.coef - 4f64.ln()).collect();
    assert_close("bins", &bins, &expected.numbers("within_step/coef")[..4], 1e-8);
}

#[test]
fn hazard_along_an_exposure() {
    let (rows, data, _) = competing();
    let expected = Answers::read("survival_r.json").at("spline");
    let spline = RestrictedCubicSpline::at_quantiles(&data.numbers("z"), 3).unwrap();
    assert_close("knots", spline.knots(), &expected.numbers("knots"), 1e-12);
    let at = expected.numbers("at");
    let exposure = SplineExposure { covariate: "z".to_owned(), spline, reference: 5.0, at };
    let options = options(Ties::Efron, RobustErrors::None);
    let effect = spline_effect(&rows, &data.covariates(&["x", "z"]), &exposure, &options).unwrap();
    let log_likelihood = expected.number("log_likelihood");
    assert_close("log-likelihood", &[effect.fit.log_likelihood], &[log_likelihood], 1e-10);
    let found: Vec<f64> = effect.curve.iter().map(|point| point.log_hazard_ratio).collect();
    assert_close("curve", &found, &expected.numbers("log_hazard_ratio"), 1e-7);
    let found: Vec<f64> = effect.curve.iter().map(|point| point.se).collect();
    assert_close("error", &found, &expected.numbers("se"), 1e-7);
    assert_close("test", &[effect.overall.chi2], &[expected.number("overall")], 1e-7);
    assert_eq!((effect.overall.df, effect.nonlinear.df), (3, 2));
}

#[test]
fn distributions() {
    use analysis::numeric::distribution::*;
    let expected = Answers::read("survival_r.json").at("distributions");
    // Relative errors, also of small p-values.
    let assert_ratio = |name: &str, value: &dyn Fn(f64) -> f64| {
        let points = if name.ends_with("_p") { "at" } else { "level" };
        for (at, expected) in expected.numbers(points).iter().zip(expected.numbers(name)) {
            let found = value(*at);
            assert!((found / expected - 1.0).abs() < 1e-9, "{name}({at}): {found}, {expected}");
        }
    };
    assert_ratio("normal", &|level| normal_width(level).unwrap());
    assert_ratio("t_1", &|level| student_width(level, 1.0).unwrap());
    assert_ratio("t_4", &|level| student_width(level, 4.0).unwrap());
    assert_ratio("t_29", &|level| student_width(level, 29.0).unwrap());
    assert_ratio("normal_p", &normal_p);
    assert_ratio("t_5_p", &|t| student_p(t, 5.0));
    assert_ratio("chi_1_p", &|x| chi_squared_p(x, 1.0));
    assert_ratio("chi_7_p", &|x| chi_squared_p(x, 7.0));
    assert_ratio("f_3_11_p", &|x| f_p(x, 3.0, 11.0));
}
