//! Whether shocks reach the agent: replies of runs in the same world that differ in the dose alone.

use crate::error::ExperimentError;
use results::{RunRecord, StepRow, Store};
use serde_json::Value;
use std::collections::BTreeMap;

/// Maximum number of runs whose logs are read for the comparison.
const RUNS_MAX: usize = 64;
/// Keys that have no effect without shocks, so that a control run pairs with every level of them.
const DOSE_KEYS: [&str; 4] = [
    "pe_induction.p_shock",
    "pe_induction.pe_mag",
    "pe_induction.pe_type_mix",
    "pe_induction.observability",
];

/// Replies of paired runs at the same steps, from the first applied shock of either on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairedReplies {
    pub compared: u64,
    pub differing: u64,
}

/// A run of a model with what it is paired by.
struct PairedRun {
    record: RunRecord,
    rows: Vec<StepRow>,
}

/// Compares the replies of all pairs of committed runs of models that share their world and draw
/// and all settings but the dose. `None` if there are no such pairs, or more than a few dozen runs.
///
/// # Errors
/// A run cannot be read.
pub fn paired_replies(store: &Store) -> Result<Option<PairedReplies>, ExperimentError> {
    let folders = store.runs()?;
    if folders.len() > RUNS_MAX {
        return Ok(None);
    }
    let mut groups: BTreeMap<String, Vec<PairedRun>> = BTreeMap::new();
    for folder in folders {
        let Some(record) = folder.committed()? else { continue };
        if record.design.is_some() && record.cell.get("agent.policy") == Some(&Value::from("model"))
        {
            let rows = folder.rows()?;
            groups.entry(pairing(&record)).or_default().push(PairedRun { record, rows });
        }
    }
    let mut total = PairedReplies::default();
    for runs in groups.values() {
        for (index, one) in runs.iter().enumerate() {
            let others = runs[index + 1..].iter().filter(|other| dose(one) != dose(other));
            others.for_each(|other| total.add(one, other));
        }
    }
    Ok((total.compared > 0).then_some(total))
}

/// Everything that two runs have in common if they differ in the dose alone.
fn pairing(record: &RunRecord) -> String {
    let shared: BTreeMap<&String, &Value> =
        record.cell.iter().filter(|(key, _)| !DOSE_KEYS.contains(&key.as_str())).collect();
    format!("{:?} {} {}", shared, record.seed, record.draw)
}

fn dose(run: &PairedRun) -> Option<&Value> {
    run.record.cell.get(DOSE_KEYS[0])
}

impl PairedReplies {
    fn add(&mut self, one: &PairedRun, other: &PairedRun) {
        let applied = |row: &StepRow| row.dose.is_some_and(|dose| dose.applied != [0; 4]);
        let first_shock = |run: &PairedRun| run.rows.iter().position(applied);
        let Some(first) = [one, other].into_iter().filter_map(first_shock).min() else { return };
        for (a, b) in one.rows.iter().zip(&other.rows).skip(first) {
            self.compared += 1;
            self.differing += u64::from(a.reply != b.reply);
        }
    }
}
