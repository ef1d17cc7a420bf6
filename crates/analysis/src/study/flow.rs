//! T1: what became of the runs, from the plan to the event, by cell.

use super::cohort::short;
use super::run::{ObservedRun, ObservedStudy, RunEnd};
use super::sheet::table;
use crate::document::{Format, Section, Table, Value};
use std::collections::{BTreeMap, BTreeSet};

const COUNTS: [(&str, &str, Format); 9] = [
    ("runs", "runs", Format::Whole),
    ("worlds", "worlds", Format::Whole),
    ("never_competent", "never competent", Format::Whole),
    ("at_risk", "at risk", Format::Whole),
    ("crashed", "crashed", Format::Whole),
    ("ruin", "ruin", Format::Whole),
    ("expired", "expired", Format::Whole),
    ("horizon", "horizon", Format::Whole),
    ("crashed_share", "crashed, of those at risk", Format::Percent),
];

pub fn section(studies: &[ObservedStudy]) -> Section {
    let runs: Vec<&ObservedRun> = studies.iter().flat_map(|study| &study.runs).collect();
    let mut text = Vec::new();
    for study in studies {
        let known = study.runs.len() + study.unreadable.len() + study.repeated;
        let unfinished = study.planned.saturating_sub(known);
        text.push(format!(
            "{}: {} runs planned, {} done, {} failed and left out, {} not yet done, {} unreadable \
             and left out; design {}.",
            study.name,
            study.planned,
            study.runs.len(),
            study.failed,
            unfinished.saturating_sub(study.failed),
            study.unreadable.len(),
            study.design
        ));
        if study.repeated > 0 {
            let (name, repeated) = (&study.name, study.repeated);
            text.push(format!(
                "{name}: {repeated} runs are in an earlier folder, and counted there."
            ));
        }
    }
    let mut tables = vec![by_dose(&runs), by_cell(&runs, studies)];
    if studies.iter().any(|study| !study.unreadable.is_empty()) {
        tables.push(unreadable(studies));
    }
    tables.push(provenance(studies));
    Section {
        id: "flow".into(),
        title: "Design and flow of runs".into(),
        text,
        tables,
        figures: Vec::new(),
    }
}

/// The numbers of [`COUNTS`].
fn counts(runs: &[&ObservedRun]) -> Vec<Value> {
    let count = |of: &dyn Fn(&ObservedRun) -> bool| runs.iter().filter(|run| of(run)).count();
    let ended = |end: &RunEnd| count(&|run| run.is_at_risk() && run.end == *end);
    let worlds: BTreeSet<u64> = runs.iter().map(|run| run.world).collect();
    let at_risk = count(&|run| run.is_at_risk());
    let crashed = count(&ObservedRun::crashed);
    vec![
        runs.len().into(),
        worlds.len().into(),
        count(&|run| run.entry.is_none()).into(),
        at_risk.into(),
        crashed.into(),
        ended(&RunEnd::Ruin).into(),
        ended(&RunEnd::Expired).into(),
        ended(&RunEnd::Horizon).into(),
        (crashed as f64 / at_risk as f64).into(),
    ]
}

fn by_dose(runs: &[&ObservedRun]) -> Table {
    let head = [("model", "model", Format::Text), ("p_shock", "p(shock)", Format::Digits(3))];
    let mut table =
        table("t1_flow", "Runs by model and assigned dose", &[&head[..], &COUNTS[..]].concat());
    let mut groups: BTreeMap<(&str, u64), Vec<&ObservedRun>> = BTreeMap::new();
    for run in runs {
        groups.entry((&run.model, run.p_shock.to_bits())).or_default().push(run);
    }
    for ((model, dose), runs) in groups {
        let mut row = vec![model.into(), f64::from_bits(dose).into()];
        row.extend(counts(&runs));
        table.rows.push(row);
    }
    table.notes.push(
        "A run is at risk from its entry: the step after its first twenty that belong to no primary \
         crash, once a supplier order was delivered. Runs that never get there are never competent, \
         and are no evidence about crashes."
            .into(),
    );
    table
}

fn by_cell(runs: &[&ObservedRun], studies: &[ObservedStudy]) -> Table {
    let factors: BTreeSet<&String> = studies.iter().flat_map(|study| &study.factors).collect();
    let heads: Vec<(String, String)> =
        factors.iter().map(|key| ((*key).clone(), short(key).to_owned())).collect();
    let mut columns: Vec<(&str, &str, Format)> =
        heads.iter().map(|(key, label)| (key.as_str(), label.as_str(), Format::Text)).collect();
    columns.extend(COUNTS);
    let mut table = table("t1_cells", "Runs by cell", &columns);
    let mut cells: BTreeMap<Vec<Option<&String>>, Vec<&ObservedRun>> = BTreeMap::new();
    for run in runs {
        let levels = factors.iter().map(|key| run.levels.get(*key)).collect();
        cells.entry(levels).or_default().push(run);
    }
    for (levels, runs) in cells {
        let mut row: Vec<Value> = levels.into_iter().map(|level| level.cloned().into()).collect();
        row.extend(counts(&runs));
        table.rows.push(row);
    }
    table
}

fn unreadable(studies: &[ObservedStudy]) -> Table {
    let columns = [
        ("study", "study", Format::Text),
        ("run_id", "run", Format::Text),
        ("reason", "reason", Format::Text),
    ];
    let mut table = table("unreadable", "Runs that cannot be read, and are left out", &columns);
    for study in studies {
        for (run, reason) in &study.unreadable {
            table.rows.push(vec![
                study.name.clone().into(),
                run.clone().into(),
                reason.clone().into(),
            ]);
        }
    }
    table
}

fn provenance(studies: &[ObservedStudy]) -> Table {
    let columns = [
        ("study", "study", Format::Text),
        ("name", "of", Format::Text),
        ("value", "value", Format::Text),
    ];
    let mut table = table("provenance", "Provenance", &columns);
    for study in studies {
        for (name, value) in &study.provenance {
            table.rows.push(vec![
                study.name.clone().into(),
                name.clone().into(),
                value.clone().into(),
            ]);
        }
    }
    table
}
