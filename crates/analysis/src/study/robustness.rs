//! Whether the headline stands under other choices: detection in place of onset, each detector left
//! out, days in place of steps, discrete time.

use super::accumulated::time_varying;
use super::cohort::{Cohort, EXPOSURE};
use super::context::{Findings, StudyContext};
use super::run::{ObservedRun, RunEnd};
use super::sheet::table;
use crate::AnalysisError;
use crate::document::{Format, Section, Value};
use crate::survival::cox;
use crate::survival::{
    Coefficient, DiscreteOptions, EventTime, RiskData, RobustErrors, discrete_hazard,
};
use std::collections::BTreeSet;

/// Bins of the discrete-time model.
const BINS: usize = 10;

/// Estimates under one choice.
struct Choice {
    name: String,
    assigned: Result<Coefficient, AnalysisError>,
    exposure: Result<Coefficient, AnalysisError>,
}

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let mut choices = vec![choice("as in the headline", context, &context.cohort)];
    let detected = redefined(context, |_| true, true);
    let detected = Cohort::select(detected.iter());
    choices.push(choice("event at detection, not onset", context, &detected));
    let detectors: BTreeSet<&str> = context
        .cohort
        .runs
        .iter()
        .flat_map(|run| &run.crashes)
        .filter(|crash| crash.primary)
        .map(|crash| crash.detector.as_str())
        .collect();
    if detectors.len() > 1 {
        for left_out in detectors {
            let runs = redefined(context, |detector| detector != left_out, false);
            let cohort = Cohort::select(runs.iter());
            choices.push(choice(&format!("without {left_out}"), context, &cohort));
        }
    }
    choices.push(in_days(context));
    choices.push(in_bins(context));
    let columns = [
        ("choice", "choice", Format::Text),
        ("assigned_hr", "HR of 0.1 of p(shock)", Format::Decimals(2)),
        ("assigned_lower", "lower", Format::Decimals(2)),
        ("assigned_upper", "upper", Format::Decimals(2)),
        ("assigned_p", "p", Format::P),
        ("exposure_coef", "log HR of a unit of errors", Format::Digits(3)),
        ("exposure_lower", "lower", Format::Digits(3)),
        ("exposure_upper", "upper", Format::Digits(3)),
        ("exposure_p", "p", Format::P),
    ];
    let mut sheet = table("robustness", "The headline under other choices", &columns);
    for choice in choices {
        let mut row: Vec<Value> = vec![choice.name.into()];
        let assigned = choice.assigned.ok();
        let assigned = assigned.as_ref();
        row.extend([
            assigned.map(|c| c.hazard_ratio).into(),
            assigned.map(|c| c.hazard_ratio_lower).into(),
            assigned.map(|c| c.hazard_ratio_upper).into(),
            assigned.map(|c| c.p).into(),
        ]);
        let exposure = choice.exposure.ok();
        let exposure = exposure.as_ref();
        row.extend([
            exposure.map(|c| c.coef).into(),
            exposure.map(|c| c.lower).into(),
            exposure.map(|c| c.upper).into(),
            exposure.map(|c| c.p).into(),
        ]);
        sheet.rows.push(row);
    }
    findings.sections.push(Section {
        id: "robustness".into(),
        title: "Robustness".into(),
        text: vec![
            "Estimates that a reader may want otherwise; lags are in the table of the time-varying \
             models. An empty cell could not be estimated."
                .into(),
        ],
        tables: vec![sheet],
        figures: Vec::new(),
    });
}

fn first(fit: Result<cox::CoxFit, AnalysisError>) -> Result<Coefficient, AnalysisError> {
    first_of(fit?.coefficients)
}

fn first_of(coefficients: Vec<Coefficient>) -> Result<Coefficient, AnalysisError> {
    let missing = || AnalysisError::NotEstimable("no coefficient".into());
    coefficients.into_iter().next().ok_or_else(missing)
}

fn choice(name: &str, context: &StudyContext<'_>, cohort: &Cohort<'_>) -> Choice {
    let assigned = cox::fit(&cohort.crash_risk(), &cohort.assigned_dose(), &context.cox());
    Choice {
        name: name.to_owned(),
        assigned: first(assigned),
        exposure: first(time_varying(context, cohort, &[EXPOSURE], context.options.lag)),
    }
}

/// The runs with another definition of the event: the first primary crash after the entry by one of
/// the detectors, at its onset or its detection; otherwise the run's last step.
fn redefined(
    context: &StudyContext<'_>,
    counts: impl Fn(&str) -> bool,
    at_detection: bool,
) -> Vec<ObservedRun> {
    let redefine = |run: &&ObservedRun| {
        let entry = run.entry.unwrap_or(0);
        let of_run = run
            .crashes
            .iter()
            .filter(|crash| crash.primary && crash.onset > entry && counts(&crash.detector));
        let crash = of_run.min_by_key(|crash| (crash.detected, crash.onset));
        let (end_step, end) = match crash {
            Some(crash) => {
                let step = if at_detection { crash.detected } else { crash.onset };
                (step, RunEnd::Crash(crash.detector.clone()))
            }
            None if run.end.is_crash() => (run.steps, RunEnd::Horizon),
            None => (run.end_step, run.end.clone()),
        };
        ObservedRun { end_step, end, ..(*run).clone() }
    };
    context.cohort.runs.iter().map(redefine).collect()
}

/// Time in days: a run's steps at its own number of steps a day.
fn in_days(context: &StudyContext<'_>) -> Choice {
    let cohort = &context.cohort;
    let options = context.cox();
    let days = |run: usize| {
        let run = cohort.runs[run];
        run.days.max(1) as f64 / run.steps.max(1) as f64
    };
    let scaled = |risk: RiskData, runs: &[usize]| {
        let scale = |times: &[f64]| times.iter().zip(runs).map(|(t, run)| t * days(*run)).collect();
        RiskData { start: scale(&risk.start), stop: scale(&risk.stop), ..risk }
    };
    let all: Vec<usize> = (0..cohort.runs.len()).collect();
    let assigned = scaled(cohort.crash_risk(), &all);
    let (risk, exposure, runs) = cohort.time_varying(&[EXPOSURE], context.options.lag);
    Choice {
        name: "time in days".into(),
        assigned: first(cox::fit(&assigned, &cohort.assigned_dose(), &options)),
        exposure: first(cox::fit(&scaled(risk, &runs), &exposure, &options)),
    }
}

/// Complementary log-log regression in bins of time with about equal numbers of crashes.
fn in_bins(context: &StudyContext<'_>) -> Choice {
    let cohort = &context.cohort;
    let options = DiscreteOptions {
        level: context.options.level,
        event_time: EventTime::Within(1.0),
        robust: RobustErrors::SmallSample,
        cause: None,
        recurrent: false,
        max_iterations: 50,
    };
    let mut events: Vec<f64> =
        cohort.runs.iter().filter(|run| run.crashed()).map(|run| run.end_step as f64).collect();
    events.sort_by(f64::total_cmp);
    let bins = BINS.min(events.len());
    let mut edges = vec![0.0];
    edges.extend((1..bins).map(|bin| events[bin * events.len() / bins]));
    edges.push(cohort.runs.iter().map(|run| run.end_step).max().unwrap_or(0) as f64);
    edges.dedup();
    let fit = |risk, covariates| {
        first_of(discrete_hazard(&risk, &covariates, &edges, &options)?.coefficients)
    };
    let (risk, exposure, _) = cohort.time_varying(&[EXPOSURE], context.options.lag);
    Choice {
        name: "discrete time, complementary log-log, no strata".into(),
        assigned: fit(cohort.crash_risk(), cohort.assigned_dose()),
        exposure: fit(risk, exposure),
    }
}
