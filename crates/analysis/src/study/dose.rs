//! T2: whether the assigned dose arrived, and what it did to predictions.

use super::cohort::DOSE_UNIT;
use super::context::{Findings, StudyContext, dose_label};
use super::run::{ObservedRun, SHOCK_TYPES};
use super::sheet::table;
use super::survival::p_text;
use crate::document::{Axis, Figure, Format, Layer, Section, Severity, Table, Value};
use crate::inference::{
    DoseResponseOptions, ResponseKind, TippingPoint, dose_response, ols, two_stage_least_squares,
};
use crate::survival::Covariates;
use std::collections::BTreeSet;

/// Share of drawn shocks that may go without effect.
const WASTED_MAX: f64 = 0.2;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let (drawn, applied) = context.cohort.runs.iter().fold((0, 0), |(drawn, applied), run| {
        (drawn + run.shocks.drawn.iter().sum::<u64>(), applied + applied_shocks(run))
    });
    let mut text = vec![
        "The manipulation check: shocks that were drawn, those that changed something, and those \
         that the agent was told of; and the errors of predictions that followed."
            .to_owned(),
    ];
    if drawn > 0 {
        let wasted = 1.0 - applied as f64 / drawn as f64;
        let sham = context.cohort.runs.iter().any(|run| {
            run.levels.get("pe_induction.observability").is_some_and(|level| level == "sham")
        });
        text.push(format!("{applied} of {drawn} shocks changed something."));
        if wasted > WASTED_MAX && !sham {
            findings.refuse(
                "wasted_shocks",
                Severity::Warning,
                "The assigned dose is not the dose that arrived.",
                format!(
                    "{:.0}% of the drawn shocks changed nothing (at most {:.0}% expected): effects \
                     of the assigned dose are diluted.",
                    100.0 * wasted,
                    100.0 * WASTED_MAX
                ),
            );
        }
    }
    let effective = effective_dose(context);
    if let Ok((_, sentence)) = &effective {
        text.push(sentence.clone());
    }
    let mut tables = vec![by_dose(context), errors_by_field(context)];
    match effective {
        Ok((table, _)) => tables.push(table),
        Err(error) => text.push(format!("No estimate by effective dose: {error}.")),
    }
    let mut figures = vec![asked_and_applied(context)];
    match response(context) {
        Ok((figure, sentence)) => {
            figures.push(figure);
            text.push(sentence);
        }
        Err(error) => text.push(format!("No dose-response curve: {error}.")),
    }
    findings.sections.push(Section {
        id: "dose".into(),
        title: "Dose and manipulation check".into(),
        text,
        tables,
        figures,
    });
}

/// Share crashed along the dose that arrived, and where it tips.
fn response(context: &StudyContext<'_>) -> Result<(Figure, String), crate::AnalysisError> {
    let runs = &context.cohort.runs;
    let arrived: Vec<f64> = runs.iter().map(|run| rate(run)).collect();
    let crashed: Vec<f64> = runs.iter().map(|run| run.crash_cause().into()).collect();
    let options = DoseResponseOptions {
        kind: ResponseKind::Probability,
        knots: 4,
        points: 61,
        bootstrap: context.bootstrap(),
    };
    let found = dose_response(&arrived, &crashed, context.cohort.worlds(), &options)?;
    let place = |point: &TippingPoint| {
        let interval = point
            .interval
            .map_or(String::new(), |i| format!(" (95% interval {:.1} to {:.1})", i.low, i.high));
        let edge = if point.at_edge { ", at the edge of the data" } else { "" };
        format!("{:.1}{interval}{edge}", point.dose)
    };
    let mut sentence = String::from("Along the dose that arrived");
    match (&found.halfway, &found.steepest) {
        (Some(halfway), Some(steepest)) => sentence.push_str(&format!(
            ", the share that crash is halfway at {} shocks in 100 steps and rises fastest at {}",
            place(halfway),
            place(steepest)
        )),
        _ => sentence.push_str(" the share that crash does not tip"),
    }
    if let Some(p) = found.p_flat {
        sentence.push_str(&format!("; that the curve is flat: p {}", p_text(p)));
    }
    sentence.push('.');
    let curve = found.curve.iter();
    let line = curve.clone().map(|point| (point.dose, point.response)).collect();
    let band = curve.map(|point| (point.dose, point.interval.low, point.interval.high)).collect();
    let figure = Figure {
        id: "dose_response".into(),
        title: "Share of runs that crash against the dose that arrived".into(),
        caption: "Shocks up to the event. Restricted cubic spline on the logit scale, not forced \
                  to rise; pointwise band robust by world."
            .into(),
        alt: sentence.clone(),
        x: Axis::linear("shocks in 100 steps that changed something"),
        y: Axis::linear("share that crash").from_to(0.0, 1.0),
        layers: vec![
            Layer::Band { series: "share that crash".into(), points: band, stepped: false },
            Layer::Line { series: "share that crash".into(), points: line, dashed: false },
        ],
        at_risk: None,
        command: context.export("runs", "csv"),
    };
    Ok((figure, sentence))
}

fn applied_shocks(run: &ObservedRun) -> u64 {
    run.shocks.applied.iter().sum()
}

/// Shocks that changed something up to the event, per 100 steps. Afterwards a crashed agent may do
/// nothing that shocks could change: counted to the end, crashes would seem to come with few
/// shocks.
fn rate(run: &ObservedRun) -> f64 {
    100.0 * run.at(run.end_step).dose() / run.end_step.max(1) as f64
}

fn final_exposure(run: &ObservedRun) -> f64 {
    run.at(run.steps).exposure
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn by_dose(context: &StudyContext<'_>) -> Table {
    let mut columns = vec![
        ("p_shock".to_owned(), "p(shock)".to_owned(), Format::Digits(3)),
        ("runs".into(), "runs".into(), Format::Whole),
        ("drawn".into(), "drawn a run".into(), Format::Decimals(1)),
        ("applied".into(), "changed something".into(), Format::Decimals(1)),
        ("told".into(), "told".into(), Format::Decimals(1)),
    ];
    for kind in SHOCK_TYPES {
        columns.push((format!("applied_{kind}"), kind.into(), Format::Decimals(1)));
    }
    columns.extend([
        ("exposure".into(), "errors a run".into(), Format::Decimals(1)),
        ("induced".into(), "of them by shocks".into(), Format::Decimals(1)),
    ]);
    let borrowed: Vec<(&str, &str, Format)> = columns
        .iter()
        .map(|(name, label, format)| (name.as_str(), label.as_str(), *format))
        .collect();
    let mut sheet = table("t2_dose", "Shocks and accumulated errors by assigned dose", &borrowed);
    for dose in context.doses() {
        let cohort = context.cohort.of_dose(dose);
        let of =
            |value: &dyn Fn(&ObservedRun) -> f64| mean(cohort.runs.iter().map(|run| value(run)));
        let mut row: Vec<Value> = vec![
            dose.into(),
            cohort.runs.len().into(),
            of(&|run| run.shocks.drawn.iter().sum::<u64>() as f64).into(),
            of(&|run| applied_shocks(run) as f64).into(),
            of(&|run| run.shocks.told.iter().sum::<u64>() as f64).into(),
        ];
        for kind in 0..SHOCK_TYPES.len() {
            row.push(of(&|run| run.shocks.applied[kind] as f64).into());
        }
        row.push(of(&final_exposure).into());
        row.push(of(&|run| run.at(run.steps).induced).into());
        sheet.rows.push(row);
    }
    sheet.notes.push("Means over runs at risk, over all their steps.".into());
    sheet
}

/// Mean error of each card field by dose, and its slope.
fn errors_by_field(context: &StudyContext<'_>) -> Table {
    let doses = context.doses();
    let heads: Vec<String> = doses.iter().map(|dose| dose_label(*dose)).collect();
    let names: Vec<String> = doses.iter().map(|dose| format!("error_{dose}")).collect();
    let mut columns = vec![("field", "field", Format::Text)];
    columns
        .extend(names.iter().zip(&heads).map(|(n, h)| (n.as_str(), h.as_str(), Format::Digits(3))));
    columns.extend([
        ("slope", "change for 0.1", Format::Digits(3)),
        ("lower", "lower", Format::Digits(3)),
        ("upper", "upper", Format::Digits(3)),
        ("p", "p", Format::P),
    ]);
    let caption = "Mean prediction error by card field and assigned dose";
    let mut sheet = table("t2_errors", caption, &columns);
    let runs = &context.cohort.runs;
    let fields: BTreeSet<&String> =
        runs.iter().flat_map(|run| run.mean_errors.iter().map(|(field, _)| field)).collect();
    for field in fields {
        let error = |run: &ObservedRun| {
            run.mean_errors.iter().find(|(name, _)| name == field).map(|(_, error)| *error)
        };
        let mut row: Vec<Value> = vec![field.clone().into()];
        for dose in &doses {
            let at = runs.iter().filter(|run| run.p_shock == *dose);
            row.push(mean(at.filter_map(|run| error(run))).into());
        }
        let (mut outcome, mut dose, mut worlds) = (Vec::new(), Vec::new(), Vec::new());
        for (run, world) in runs.iter().zip(context.cohort.worlds()) {
            if let Some(error) = error(run) {
                outcome.push(error);
                dose.push(run.p_shock / DOSE_UNIT);
                worlds.push(*world);
            }
        }
        let slope = Covariates::from_columns(vec![("p_shock".into(), dose)])
            .and_then(|covariates| ols(&outcome, &covariates, &worlds, context.options.level));
        let term = slope.as_ref().ok().and_then(|fit| fit.terms.get(1));
        row.extend([
            term.map(|term| term.estimate).into(),
            term.map(|term| term.interval.low).into(),
            term.map(|term| term.interval.high).into(),
            term.map(|term| term.p).into(),
        ]);
        sheet.rows.push(row);
    }
    sheet.notes.push("Slopes by least squares, errors robust by world.".into());
    sheet
}

/// Share crashed against the dose that arrived, with the assigned one as instrument.
fn effective_dose(context: &StudyContext<'_>) -> Result<(Table, String), crate::AnalysisError> {
    let runs = &context.cohort.runs;
    let crashed: Vec<f64> = runs.iter().map(|run| run.crash_cause().into()).collect();
    let arrived: Vec<f64> = runs.iter().map(|run| rate(run) / 10.0).collect();
    let assigned = runs.iter().map(|run| run.p_shock).collect();
    let instruments = Covariates::from_columns(vec![("p_shock".into(), assigned)])?;
    let fit = two_stage_least_squares(
        &crashed,
        ("effective_dose", &arrived),
        &instruments,
        &Covariates::default(),
        context.cohort.worlds(),
        context.options.level,
    )?;
    let columns = [
        ("term", "term", Format::Text),
        ("estimate", "change of the share crashed", Format::Digits(3)),
        ("se", "s.e.", Format::Digits(3)),
        ("lower", "lower", Format::Digits(3)),
        ("upper", "upper", Format::Digits(3)),
        ("p", "p", Format::P),
        ("first_stage_f", "F of the first stage", Format::Decimals(1)),
    ];
    let caption = "Secondary: share crashed by the dose that arrived (10 shocks in 100 steps), with \
                   the assigned dose as instrument";
    let mut sheet = table("t2_effective", caption, &columns);
    for term in &fit.terms {
        sheet.rows.push(vec![
            term.name.clone().into(),
            term.estimate.into(),
            term.se.into(),
            term.interval.low.into(),
            term.interval.high.into(),
            term.p.into(),
            fit.first_stage.f.into(),
        ]);
    }
    sheet.notes.extend(fit.warnings.iter().map(|warning| warning.text.clone()));
    let term = &fit.terms[1];
    let sentence = format!(
        "Secondary, by the dose that arrived (two-stage least squares, the assigned dose as \
         instrument): 10 more shocks in 100 steps change the share of runs that crash by {:+.0} \
         percentage points ({:+.0} to {:+.0}). The headline is the assigned dose.",
        100.0 * term.estimate,
        100.0 * term.interval.low,
        100.0 * term.interval.high
    );
    Ok((sheet, sentence))
}

/// Shocks drawn, and shocks that changed something.
fn asked_and_applied(context: &StudyContext<'_>) -> Figure {
    let mut points = Vec::new();
    let (mut asked, mut applied) = (Vec::new(), Vec::new());
    for dose in context.doses() {
        let cohort = context.cohort.of_dose(dose);
        points.extend(cohort.runs.iter().map(|run| (dose, rate(run))));
        asked.push((dose, 100.0 * dose));
        applied.push((dose, mean(cohort.runs.iter().map(|run| rate(run)))));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    let alt = applied.iter().zip(&asked).map(|((dose, arrived), (_, asked))| {
        format!("at {} {arrived:.1} of {asked:.0} asked", dose_label(*dose))
    });
    let alt = format!(
        "Shocks in 100 steps that changed something: {}.",
        alt.collect::<Vec<_>>().join(", ")
    );
    Figure {
        id: "dose_arrived".into(),
        title: "Dose asked and dose arrived".into(),
        caption: "Each point is a run; the dashed line is what was asked, the full line the mean \
                  of what changed something."
            .into(),
        alt,
        x: Axis::linear("p(shock)"),
        y: Axis::linear("shocks in 100 steps"),
        layers: vec![
            Layer::Points { series: "runs".into(), points },
            Layer::Line { series: "asked".into(), points: asked, dashed: true },
            Layer::Line { series: "arrived, mean".into(), points: applied, dashed: false },
        ],
        at_risk: None,
        command: context.export("runs", "csv"),
    }
}
