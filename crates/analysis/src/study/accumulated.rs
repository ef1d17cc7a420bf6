//! T5: how the hazard of a crash depends on accumulated prediction errors.

use super::cohort::{Cohort, DOSE, EXPOSURE, PathCovariate};
use super::context::{Findings, StudyContext};
use super::hazard_model::{HazardModel, model_table, warn_of_fit};
use super::headline::Headline;
use super::run::{ObservedRun, RunEnd};
use super::survival::p_text;
use crate::AnalysisError;
use crate::document::{Axis, Figure, Layer, Section, Severity};
use crate::numeric::spline::RestrictedCubicSpline;
use crate::survival::cox::{self, CoxFit, CoxOptions};
use std::collections::BTreeSet;

/// Lags at which accumulated errors are tried.
const LAGS: [u64; 5] = [1, 5, 10, 20, 50];
/// A hazard ratio is given for this many shocks.
const SHOCKS_UNIT: f64 = 10.0;

/// The time-varying models. `main`: that of the headline.
pub fn section(
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
        let (fit, sd) = exposure_model(context, cohort, other);
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
    let (risk, covariates, _) = cohort.time_varying(covariates, lag);
    cox::fit(&risk, &covariates, &context.cox())
}

/// The time-varying model of accumulated errors alone, and their standard deviation over time at
/// risk.
pub fn exposure_model(
    context: &StudyContext<'_>,
    cohort: &Cohort<'_>,
    lag: u64,
) -> (Result<CoxFit, AnalysisError>, f64) {
    let (risk, covariates, _) = cohort.time_varying(&[EXPOSURE], lag);
    let weights: Vec<f64> = risk.stop.iter().zip(&risk.start).map(|(a, b)| a - b).collect();
    let total: f64 = weights.iter().sum();
    let weighted = |values: &dyn Fn(f64) -> f64| {
        covariates.values.iter().zip(&weights).map(|(v, w)| values(*v) * w).sum::<f64>() / total
    };
    let mean = weighted(&|value| value);
    let sd = weighted(&|value| (value - mean).powi(2)).sqrt();
    (cox::fit(&risk, &covariates, &context.cox()), sd)
}

/// Strata are worlds within strata: only runs of one world are compared.
fn within_worlds(context: &StudyContext<'_>, lag: u64) -> Result<CoxFit, AnalysisError> {
    let (mut risk, covariates, runs) = context.cohort.time_varying(&[EXPOSURE, DOSE], lag);
    let blocks = context.cohort.blocks();
    risk.strata = runs.into_iter().map(|run| blocks[run]).collect();
    cox::fit(&risk, &covariates, &context.cox())
}

/// All primary crashes of a run. It is not at risk from an onset until the detector no longer
/// fires.
fn recurrent(context: &StudyContext<'_>, lag: u64) -> Result<CoxFit, AnalysisError> {
    let mut spans: Vec<ObservedRun> = Vec::new();
    let mut subjects = Vec::new();
    for (subject, run) in context.cohort.runs.iter().enumerate() {
        for (start, stop, crashed) in run.risk_spans() {
            // Which detector fired makes no difference here.
            let end = if crashed { RunEnd::Crash(String::new()) } else { RunEnd::Horizon };
            let span = ObservedRun { entry: Some(start), end_step: stop, end, ..(*run).clone() };
            spans.push(span);
            subjects.push(subject as u32);
        }
    }
    let cohort = Cohort::select(spans.iter());
    let (mut risk, covariates, rows) = cohort.time_varying(&[EXPOSURE], lag);
    risk.subjects = rows.into_iter().map(|row| subjects[row]).collect();
    cox::fit(&risk, &covariates, &CoxOptions { recurrent: true, ..context.cox() })
}

/// Hazard against lagged exposure as a spline, and a sentence on where it bends.
fn hazard_curve(context: &StudyContext<'_>, lag: u64) -> Result<(Figure, String), AnalysisError> {
    let (risk, covariates, _) = context.cohort.time_varying(&[EXPOSURE], lag);
    let mut sorted = covariates.values.clone();
    sorted.sort_by(f64::total_cmp);
    let quantile = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let spline = RestrictedCubicSpline::at_quantiles(&covariates.values, 3)?;
    let (low, high) = (quantile(0.01), quantile(0.99));
    let at: Vec<f64> = (0..=80).map(|i| low + (high - low) * f64::from(i) / 80.0).collect();
    let exposure =
        cox::SplineExposure { covariate: EXPOSURE.0.to_owned(), spline, reference: low, at };
    let effect = cox::spline_effect(&risk, &covariates, &exposure, &context.cox())?;
    let slope = |w: &[cox::SplinePoint]| {
        (w[1].log_hazard_ratio - w[0].log_hazard_ratio) / (w[1].exposure - w[0].exposure)
    };
    let largest = effect.curve.windows(2).map(slope).fold(f64::NEG_INFINITY, f64::max);
    // The curve is straight beyond its outer knots: rounding must not choose among equal slopes.
    let enough = largest - 1e-6 * largest.abs();
    let steepest = effect.curve.windows(2).find(|w| slope(w) >= enough);
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
        x: Axis::linear(&format!("accumulated delivery errors, {lag} steps ago")),
        y: Axis::log("hazard ratio"),
        layers: vec![
            Layer::Band { series: "hazard ratio".into(), points: band, stepped: false },
            Layer::Line { series: "hazard ratio".into(), points: line, dashed: false },
            Layer::Rule { at: 1.0, vertical: false, label: String::new() },
        ],
        at_risk: None,
        command: intervals_command(context),
    };
    Ok((figure, sentence))
}

/// The command that fits the time-varying model: `survival` where the table `intervals` has a
/// column of exposure with this lag.
fn intervals_command(context: &StudyContext<'_>) -> String {
    let covariate = match context.options.lag {
        0 => "exposure",
        20 => "exposure_lag20",
        lag => return context.report(&format!("--lag {lag}")),
    };
    context.command(
        "intervals",
        &format!(
            "--start start --time stop --event event --subject run_id --covariates {covariate} \
             --strata stratum --cluster seed --model cox"
        ),
    )
}
