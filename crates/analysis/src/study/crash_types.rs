//! T8: which shocks come before which crashes, and which detectors fire together.

use super::context::{Findings, StudyContext};
use super::run::{ObservedRun, SHOCK_TYPES};
use super::sheet::table;
use super::survival::p_text;
use crate::document::{Axis, Figure, Format, Layer, Section, Table, Value};
use crate::inference::{ContingencyMethod, ContingencyOptions, contingency_test};
use std::collections::BTreeSet;

/// Tables of the same margins up to which an exact test enumerates all.
const TABLES_MAX: u64 = 1_000_000;

pub fn section(context: &StudyContext<'_>, findings: &mut Findings) {
    let crashed: Vec<&ObservedRun> =
        context.cohort.runs.iter().copied().filter(|run| run.crashed()).collect();
    if crashed.is_empty() {
        return;
    }
    let (sheet, sentence) = by_last_shock(context, &crashed);
    findings.sections.push(Section {
        id: "types".into(),
        title: "Shocks and crashes by type".into(),
        text: vec![sentence],
        tables: vec![sheet],
        figures: co_firing(context).into_iter().collect(),
    });
}

/// The type of the last shock that changed something before the crash; `none` without one.
fn last_shock(run: &ObservedRun) -> usize {
    let points = run.path.iter().filter(|point| point.step <= run.end_step);
    let (mut before, mut last) = ([0; 4], SHOCK_TYPES.len());
    for point in points {
        let grown = (0..SHOCK_TYPES.len()).find(|kind| point.shocks[*kind] > before[*kind]);
        (before, last) = (point.shocks, grown.unwrap_or(last));
    }
    last
}

fn by_last_shock(context: &StudyContext<'_>, crashed: &[&ObservedRun]) -> (Table, String) {
    let detectors: Vec<String> =
        crashed.iter().map(|run| run.end.label()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut counts = vec![vec![0_u64; detectors.len()]; SHOCK_TYPES.len() + 1];
    for run in crashed {
        let label = run.end.label();
        counts[last_shock(run)][detectors.partition_point(|known| *known < label)] += 1;
    }
    let mut columns = vec![("shock", "last shock", Format::Text)];
    columns.extend(detectors.iter().map(|d| (d.as_str(), d.as_str(), Format::Whole)));
    let caption = "Crashes by the last shock that changed something before them";
    let mut sheet = table("t8_types", caption, &columns);
    for (kind, counts) in SHOCK_TYPES.iter().chain(&["none"]).zip(&counts) {
        let row = counts.iter().map(|count| Value::from(*count));
        sheet.rows.push(std::iter::once(Value::from(*kind)).chain(row).collect());
    }
    let options = ContingencyOptions {
        tables_max: TABLES_MAX,
        draws: context.options.replicates,
        seed: context.options.seed,
    };
    let sentence = match contingency_test(&counts, &options) {
        Ok(test) => format!(
            "Association of the last shock and the kind of crash: chi-squared {:.2} with {} degrees \
             of freedom, p {} ({}), Cramér's V {:.2} (corrected {:.2}).",
            test.chi_square,
            test.df,
            p_text(test.p),
            match test.method {
                ContingencyMethod::ChiSquare => "chi-squared",
                ContingencyMethod::Exact => "exact, since some expected counts are below 5",
                ContingencyMethod::ExactByDraws => {
                    "exact by drawn tables, since some expected counts are below 5"
                }
            },
            test.cramers_v,
            test.cramers_v_corrected
        ),
        Err(error) => format!("The association of shocks and crashes cannot be tested: {error}."),
    };
    (sheet, sentence)
}

/// Of the runs in which one detector fired, the share in which another did.
fn co_firing(context: &StudyContext<'_>) -> Option<Figure> {
    let runs = &context.cohort.runs;
    let fired: Vec<BTreeSet<&str>> = runs
        .iter()
        .map(|run| run.crashes.iter().map(|crash| crash.detector.as_str()).collect())
        .collect();
    let detectors: Vec<&str> =
        fired.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    if detectors.len() < 2 {
        return None;
    }
    let mut points = Vec::new();
    for (row, first) in detectors.iter().enumerate() {
        let with_first: Vec<_> = fired.iter().filter(|set| set.contains(first)).collect();
        for (column, second) in detectors.iter().enumerate() {
            let both = with_first.iter().filter(|set| set.contains(second)).count();
            points.push((column as f64, row as f64, both as f64 / with_first.len() as f64));
        }
    }
    let names: Vec<String> = detectors.iter().map(|name| (*name).to_owned()).collect();
    Some(Figure {
        id: "co_firing".into(),
        title: "Detectors that fire in the same runs".into(),
        caption: "Of the runs in which the detector of a row fired, the share in which that of a \
                  column did, primary or not."
            .into(),
        alt: format!("Shares of runs in which pairs of {} detectors fired.", detectors.len()),
        x: Axis::of_categories("also fired", names.clone()),
        y: Axis::of_categories("fired", names),
        layers: vec![Layer::Cells { series: "share".into(), points }],
        at_risk: None,
        command: context.export("crashes", "csv"),
    })
}
