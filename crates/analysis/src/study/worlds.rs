//! T9 to T11: how much worlds differ, how time to crash scales with model size, and whether stated
//! confidence is right.

use super::context::{Findings, StudyContext};
use super::run::{ObservedRun, RunMeasure};
use super::sheet::table;
use crate::document::{Axis, Figure, Format, Layer, Section, Table, Value};
use crate::inference::{CensoredTimes, icc_binary, icc_continuous, scaling_law, wilson};
use std::collections::BTreeMap;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    findings.sections.push(Section {
        id: "worlds".into(),
        title: "How much worlds differ".into(),
        text: vec![
            "Runs of one world are alike, so that runs are fewer observations than they seem. The \
             intraclass correlation is the share of variance that worlds account for."
                .into(),
        ],
        tables: vec![variance_table(context)],
        figures: Vec::new(),
    });
    if let Some(section) = scaling(context) {
        findings.sections.push(section);
    }
    if let Some(section) = calibration(context) {
        findings.sections.push(section);
    }
}

fn variance_table(context: &StudyContext<'_>) -> Table {
    let columns = [
        ("what", "of", Format::Text),
        ("icc", "intraclass correlation", Format::Decimals(3)),
        ("icc_lower", "lower", Format::Decimals(3)),
        ("icc_upper", "upper", Format::Decimals(3)),
        ("world_sd", "SD of worlds", Format::Digits(3)),
        ("p", "p that worlds do not differ", Format::P),
        ("note", "note", Format::Text),
    ];
    let mut sheet = table("t9_worlds", "Differences between worlds", &columns);
    let worlds = context.cohort.worlds();
    let options = context.bootstrap();
    let crashed: Vec<bool> = context.cohort.runs.iter().map(|run| run.crashed()).collect();
    let failed = |what: &str, error: crate::AnalysisError| {
        let mut row: Vec<Value> = vec![what.into()];
        row.resize(columns.len() - 1, Value::None);
        row.push(format!("not estimable: {error}").into());
        row
    };
    sheet.rows.push(match icc_binary(&crashed, worlds, &options) {
        Ok(found) => vec![
            "crashing (log odds)".into(),
            found.icc.into(),
            found.icc_interval.map(|i| i.low).into(),
            found.icc_interval.map(|i| i.high).into(),
            found.world_sd.into(),
            found.p.into(),
            Value::None,
        ],
        Err(error) => failed("crashing (log odds)", error),
    });
    let measures: [RunMeasure; 2] = [
        ("accumulated errors", |run| run.at(run.steps).exposure),
        ("net worth at the end", |run| run.net_worth),
    ];
    for (what, value) in measures {
        let values: Vec<f64> = context.cohort.runs.iter().map(|run| value(run)).collect();
        sheet.rows.push(match icc_continuous(&values, worlds, &options) {
            Ok(found) => vec![
                what.into(),
                found.icc.into(),
                found.icc_interval.map(|i| i.low).into(),
                found.icc_interval.map(|i| i.high).into(),
                found.between_sd.into(),
                found.p.into(),
                Value::None,
            ],
            Err(error) => failed(what, error),
        });
    }
    sheet
}

/// Time to crash against the number of parameters; `None` with fewer than two sizes.
fn scaling(context: &StudyContext<'_>) -> Option<Section> {
    let cohort = context.cohort.filter(|run| run.parameters_b.is_some());
    let sizes: Vec<f64> = cohort.runs.iter().filter_map(|run| run.parameters_b).collect();
    if sizes.iter().all(|size| Some(size) == sizes.first()) {
        return None;
    }
    let since = |run: &&ObservedRun| (run.end_step - run.entry.unwrap_or(0)) as f64;
    let times: Vec<f64> = cohort.runs.iter().map(since).collect();
    let observed: Vec<bool> = cohort.runs.iter().map(|run| run.crashed()).collect();
    let data = CensoredTimes { times: &times, observed: &observed };
    let columns = [
        ("parameters_b", "parameters (10⁹)", Format::Digits(3)),
        ("median", "median steps at risk before a crash", Format::Decimals(0)),
        ("lower", "lower", Format::Decimals(0)),
        ("upper", "upper", Format::Decimals(0)),
    ];
    let mut sheet = table("t10_scaling", "Time to crash by model size", &columns);
    let mut section =
        Section { id: "scaling".into(), title: "Model size".into(), ..Section::default() };
    match scaling_law(data, &sizes, cohort.worlds(), &context.bootstrap()) {
        Ok(fit) => {
            let ratio = &fit.tenfold_ratio;
            section.text.push(format!(
                "A model ten times as large takes {:.2} times as long to crash ({:.2} to {:.2}; \
                 lognormal regression with censored times, bootstrap over worlds). Sizes are taken \
                 from names, and models differ in more than size.",
                ratio.estimate, ratio.percentile.low, ratio.percentile.high
            ));
            for (size, median) in &fit.medians {
                sheet.rows.push(vec![
                    (*size).into(),
                    median.estimate.into(),
                    median.percentile.low.into(),
                    median.percentile.high.into(),
                ]);
            }
        }
        Err(error) => section.text.push(format!("Not estimable: {error}.")),
    }
    section.tables.push(sheet);
    Some(section)
}

/// Stated confidence against what was right; `None` if no card states one.
fn calibration(context: &StudyContext<'_>) -> Option<Section> {
    // By tenth of confidence: cards, their confidences, those that were right.
    let mut bins: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    for bin in context.cohort.runs.iter().flat_map(|run| &run.calibration) {
        let tenth = (bin.confidence * 10.0).floor().min(9.0) as u32;
        let sums = bins.entry(tenth).or_default();
        let cards = bin.cards as f64;
        *sums = (sums.0 + cards, sums.1 + cards * bin.confidence, sums.2 + cards * bin.right);
    }
    let total: f64 = bins.values().map(|sums| sums.0).sum();
    if total == 0.0 {
        return None;
    }
    let columns = [
        ("confidence", "stated confidence", Format::Decimals(2)),
        ("right", "right", Format::Decimals(2)),
        ("lower", "lower", Format::Decimals(2)),
        ("upper", "upper", Format::Decimals(2)),
        ("cards", "cards", Format::Whole),
    ];
    let mut sheet = table("t11_calibration", "Confidence of prediction cards", &columns);
    let (mut points, mut gap) = (Vec::new(), 0.0);
    for (cards, confidence, right) in bins.into_values() {
        let (stated, share) = (confidence / cards, right / cards);
        gap += (stated - share).abs() * cards / total;
        let interval = wilson(right.round() as u64, cards as u64, context.options.level);
        let interval = interval.ok().map(|found| found.interval);
        sheet.rows.push(vec![
            stated.into(),
            share.into(),
            interval.map(|i| i.low).into(),
            interval.map(|i| i.high).into(),
            Value::Number(cards),
        ]);
        points.push((stated, share));
    }
    let sentence = format!(
        "Stated confidence of success differs from the share that was right by {gap:.2} on average, \
         over {total:.0} cards."
    );
    let figure = Figure {
        id: "calibration".into(),
        title: "Confidence and correctness".into(),
        caption: "Cards by tenth of stated confidence; on the dashed line, confidence is right."
            .into(),
        alt: sentence.clone(),
        x: Axis::linear("stated confidence").from_to(0.0, 1.0),
        y: Axis::linear("share right").from_to(0.0, 1.0),
        layers: vec![
            Layer::Line {
                series: "calibrated".into(),
                points: vec![(0.0, 0.0), (1.0, 1.0)],
                dashed: true,
            },
            Layer::Points { series: "cards".into(), points },
        ],
        at_risk: None,
        command: context.export("runs", "csv"),
    };
    Some(Section {
        id: "calibration".into(),
        title: "Calibration".into(),
        text: vec![sentence],
        tables: vec![sheet],
        figures: vec![figure],
    })
}
