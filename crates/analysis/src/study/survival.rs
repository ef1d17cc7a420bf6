//! T3: survival by dose, and the mean time without a crash.

use super::cohort::Cohort;
use super::context::{ANY_CRASH, Findings, StudyContext, dose_label};
use super::run::ObservedRun;
use super::sheet::table;
use crate::document::{AtRisk, Axis, Figure, Format, Layer, Section, Severity, Table, Value};
use crate::survival::{SurvivalCurve, log_rank, restricted_mean, restricted_mean_difference};
use std::collections::BTreeSet;

/// Number of times below a figure at which runs at risk are counted.
const AT_RISK_TIMES: usize = 6;
/// Most models that have a figure each.
const MODELS_MAX: usize = 8;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let curves = curves(context, &context.cohort);
    let mut text = vec![
        "Time runs in steps. Runs enter when they are competent, and leave at the onset of the \
         first primary crash; runs that end otherwise are censored there. Kaplan-Meier estimates \
         with log-log bands."
            .to_owned(),
    ];
    match dose_log_rank(context) {
        Ok(sentence) => text.push(sentence),
        Err(why) => findings.refuse(
            "log_rank",
            Severity::Warning,
            "Whether the survival curves of the doses differ is not tested.",
            why,
        ),
    }
    let mut figures = Vec::new();
    if curves.iter().any(|(_, curve)| curve.is_ok()) {
        figures.push(km_figure(context, &context.cohort, &curves));
        figures.extend(by_model(context));
        figures.extend(log_hazard_figure(context, &curves));
    }
    findings.sections.push(Section {
        id: "survival".into(),
        title: "Survival by dose".into(),
        text,
        tables: vec![summary(context, &curves)],
        figures,
    });
}

type DoseCurve = (f64, Result<SurvivalCurve, crate::AnalysisError>);

/// A figure for each model, if there are a few.
fn by_model(context: &StudyContext<'_>) -> Vec<Figure> {
    let runs = &context.cohort.runs;
    let models: BTreeSet<&str> = runs.iter().map(|run| run.model.as_str()).collect();
    if !(2..=MODELS_MAX).contains(&models.len()) {
        return Vec::new();
    }
    let figure = |(number, model): (usize, &str)| {
        let cohort = context.cohort.filter(|run| run.model == model);
        let figure = km_figure(context, &cohort, &curves(context, &cohort));
        Figure {
            id: format!("km_by_dose_{number}"),
            title: format!("{}: {model}", figure.title),
            ..figure
        }
    };
    (1..).zip(models).map(figure).collect()
}

fn curves(context: &StudyContext<'_>, cohort: &Cohort<'_>) -> Vec<DoseCurve> {
    let curve = |dose: f64| (dose, cohort.of_dose(dose).survival_curve(context.options.level));
    context.doses().into_iter().map(curve).collect()
}

/// The stratified log-rank test of the doses, as a sentence.
fn dose_log_rank(context: &StudyContext<'_>) -> Result<String, String> {
    let doses = context.doses();
    let group = |run: &&ObservedRun| doses.partition_point(|dose| *dose < run.p_shock) as u32;
    let groups: Vec<u32> = context.cohort.runs.iter().map(group).collect();
    let test = log_rank(&context.cohort.crash_risk(), &groups).map_err(|e| e.to_string())?;
    Ok(format!(
        "Log-rank test of equal hazards at all doses, within strata of model and interface: \
         chi-squared {:.2} with {} degrees of freedom, p {}. It takes runs of one world as \
         independent; the Cox models below do not.",
        test.chi2,
        test.df,
        p_text(test.p)
    ))
}

/// A p-value in a sentence, with its sign.
pub fn p_text(p: f64) -> String {
    if p < 0.001 { "< .001".to_owned() } else { format!("= {p:.3}") }
}

fn summary(context: &StudyContext<'_>, curves: &[DoseCurve]) -> Table {
    let columns = [
        ("p_shock", "p(shock)", Format::Digits(3)),
        ("runs", "runs", Format::Whole),
        ("crashes", "crashes", Format::Whole),
        ("crashed_by_horizon", "crashed by the horizon", Format::Percent),
        ("crashed_lower", "lower", Format::Percent),
        ("crashed_upper", "upper", Format::Percent),
        ("median", "median step", Format::Whole),
        ("median_lower", "lower", Format::Whole),
        ("median_upper", "upper", Format::Whole),
        ("rmst", "mean steps without crash", Format::Decimals(1)),
        ("rmst_difference", "difference from control", Format::Decimals(1)),
        ("rmst_lower", "lower", Format::Decimals(1)),
        ("rmst_upper", "upper", Format::Decimals(1)),
        ("rmst_p", "p", Format::P),
    ];
    let mut sheet = table("t3_survival", "Survival by dose", &columns);
    let horizon = common_horizon(curves);
    let control = curves.iter().find(|(dose, curve)| *dose == 0.0 && curve.is_ok());
    for (dose, curve) in curves {
        let cohort = context.cohort.of_dose(*dose);
        let mut row: Vec<Value> =
            vec![(*dose).into(), cohort.runs.len().into(), cohort.crashes().into()];
        let Ok(curve) = curve else {
            row.resize(columns.len(), Value::None);
            sheet.rows.push(row);
            continue;
        };
        let at = horizon.and_then(|horizon| curve.at(horizon));
        row.push(at.map(|at| 1.0 - at.survival).into());
        row.push(at.map(|at| 1.0 - at.upper).into());
        row.push(at.map(|at| 1.0 - at.lower).into());
        let median = curve.median();
        row.extend([median.time.into(), median.lower.into(), median.upper.into()]);
        let mean = horizon.and_then(|horizon| restricted_mean(curve, horizon).ok());
        row.push(mean.map(|mean| mean.value).into());
        let difference = match (control, horizon) {
            (Some((_, Ok(of_control))), Some(horizon)) if *dose > 0.0 => {
                restricted_mean_difference(curve, of_control, horizon).ok()
            }
            _ => None,
        };
        row.extend([
            difference.map(|d| d.value).into(),
            difference.map(|d| d.lower).into(),
            difference.map(|d| d.upper).into(),
            difference.map(|d| d.p).into(),
        ]);
        sheet.rows.push(row);
    }
    if let Some(horizon) = horizon {
        sheet.notes.push(format!(
            "Shares and means up to step {horizon}, which all curves reach. Intervals take runs of \
             one world as independent."
        ));
    }
    sheet
}

/// The last time that every curve reaches.
fn common_horizon(curves: &[DoseCurve]) -> Option<f64> {
    let lasts = curves.iter().filter_map(|(_, curve)| curve.as_ref().ok()?.times.last().copied());
    lasts.min_by(f64::total_cmp)
}

fn km_figure(context: &StudyContext<'_>, of: &Cohort<'_>, curves: &[DoseCurve]) -> Figure {
    let mut layers = Vec::new();
    let mut at_risk = Vec::new();
    let times: Vec<f64> = (0..AT_RISK_TIMES)
        .map(|i| (context.horizon() * i as f64 / (AT_RISK_TIMES - 1) as f64).round())
        .collect();
    let mut alt = String::from("Share of runs without a crash by step. At the end:");
    for (dose, curve) in curves {
        let Ok(curve) = curve else { continue };
        let series = dose_label(*dose);
        let start = (curve.origin, 1.0);
        let points = curve.times.iter().copied().zip(curve.survival.iter().copied());
        layers.push(Layer::Steps {
            series: series.clone(),
            points: std::iter::once(start).chain(points).collect(),
        });
        let band = curve.times.iter().zip(curve.lower.iter().zip(&curve.upper));
        let band = band.filter(|(_, (low, high))| low.is_finite() && high.is_finite());
        layers.push(Layer::Band {
            series: series.clone(),
            points: band.map(|(time, (low, high))| (*time, *low, *high)).collect(),
            stepped: true,
        });
        at_risk.push((series.clone(), of.of_dose(*dose).crash_risk().at_risk(&times)));
        let last = curve.survival.last().copied().unwrap_or(1.0);
        alt.push_str(&format!(" {:.0}% at {series};", 100.0 * last));
    }
    Figure {
        id: "km_by_dose".into(),
        title: "Share of runs without a crash".into(),
        caption: "Kaplan-Meier estimates by assigned dose with 95% log-log bands; below, runs at \
                  risk."
            .into(),
        alt: alt.trim_end_matches(';').to_owned() + ".",
        x: Axis::linear("step").from_to(0.0, context.horizon()),
        y: Axis::linear("without a crash").from_to(0.0, 1.0),
        layers,
        at_risk: Some(AtRisk { times, rows: at_risk }),
        command: context.command("runs", &format!("{ANY_CRASH} --group p_shock --model km")),
    }
}

/// Log of the cumulative hazard against log time: parallel lines mean proportional hazards.
fn log_hazard_figure(context: &StudyContext<'_>, curves: &[DoseCurve]) -> Option<Figure> {
    let mut layers = Vec::new();
    for (dose, curve) in curves {
        let Ok(curve) = curve else { continue };
        let hazard = curve.times.iter().zip(&curve.survival).zip(&curve.events);
        let hazard = hazard
            .filter(|((_, survival), events)| **events > 0 && **survival > 0.0 && **survival < 1.0);
        let points: Vec<(f64, f64)> =
            hazard.map(|((time, survival), _)| (*time, -survival.ln())).collect();
        if !points.is_empty() {
            layers.push(Layer::Steps { series: dose_label(*dose), points });
        }
    }
    if layers.is_empty() {
        return None;
    }
    Some(Figure {
        id: "log_hazard".into(),
        title: "Cumulative hazard, on log axes".into(),
        caption: "Where hazards are proportional, the curves are parallel. Effects that \
                  accumulate bend them apart, which a Cox model on the dose alone cannot show."
            .into(),
        alt: "Cumulative hazard of a crash by step for each dose, both on log axes.".into(),
        x: Axis::log("step"),
        y: Axis::log("cumulative hazard"),
        layers,
        at_risk: None,
        command: context.command("runs", &format!("{ANY_CRASH} --group p_shock --model km")),
    })
}
