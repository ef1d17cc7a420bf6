//! Exposure before a crash, what agents did before it, and the course of single runs.

use super::context::{Findings, StudyContext};
use super::run::{Behavior, ObservedRun, RunEnd};
use super::sheet::table;
use crate::document::{Axis, Figure, Format, Layer, Section, Table, Value};
use crate::inference::taxonomy;
use std::collections::BTreeMap;

/// Steps before the onset that the aligned figure shows.
const BEFORE: u64 = 150;
/// Most single runs in a figure.
const LINES_MAX: usize = 200;
const SWIMLANES_MAX: usize = 60;
/// Most crashes that are clustered; more are thinned out evenly.
const CLUSTERED_MAX: usize = 2000;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let crashed: Vec<&ObservedRun> =
        context.cohort.runs.iter().copied().filter(|run| run.crashed()).collect();
    let mut section = Section {
        id: "trajectories".into(),
        title: "Courses of runs".into(),
        figures: vec![swimlanes(context)],
        ..Section::default()
    };
    if !crashed.is_empty() {
        section.figures.insert(0, aligned(context, &crashed));
        match kinds_of_crash(&crashed) {
            Ok((table, sentence)) => {
                section.text.push(sentence);
                section.tables.push(table);
            }
            Err(error) => section.text.push(format!("Crashes are not clustered: {error}.")),
        }
    }
    findings.sections.push(section);
}

/// Every n-th item, so that at most `most` remain.
fn thinned<T: Copy>(items: &[T], most: usize) -> Vec<T> {
    let step = items.len().div_ceil(most).max(1);
    items.iter().copied().step_by(step).collect()
}

/// Sum and number of exposures of crashes, and of runs at risk then.
type AlignedSums = (f64, f64, f64, f64);

/// Exposure by the distance from the onset: single runs, their mean, and the mean of runs that were
/// at risk at the same step in the same cell and did not crash then.
fn aligned(context: &StudyContext<'_>, crashed: &[&ObservedRun]) -> Figure {
    let offsets: Vec<u64> = (0..=BEFORE).rev().step_by(5).collect();
    let mut layers = Vec::new();
    for run in thinned(crashed, LINES_MAX) {
        let known = offsets.iter().filter(|back| **back <= run.end_step);
        let points: Vec<(f64, f64)> =
            known.map(|back| (-(*back as f64), run.at(run.end_step - back).exposure)).collect();
        layers.push(Layer::Line { series: "single crashes".into(), points, dashed: false });
    }
    let mut cells: BTreeMap<(&str, u64), Vec<&ObservedRun>> = BTreeMap::new();
    for run in &context.cohort.runs {
        cells.entry((&run.model, run.p_shock.to_bits())).or_default().push(run);
    }
    let mut sums = vec![(0.0, 0.0, 0.0, 0.0); offsets.len()];
    for run in thinned(crashed, LINES_MAX) {
        let at = run.end_step;
        let others: Vec<&&ObservedRun> = cells[&(run.model.as_str(), run.p_shock.to_bits())]
            .iter()
            .filter(|other| other.entry.is_some_and(|entry| entry < at) && other.end_step > at)
            .collect();
        for (back, sum) in offsets.iter().zip(&mut sums).filter(|(back, _)| **back <= at) {
            let before = at - back;
            (sum.0, sum.1) = (sum.0 + run.at(before).exposure, sum.1 + 1.0);
            if !others.is_empty() {
                let mean = others.iter().map(|other| other.at(before).exposure).sum::<f64>();
                (sum.2, sum.3) = (sum.2 + mean / others.len() as f64, sum.3 + 1.0);
            }
        }
    }
    let line = |sum: &dyn Fn(&AlignedSums) -> (f64, f64)| -> Vec<(f64, f64)> {
        let means = offsets.iter().zip(&sums).map(|(back, sums)| (-(*back as f64), sum(sums)));
        means.filter(|(_, (_, n))| *n > 0.0).map(|(x, (sum, n))| (x, sum / n)).collect()
    };
    let (of_crashes, of_others) = (line(&|s| (s.0, s.1)), line(&|s| (s.2, s.3)));
    let last = |line: &[(f64, f64)]| line.last().map_or(0.0, |point| point.1);
    let alt = format!(
        "Accumulated errors before the onset of a crash. At the onset, runs that crash have {:.1} on \
         average, runs at risk at the same step in the same cell {:.1}.",
        last(&of_crashes),
        last(&of_others)
    );
    layers.push(Layer::Line {
        series: "mean of crashes".into(),
        points: of_crashes,
        dashed: false,
    });
    layers.push(Layer::Line {
        series: "mean of runs at risk then".into(),
        points: of_others,
        dashed: true,
    });
    Figure {
        id: "exposure_at_onset".into(),
        title: "Accumulated errors before a crash".into(),
        caption: format!(
            "Each thin line is a run that crashes (at most {LINES_MAX}, evenly chosen); thick lines \
             are means of those, and of the runs of the same model and dose that were at risk at \
             the same step and did not crash."
        ),
        alt,
        x: Axis::linear("steps from the onset").from_to(-(BEFORE as f64), 0.0),
        y: Axis::linear("accumulated delivery errors"),
        layers,
        at_risk: None,
        command: context.export("steps", "parquet"),
    }
}

/// A named feature of what an agent did.
type Feature = (&'static str, fn(&Behavior) -> f64);

const FEATURES: [Feature; 8] = [
    ("successful calls", |b| b.success),
    ("reading calls", |b| b.reading),
    ("waiting", |b| b.waiting),
    ("most called tool", |b| b.most_called),
    ("no valid call", |b| b.no_call),
    ("growth of errors", |b| b.exposure_growth),
    ("shocks", |b| b.shocks),
    ("time since a shock", |b| b.since_shock),
];

/// Crashes clustered by what the agent did in the window up to the onset.
fn kinds_of_crash(crashed: &[&ObservedRun]) -> Result<(Table, String), crate::AnalysisError> {
    let known: Vec<&ObservedRun> =
        crashed.iter().copied().filter(|run| run.before_event.is_some()).collect();
    let known = thinned(&known, CLUSTERED_MAX);
    let behaviors: Vec<Behavior> = known.iter().filter_map(|run| run.before_event).collect();
    let features: Vec<Vec<f64>> =
        behaviors.iter().map(|b| FEATURES.iter().map(|(_, value)| value(b)).collect()).collect();
    let found = taxonomy(&features, 2..=6)?;
    let mut columns = vec![
        ("kind", "kind", Format::Whole),
        ("crashes", "crashes", Format::Whole),
        ("detectors", "detectors", Format::Text),
    ];
    columns.extend(FEATURES.iter().map(|(name, _)| (*name, *name, Format::Decimals(2))));
    columns.push(("exemplar", "exemplar", Format::Text));
    let caption = "Kinds of crash, by what the agent did in the 20 steps up to the onset";
    let mut sheet = table("taxonomy", caption, &columns);
    for (kind, medoid) in found.clustering.medoids.iter().enumerate() {
        let labels = found.clustering.labels.iter();
        let members: Vec<usize> =
            labels.enumerate().filter(|(_, label)| **label == kind).map(|(row, _)| row).collect();
        let mut detectors: BTreeMap<String, usize> = BTreeMap::new();
        for member in &members {
            *detectors.entry(known[*member].end.label()).or_default() += 1;
        }
        let mut detectors: Vec<(String, usize)> = detectors.into_iter().collect();
        detectors.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let names = detectors.iter().map(|(name, count)| format!("{name} {count}"));
        let mut row: Vec<Value> = vec![
            (kind + 1).into(),
            members.len().into(),
            names.collect::<Vec<_>>().join(", ").into(),
        ];
        for feature in 0..FEATURES.len() {
            let sum: f64 = members.iter().map(|member| features[*member][feature]).sum();
            row.push((sum / members.len() as f64).into());
        }
        row.push(known[*medoid].run_id.clone().into());
        sheet.rows.push(row);
    }
    sheet.notes.push(
        "Shares of the window's steps, but for the growth of errors and the number of shocks. The \
         exemplar is the run in the middle of its kind: vendomini replay shows it."
            .into(),
    );
    let sentence = format!(
        "{} crashes fall into {} kinds by the agent's behavior before them (k-medoids on \
         standardized shares, mean silhouette {:.2}; below .25 the kinds are hardly distinct).",
        known.len(),
        found.k,
        found.clustering.mean_silhouette
    );
    Ok((sheet, sentence))
}

/// The courses of single runs, ordered by their end.
fn swimlanes(context: &StudyContext<'_>) -> Figure {
    let mut runs = context.cohort.runs.clone();
    runs.sort_by_key(|run| (run.end_step, run.run_id.clone()));
    let runs = thinned(&runs, SWIMLANES_MAX);
    let mut bars: BTreeMap<String, Vec<(f64, f64, f64)>> = BTreeMap::new();
    let mut categories = Vec::new();
    for (row, run) in runs.iter().enumerate() {
        let entry = run.entry.unwrap_or(0) as f64;
        let row = row as f64;
        bars.entry("before the entry".into()).or_default().push((0.0, entry, row));
        let label = match &run.end {
            RunEnd::Horizon => "to the horizon".to_owned(),
            end => format!("to {}", end.label()),
        };
        bars.entry(label).or_default().push((entry, run.end_step as f64, row));
        categories.push(run.run_id.chars().take(8).collect());
    }
    let layers = bars.into_iter().map(|(series, points)| Layer::Bars { series, points });
    Figure {
        id: "swimlanes".into(),
        title: "Single runs".into(),
        caption: format!(
            "At most {SWIMLANES_MAX} runs, evenly chosen in the order of their ends: time before the \
             entry, and time at risk by what ended it."
        ),
        alt: format!("The time at risk of {} runs.", runs.len()),
        x: Axis::linear("step").from_to(0.0, context.horizon()),
        y: Axis::of_categories("run", categories),
        layers: layers.collect(),
        at_risk: None,
        command: context.export("runs", "csv"),
    }
}
