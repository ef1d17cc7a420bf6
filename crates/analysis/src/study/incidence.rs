//! T6: what ends runs. Crashes of each kind, ruin and expiry compete.

use super::context::{CAUSES, COMPETING, Findings, StudyContext, dose_label};
use super::run::{ObservedRun, RunEnd};
use super::sheet::table;
use crate::document::{Axis, Figure, Format, Layer, Section, Table, Value};
use crate::survival::cox::{self, CoxOptions};
use crate::survival::{RiskData, aalen_johansen};
use std::collections::BTreeSet;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let ends: BTreeSet<&RunEnd> = context.cohort.runs.iter().map(|run| &run.end).collect();
    let causes: Vec<&RunEnd> = ends.into_iter().filter(|end| **end != RunEnd::Horizon).collect();
    if causes.is_empty() {
        return;
    }
    let mut figures = Vec::new();
    let (controls, shocked): (Vec<f64>, Vec<f64>) =
        context.doses().into_iter().partition(|dose| *dose == 0.0);
    for (id, title, doses) in [
        ("incidence_shocked", "What ends runs with shocks", shocked),
        ("incidence_control", "What ends runs without shocks", controls),
    ] {
        figures.extend(stacked(context, &causes, id, title, &doses));
    }
    let specific = cause_specific(context, &causes, findings);
    findings.sections.push(Section {
        id: "incidence".into(),
        title: "What ends a run".into(),
        text: vec![
            "Aalen-Johansen estimates: the probability that a run has ended by each cause, while \
             the others compete. A Kaplan-Meier curve of one cause would count runs that another \
             one ended as if they could still crash."
                .into(),
        ],
        tables: vec![by_dose(context, &causes), specific],
        figures,
    });
}

/// The number of a cause: 0 for the horizon, which censors.
fn cause_of(causes: &[&RunEnd], run: &ObservedRun) -> u32 {
    causes.iter().position(|end| **end == run.end).map_or(0, |index| index as u32 + 1)
}

fn risk_at(context: &StudyContext<'_>, causes: &[&RunEnd], doses: &[f64]) -> RiskData {
    let cohort = context.cohort.filter(|run| doses.contains(&run.p_shock));
    RiskData { strata: Vec::new(), ..cohort.risk(|run| cause_of(causes, run)) }
}

fn by_dose(context: &StudyContext<'_>, causes: &[&RunEnd]) -> Table {
    let columns = [
        ("p_shock", "p(shock)", Format::Digits(3)),
        ("cause", "cause", Format::Text),
        ("runs", "runs", Format::Whole),
        ("ended", "ended so", Format::Whole),
        ("incidence", "by the horizon", Format::Percent),
        ("lower", "lower", Format::Percent),
        ("upper", "upper", Format::Percent),
    ];
    let mut sheet = table("t6_incidence", "Cumulative incidence by cause and dose", &columns);
    for dose in context.doses() {
        let risk = risk_at(context, causes, &[dose]);
        let incidence = aalen_johansen(&risk, context.options.level);
        for (number, end) in (1..).zip(causes) {
            let ended = risk.cause.iter().filter(|cause| **cause == number).count();
            let mut row: Vec<Value> =
                vec![dose.into(), end.label().into(), risk.rows().into(), ended.into()];
            let at = incidence.as_ref().ok().and_then(|incidence| {
                let last = *incidence.times.last()?;
                incidence.at(number, last)
            });
            let at = at.filter(|_| ended > 0);
            row.extend([
                at.map(|at| at.0).into(),
                at.map(|at| at.1).into(),
                at.map(|at| at.2).into(),
            ]);
            sheet.rows.push(row);
        }
    }
    sheet
}

fn cause_specific(
    context: &StudyContext<'_>,
    causes: &[&RunEnd],
    findings: &mut Findings,
) -> Table {
    let columns = [
        ("cause", "cause", Format::Text),
        ("events", "events", Format::Whole),
        ("hr", "HR of 0.1 of p(shock)", Format::Decimals(2)),
        ("lower", "lower", Format::Decimals(2)),
        ("upper", "upper", Format::Decimals(2)),
        ("p", "p", Format::P),
    ];
    let mut sheet =
        table("t6_cause_specific", "Cause-specific hazard ratios of the assigned dose", &columns);
    let covariates = context.cohort.assigned_dose();
    let risk = context.cohort.risk(|run| cause_of(causes, run));
    for (number, end) in (1..).zip(causes) {
        let options = CoxOptions { cause: Some(number), ..context.cox() };
        let fit = cox::fit(&risk, &covariates, &options).ok();
        let coefficient = fit.as_ref().and_then(|fit| fit.coefficients.first());
        findings.test(CAUSES, end.label(), coefficient.map(|c| c.p));
        sheet.rows.push(vec![
            end.label().into(),
            risk.cause.iter().filter(|cause| **cause == number).count().into(),
            coefficient.map(|c| c.hazard_ratio).into(),
            coefficient.map(|c| c.hazard_ratio_lower).into(),
            coefficient.map(|c| c.hazard_ratio_upper).into(),
            coefficient.map(|c| c.p).into(),
        ]);
    }
    sheet
}

/// Incidences of the causes, one above the other.
fn stacked(
    context: &StudyContext<'_>,
    causes: &[&RunEnd],
    id: &str,
    title: &str,
    doses: &[f64],
) -> Option<Figure> {
    let incidence = aalen_johansen(&risk_at(context, causes, doses), context.options.level).ok()?;
    let mut floor = vec![0.0; incidence.times.len()];
    let (mut layers, mut alt) = (Vec::new(), String::from("By the horizon:"));
    for (number, end) in (1..).zip(causes) {
        let Ok(cause) = incidence.cause(number) else { continue };
        let top: Vec<f64> = floor.iter().zip(&cause.incidence).map(|(a, b)| a + b).collect();
        let points = incidence.times.iter().zip(floor.iter().zip(&top));
        layers.push(Layer::Band {
            series: end.label(),
            points: points.map(|(time, (low, high))| (*time, *low, *high)).collect(),
            stepped: true,
        });
        let last = cause.incidence.last().copied().unwrap_or(0.0);
        alt.push_str(&format!(" {} {:.0}%;", end.label(), 100.0 * last));
        floor = top;
    }
    let labels: Vec<String> = doses.iter().map(|dose| dose_label(*dose)).collect();
    Some(Figure {
        id: id.into(),
        title: title.into(),
        caption: format!(
            "Share of runs that have ended, by cause; runs with {}.",
            labels.join(", ")
        ),
        alt: alt.trim_end_matches(';').to_owned() + ".",
        x: Axis::linear("step").from_to(0.0, context.horizon()),
        y: Axis::linear("ended").from_to(0.0, 1.0),
        layers,
        at_risk: None,
        command: context.command("runs", &format!("{COMPETING} --group p_shock --model aj")),
    })
}
