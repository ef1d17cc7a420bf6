//! The table that `run` prints when it finishes.

use crate::run_record::RunRecord;
use std::collections::{BTreeMap, BTreeSet};

/// The fields of a card whose mean errors the table shows, since design v2.
const FIELDS_SHOWN: [&str; 3] = ["delivery_days", "quantity", "success"];

/// One row of the closing table.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosingRow {
    pub run: String,
    /// Levels of the factors and index of the replicate, such as `p_shock=0.5 #0`.
    pub cell: String,
    pub steps: u64,
    pub orders_shipped: u64,
    pub net_worth: f64,
    /// Mean prediction error by kind; `None` if no error was known.
    pub mean_pe: BTreeMap<String, Option<f64>>,
    /// Type and onset step of the first crash.
    pub crash: Option<(String, u64)>,
    /// How the episode ended.
    pub outcome: String,
    pub tokens_per_s: Option<f64>,
}

impl ClosingRow {
    /// The row of a committed run; `factors` are the dotted keys whose values vary in the
    /// experiment.
    pub fn of(record: &RunRecord, factors: &[String]) -> Self {
        let short = |key: &String| key.rsplit('.').next().unwrap_or(key).to_string();
        let value = |key: &String| {
            record.cell.get(key).map(|v| v.to_string().trim_matches('"').to_string())
        };
        let cell = factors.iter().filter_map(|key| Some(format!("{}={}", short(key), value(key)?)));
        ClosingRow {
            run: record.run_id.clone(),
            cell: cell.chain([format!("#{}", record.replicate)]).collect::<Vec<_>>().join(" "),
            steps: record.steps,
            orders_shipped: record.orders_shipped,
            net_worth: record.net_worth,
            mean_pe: record.mean_pe.clone(),
            crash: record.crash.as_ref().map(|crash| (crash.kind.clone(), crash.onset_step)),
            outcome: record.outcome.clone(),
            tokens_per_s: record.timing.tokens_per_s(),
        }
    }
}

/// The table as text with aligned columns.
pub fn closing_table(rows: &[ClosingRow]) -> String {
    let known: BTreeSet<&String> = rows.iter().flat_map(|row| row.mean_pe.keys()).collect();
    let of_deliveries = FIELDS_SHOWN.map(String::from);
    // Since design v2 there are eight fields, more than a line holds.
    let kinds: Vec<String> = match known.iter().any(|name| *name == "delivery_days") {
        true => of_deliveries.to_vec(),
        false => known.into_iter().cloned().collect(),
    };
    let mut head: Vec<String> =
        ["run", "cell", "steps", "shipped", "net worth"].map(String::from).to_vec();
    head.extend(kinds.iter().map(|kind| format!("PE {kind}")));
    head.extend(["crash @ onset", "ended by", "tok/s"].map(String::from));
    let mut table = vec![head];
    table.extend(rows.iter().map(|row| cells(row, &kinds)));
    aligned(&table)
}

fn cells(row: &ClosingRow, kinds: &[String]) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.3}"));
    let mut cells = vec![
        row.run.get(..8).unwrap_or(&row.run).to_string(),
        row.cell.clone(),
        row.steps.to_string(),
        row.orders_shipped.to_string(),
        format!("{:.2}", row.net_worth),
    ];
    cells.extend(kinds.iter().map(|kind| number(row.mean_pe.get(kind).copied().flatten())));
    cells.push(
        row.crash.as_ref().map_or("-".to_string(), |(kind, onset)| format!("{kind} @ {onset}")),
    );
    cells.push(row.outcome.clone());
    cells.push(row.tokens_per_s.map_or("-".to_string(), |rate| format!("{rate:.1}")));
    cells
}

/// A table as lines with aligned columns.
pub fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        table.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    table.iter().map(line).collect()
}
