//! T4 and T5: how the hazard of a crash depends on the assigned dose, and on accumulated errors.

use super::cohort::{Cohort, DOSE, EXPOSURE, PathCovariate, short};
use super::context::{Findings, StudyContext};
use super::run::{ObservedRun, RunColumn};
use super::sheet::table;
use super::survival::p_text;
use crate::AnalysisError;
use crate::document::{Axis, Figure, Format, Layer, Scale, Section, Severity, Table, Value};
use crate::survival::cox::{self, CoxFit, CoxOptions, ProportionalHazardsMethod, TimeTransform};
use crate::survival::{Coefficient, Covariates, RiskData};
use std::collections::BTreeSet;

/// Lags at which accumulated errors are tried.
pub const LAGS: [u64; 5] = [1, 5, 10, 20, 50];
/// A hazard ratio is given for this difference of the assigned dose.
pub const DOSE_UNIT: f64 = 0.1;
/// A hazard ratio is given for this many shocks.
const SHOCKS_UNIT: f64 = 10.0;

/// The estimates that the answer states.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headline {
    /// Log hazard ratio of [`DOSE_UNIT`] of assigned dose.
    pub assigned: Option<Coefficient>,
    /// Log hazard ratio of a unit of lagged exposure.
    pub exposure: Option<Coefficient>,
    /// The same without lag, which is what the hazards of scripted operators depend on.
    pub exposure_now: Option<Coefficient>,
    /// Standard deviation of the lagged exposure over time at risk.
    pub exposure_sd: f64,
    /// Whether the hazards of doses are proportional: p.
    pub proportional_p: Option<f64>,
}

/// A fitted model with what the tables say about it.
struct HazardModel {
    name: String,
    lag: Option<u64>,
    fit: Result<CoxFit, AnalysisError>,
    /// Units in which hazard ratios are given, one for each coefficient: value and words.
    units: Vec<(f64, String)>,
}

impl Headline {
    /// The fits of the answer, and their estimates.
    pub fn of(context: &StudyContext<'_>) -> (Headline, HeadlineFits) {
        let (cohort, lag) = (&context.cohort, context.options.lag);
        let in_units: &dyn Fn(&ObservedRun) -> f64 = &|run| run.p_shock / DOSE_UNIT;
        let assigned = cox::fit(
            &cohort.risk(crashed),
            &cohort.covariates(&[("p_shock", in_units)]),
            &options(context),
        );
        let exposure = time_varying(context, cohort, &[EXPOSURE], lag);
        let first = |fit: &Result<CoxFit, AnalysisError>| {
            fit.as_ref().ok().and_then(|fit| fit.coefficients.first().cloned())
        };
        let headline = Headline {
            assigned: first(&assigned),
            exposure: first(&exposure),
            exposure_now: first(&time_varying(context, cohort, &[EXPOSURE], 0)),
            exposure_sd: exposure_sd(cohort, lag),
            proportional_p: assigned.as_ref().ok().and_then(proportional_p),
        };
        (headline, HeadlineFits { assigned, exposure })
    }
}

/// The models behind a [`Headline`].
pub struct HeadlineFits {
    assigned: Result<CoxFit, AnalysisError>,
    exposure: Result<CoxFit, AnalysisError>,
}

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) -> Headline {
    let (headline, fits) = Headline::of(context);
    assigned_dose(context, findings, &headline, fits.assigned);
    accumulated(context, findings, &headline, fits.exposure);
    headline
}

fn crashed(run: &ObservedRun) -> u32 {
    run.crashed().into()
}

fn options(context: &StudyContext<'_>) -> CoxOptions {
    CoxOptions { level: context.options.level, ..CoxOptions::default() }
}

/// The intention-to-treat analysis.
fn assigned_dose(
    context: &StudyContext<'_>,
    findings: &mut Findings,
    headline: &Headline,
    fit: Result<CoxFit, AnalysisError>,
) {
    let linear = HazardModel {
        name: "assigned dose, linear".into(),
        lag: None,
        units: vec![(1.0, format!("{DOSE_UNIT} of p(shock)"))],
        fit,
    };
    match &linear.fit {
        Ok(fit) => warn_of_fit(findings, "the effect of the assigned dose", fit),
        Err(error) => findings.refuse(
            "assigned_dose",
            Severity::Error,
            "The effect of the assigned dose on the hazard cannot be estimated.",
            error.to_string(),
        ),
    }
    let mut models = vec![linear];
    models.extend(dose_contrasts(context));
    models.extend(factor_contrasts(context));
    for model in &models[1..] {
        let family = if model.name.starts_with("factor") { "factors" } else { "doses" };
        let Ok(fit) = &model.fit else {
            findings.test(family, model.name.clone(), None);
            continue;
        };
        for coefficient in fit.coefficients.iter().filter(|c| c.name != "p_shock") {
            findings.test(family, coefficient.name.clone(), Some(coefficient.p));
        }
    }
    let mut text = vec![
        "Intention to treat: the hazard of a crash against the assigned probability of shocks, \
         whatever shocks did. Cox models with Efron's ties, stratified by model and interface; \
         errors are robust, by world, with the correction for few clusters and t intervals."
            .to_owned(),
    ];
    if let Some(p) = headline.proportional_p {
        text.push(format!(
            "Proportional hazards (Grambsch and Therneau, ranked time): p {}. {}",
            p_text(p),
            if p < 0.05 {
                "The ratio changes over time, as it must where errors accumulate: the model below, \
                 on accumulated errors, is the one to read."
            } else {
                "No sign that the ratio changes over time."
            }
        ));
    }
    findings.sections.push(Section {
        id: "dose-effect".into(),
        title: "Effect of the assigned dose".into(),
        text,
        tables: vec![model_table("t4_cox", "Cox models of assigned factors", &models)],
        figures: vec![forest(context, &models)],
    });
}

fn proportional_p(fit: &CoxFit) -> Option<f64> {
    let method = ProportionalHazardsMethod::default();
    let test = cox::proportional_hazards_test(fit, TimeTransform::Rank, method).ok()?;
    Some(test.global.p)
}

/// Each dose against the control.
fn dose_contrasts(context: &StudyContext<'_>) -> Option<HazardModel> {
    let doses = context.doses();
    let [control, doses @ ..] = doses.as_slice() else { return None };
    if doses.is_empty() {
        return None;
    }
    let names: Vec<String> =
        doses.iter().map(|dose| format!("p_shock {dose} v {control}")).collect();
    let is_at = |dose: f64| move |run: &ObservedRun| f64::from(u8::from(run.p_shock == dose));
    let levels: Vec<_> = doses.iter().map(|dose| is_at(*dose)).collect();
    let columns: Vec<RunColumn<'_>> =
        names.iter().map(String::as_str).zip(levels.iter().map(|level| level as _)).collect();
    let cohort = &context.cohort;
    Some(HazardModel {
        name: "assigned dose, by level".into(),
        lag: None,
        fit: cox::fit(&cohort.risk(crashed), &cohort.covariates(&columns), &options(context)),
        units: vec![(1.0, "level".into()); names.len()],
    })
}

/// The levels of each other factor, at the same dose: of factors of shocks among runs with shocks,
/// of others among all.
fn factor_contrasts(context: &StudyContext<'_>) -> Vec<HazardModel> {
    let keys: BTreeSet<&String> = context.studies.iter().flat_map(|study| &study.factors).collect();
    let others = keys.into_iter().filter(|key| {
        !matches!(key.as_str(), "pe_induction.p_shock" | "model.name" | "agent.policy")
    });
    others.filter_map(|key| factor_contrast(context, key)).collect()
}

fn factor_contrast(context: &StudyContext<'_>, key: &str) -> Option<HazardModel> {
    let of_shocks = key.starts_with("pe_induction.");
    let cohort = context
        .cohort
        .filter(|run| run.levels.contains_key(key) && (!of_shocks || run.p_shock > 0.0));
    let levels: BTreeSet<&String> =
        cohort.runs.iter().filter_map(|run| run.levels.get(key)).collect();
    let mut levels = levels.into_iter();
    let reference = levels.next()?;
    let others: Vec<&String> = levels.collect();
    if others.is_empty() {
        return None;
    }
    let names: Vec<String> =
        others.iter().map(|level| format!("{} {level} v {reference}", short(key))).collect();
    let mut columns = vec![("p_shock".to_owned(), Vec::new())];
    columns.extend(names.iter().map(|name| (name.clone(), Vec::new())));
    for run in &cohort.runs {
        columns[0].1.push(run.p_shock / DOSE_UNIT);
        for (column, level) in columns[1..].iter_mut().zip(&others) {
            column.1.push(f64::from(u8::from(run.levels.get(key) == Some(level))));
        }
    }
    if cohort.runs.iter().all(|run| run.p_shock == cohort.runs[0].p_shock) {
        columns.remove(0);
    }
    // Strata hold all factors of the interface, so that this one must be left out of them.
    let risk = RiskData { strata: cohort.strata_without(key), ..cohort.risk(crashed) };
    let units = columns.iter().map(|(name, _)| match name.as_str() {
        "p_shock" => (1.0, format!("{DOSE_UNIT} of p(shock)")),
        _ => (1.0, "level".to_owned()),
    });
    let units = units.collect();
    let fit = Covariates::from_columns(columns)
        .and_then(|covariates| cox::fit(&risk, &covariates, &options(context)));
    Some(HazardModel { name: format!("factor {}", short(key)), lag: None, fit, units })
}

/// The time-varying models.
fn accumulated(
    context: &StudyContext<'_>,
    findings: &mut Findings,
    headline: &Headline,
    main: Result<CoxFit, AnalysisError>,
) {
    let lag = context.options.lag;
    let cohort = &context.cohort;
    match &main {
        Ok(fit) => warn_of_fit(findings, "the effect of accumulated errors", fit),
        Err(error) => findings.refuse(
            "exposure",
            Severity::Error,
            "The effect of accumulated errors on the hazard cannot be estimated.",
            error.to_string(),
        ),
    }
    let sd = (headline.exposure_sd, format!("1 SD = {:.1}", headline.exposure_sd));
    let shocks = (SHOCKS_UNIT, format!("{SHOCKS_UNIT} shocks"));
    let model = |name: &str, lag: u64, fit, units: &[&(f64, String)]| HazardModel {
        name: name.to_owned(),
        lag: Some(lag),
        fit,
        units: units.iter().map(|unit| (*unit).clone()).collect(),
    };
    let both = time_varying(context, cohort, &[EXPOSURE, DOSE], lag);
    let within = within_worlds(context, lag);
    let recurrent = recurrent(context, lag);
    let mut models = vec![
        model("accumulated errors", lag, main, &[&sd]),
        model("accumulated errors and shocks", lag, both, &[&sd, &shocks]),
        model("both, within worlds", lag, within, &[&sd, &shocks]),
        model("recurrent crashes (Andersen-Gill)", lag, recurrent, &[&sd]),
    ];
    let names: BTreeSet<&str> = cohort.runs.iter().map(|run| run.model.as_str()).collect();
    for name in names.iter().filter(|_| names.len() > 1) {
        let only = cohort.filter(|run| run.model == *name);
        let fit = time_varying(context, &only, &[EXPOSURE], lag);
        models.push(model(&format!("accumulated errors, {name}"), lag, fit, &[&sd]));
    }
    for other in LAGS.into_iter().filter(|other| *other != lag) {
        let fit = time_varying(context, cohort, &[EXPOSURE], other);
        let sd = exposure_sd(cohort, other);
        models.push(model("accumulated errors", other, fit, &[&(sd, format!("1 SD = {sd:.1}"))]));
    }
    let mut section = Section {
        id: "exposure-effect".into(),
        title: "Effect of accumulated prediction error".into(),
        text: vec![
            format!(
                "The question itself: does the hazard of a crash grow with the errors that the \
                 agent's predictions of deliveries have accumulated? Cox models with exposure that \
                 varies in time, {lag} steps ago (a detector's window, so that errors come before \
                 what the detector reads). Exposure is the sum over deliveries, arrived or overdue, \
                 of the relative errors of days and units, each at most 2; no detector of primary \
                 crashes reads it."
            ),
            "Exposure is not assigned but follows from shocks and from the agent's own skill: the \
             assigned dose above is randomized, this is not."
                .into(),
        ],
        tables: vec![model_table("t5_time_varying", "Time-varying Cox models", &models)],
        figures: Vec::new(),
    };
    match hazard_curve(context, lag) {
        Ok((figure, sentence)) => {
            section.figures.push(figure);
            section.text.push(sentence);
        }
        Err(error) => section.text.push(format!("No curve of hazard against exposure: {error}.")),
    }
    findings.sections.push(section);
}

/// The time-varying model of some covariates.
pub fn time_varying(
    context: &StudyContext<'_>,
    cohort: &Cohort<'_>,
    covariates: &[PathCovariate],
    lag: u64,
) -> Result<CoxFit, AnalysisError> {
    let (risk, covariates, _) = cohort.time_varying(covariates, lag, crashed);
    cox::fit(&risk, &covariates, &options(context))
}

/// Strata are worlds within strata: only runs of one world are compared.
fn within_worlds(context: &StudyContext<'_>, lag: u64) -> Result<CoxFit, AnalysisError> {
    let (mut risk, covariates, runs) = context.cohort.time_varying(&[EXPOSURE, DOSE], lag, crashed);
    let worlds = context.cohort.worlds();
    let count = context.cohort.worlds_count as u32;
    for (stratum, run) in risk.strata.iter_mut().zip(runs) {
        *stratum = *stratum * count + worlds[run];
    }
    cox::fit(&risk, &covariates, &options(context))
}

/// All primary crashes of a run. It is not at risk from an onset until the detector no longer
/// fires.
fn recurrent(context: &StudyContext<'_>, lag: u64) -> Result<CoxFit, AnalysisError> {
    let mut spans: Vec<ObservedRun> = Vec::new();
    let mut subjects = Vec::new();
    for (subject, run) in context.cohort.runs.iter().enumerate() {
        for (start, stop, crashed) in run.risk_spans() {
            let end = if crashed { run.end_of_crash() } else { super::run::RunEnd::Horizon };
            let span = ObservedRun { entry: Some(start), end_step: stop, end, ..(*run).clone() };
            spans.push(span);
            subjects.push(subject as u32);
        }
    }
    let cohort = Cohort::select(spans.iter());
    let (mut risk, covariates, rows) = cohort.time_varying(&[EXPOSURE], lag, crashed);
    risk.subjects = rows.into_iter().map(|row| subjects[row]).collect();
    cox::fit(&risk, &covariates, &CoxOptions { recurrent: true, ..options(context) })
}

/// Standard deviation of the lagged exposure, over time at risk.
fn exposure_sd(cohort: &Cohort<'_>, lag: u64) -> f64 {
    let (risk, covariates, _) = cohort.time_varying(&[EXPOSURE], lag, crashed);
    let weights: Vec<f64> = risk.stop.iter().zip(&risk.start).map(|(a, b)| a - b).collect();
    let total: f64 = weights.iter().sum();
    let weighted = |values: &dyn Fn(f64) -> f64| {
        covariates.values.iter().zip(&weights).map(|(v, w)| values(*v) * w).sum::<f64>() / total
    };
    let mean = weighted(&|value| value);
    weighted(&|value| (value - mean).powi(2)).sqrt()
}

fn warn_of_fit(findings: &mut Findings, of: &str, fit: &CoxFit) {
    for warning in &fit.warnings {
        let severity = match warning.code {
            "separation" | "not_converged" => Severity::Error,
            _ => Severity::Warning,
        };
        let what = format!("The estimate of {of} is not to be relied on.");
        findings.refuse(warning.code, severity, &what, warning.text.clone());
    }
}

/// One row a coefficient.
fn model_table(id: &str, caption: &str, models: &[HazardModel]) -> Table {
    let columns = [
        ("model", "model", Format::Text),
        ("lag", "lag", Format::Whole),
        ("covariate", "covariate", Format::Text),
        ("coef", "log HR of one unit", Format::Digits(4)),
        ("se", "s.e.", Format::Digits(3)),
        ("robust_se", "robust s.e.", Format::Digits(3)),
        ("p", "p", Format::P),
        ("unit", "HR is of", Format::Text),
        ("hr", "HR", Format::Decimals(2)),
        ("hr_lower", "lower", Format::Decimals(2)),
        ("hr_upper", "upper", Format::Decimals(2)),
        ("events", "events", Format::Whole),
        ("worlds", "worlds", Format::Whole),
        ("concordance", "concordance", Format::Decimals(3)),
    ];
    let mut sheet = table(id, caption, &columns);
    for model in models {
        let head = || [Value::from(model.name.clone()), model.lag.into()];
        let fit = match &model.fit {
            Ok(fit) => fit,
            Err(error) => {
                let mut row: Vec<Value> = head().to_vec();
                row.push(format!("not estimable: {error}").into());
                row.resize(columns.len(), Value::None);
                sheet.rows.push(row);
                continue;
            }
        };
        for (coefficient, (unit, words)) in fit.coefficients.iter().zip(&model.units) {
            let mut row: Vec<Value> = head().to_vec();
            row.extend([
                coefficient.name.clone().into(),
                coefficient.coef.into(),
                coefficient.se.into(),
                coefficient.robust_se.into(),
                coefficient.p.into(),
                words.clone().into(),
                (coefficient.coef * unit).exp().into(),
                (coefficient.lower * unit).exp().into(),
                (coefficient.upper * unit).exp().into(),
                fit.events.into(),
                fit.clusters.into(),
                fit.concordance.as_ref().map(|c| c.value).into(),
            ]);
            sheet.rows.push(row);
        }
    }
    sheet
}

/// Hazard ratios with their intervals.
fn forest(context: &StudyContext<'_>, models: &[HazardModel]) -> Figure {
    let (mut categories, mut points) = (Vec::new(), Vec::new());
    for model in models {
        let Ok(fit) = &model.fit else { continue };
        for (coefficient, (unit, words)) in fit.coefficients.iter().zip(&model.units) {
            // A linear dose stands beside each factor only to adjust for it.
            if model.name.starts_with("factor") && coefficient.name == "p_shock" {
                continue;
            }
            let ratio = |coef: f64| (coef * unit).exp();
            let row = categories.len() as f64;
            let estimate =
                (ratio(coefficient.lower), ratio(coefficient.coef), ratio(coefficient.upper), row);
            if [estimate.0, estimate.1, estimate.2].iter().all(|x| x.is_finite() && *x > 0.0) {
                points.push(estimate);
                categories.push(match words.as_str() {
                    "level" => coefficient.name.clone(),
                    _ => format!("{} ({words})", coefficient.name),
                });
            }
        }
    }
    let alt = match points.first() {
        Some((low, ratio, high, _)) => format!(
            "Hazard ratios with intervals. {}: {ratio:.2} ({low:.2} to {high:.2}).",
            categories[0]
        ),
        None => "No hazard ratio can be estimated.".to_owned(),
    };
    Figure {
        id: "forest".into(),
        title: "Hazard ratios of assigned factors".into(),
        caption: "Ratios of the hazard of a crash with 95% intervals; right of 1, more crashes."
            .into(),
        alt,
        x: Axis {
            label: "hazard ratio".into(),
            scale: Scale::Log,
            range: None,
            categories: Vec::new(),
        },
        y: Axis { label: String::new(), scale: Scale::Linear, range: None, categories },
        layers: vec![
            Layer::Rule { at: 1.0, vertical: true, label: String::new() },
            Layer::Intervals { series: String::new(), points },
        ],
        at_risk: None,
        command: context.command(
            "runs",
            "--start entry_time --time event_time --event event_type --covariates p_shock \
             --strata model --cluster seed --model cox",
        ),
    }
}

/// Hazard against lagged exposure as a spline, and a sentence on where it bends.
fn hazard_curve(context: &StudyContext<'_>, lag: u64) -> Result<(Figure, String), AnalysisError> {
    use crate::numeric::spline::RestrictedCubicSpline;
    let (risk, covariates, _) = context.cohort.time_varying(&[EXPOSURE], lag, crashed);
    let mut sorted = covariates.values.clone();
    sorted.sort_by(f64::total_cmp);
    let quantile = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let spline = RestrictedCubicSpline::at_quantiles(&covariates.values, 3)?;
    let (low, high) = (quantile(0.01), quantile(0.99));
    let at: Vec<f64> = (0..=80).map(|i| low + (high - low) * f64::from(i) / 80.0).collect();
    let exposure =
        cox::SplineExposure { covariate: EXPOSURE.0.to_owned(), spline, reference: low, at };
    let effect = cox::spline_effect(&risk, &covariates, &exposure, &options(context))?;
    let steepest = effect.curve.windows(2).max_by(|a, b| {
        let slope = |w: &[cox::SplinePoint]| {
            (w[1].log_hazard_ratio - w[0].log_hazard_ratio) / (w[1].exposure - w[0].exposure)
        };
        slope(a).total_cmp(&slope(b))
    });
    let ratio = |log: f64| log.exp();
    let line = effect.curve.iter().map(|p| (p.exposure, ratio(p.log_hazard_ratio))).collect();
    let band = effect.curve.iter().map(|p| (p.exposure, ratio(p.lower), ratio(p.upper))).collect();
    let last = effect.curve.last().map_or(1.0, |p| ratio(p.log_hazard_ratio));
    let sentence = format!(
        "Along accumulated errors from {low:.1} to {high:.1} the hazard changes by a factor of \
         {last:.1}; it rises fastest near {:.1}. That the curve is no straight line on the log \
         scale: p {}.",
        steepest.map_or(low, |w| (w[0].exposure + w[1].exposure) / 2.0),
        p_text(effect.nonlinear.p)
    );
    let figure = Figure {
        id: "hazard_curve".into(),
        title: "Hazard of a crash against accumulated errors".into(),
        caption: format!(
            "Relative to the lowest exposure; restricted cubic spline with 3 degrees of freedom and \
             pointwise 95% band, exposure {lag} steps ago, from its 1st to its 99th percentile."
        ),
        alt: sentence.clone(),
        x: Axis {
            label: format!("accumulated delivery errors, {lag} steps ago"),
            scale: Scale::Linear,
            range: None,
            categories: Vec::new(),
        },
        y: Axis {
            label: "hazard ratio".into(),
            scale: Scale::Log,
            range: None,
            categories: Vec::new(),
        },
        layers: vec![
            Layer::Band { series: "hazard ratio".into(), points: band, stepped: false },
            Layer::Line { series: "hazard ratio".into(), points: line, dashed: false },
            Layer::Rule { at: 1.0, vertical: false, label: String::new() },
        ],
        at_risk: None,
        command: context.command(
            "intervals",
            "--start start --time stop --event event --subject run_id --covariates exposure_lag20 \
             --strata model --cluster seed --model cox",
        ),
    };
    Ok((figure, sentence))
}
