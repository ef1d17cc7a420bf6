//! Tables of an experiment's results, with fixed columns and types. Each column has one definition,
//! from which its file schema, its documentation and its values are made.
//!
//! `columns` defines columns; `run_keys` the columns that begin each table, and the copies of
//! control runs; `series` what accumulates over the rows of a run. One file per table: `runs`,
//! `steps`, `pairs`, `shocks`, `crashes`, `intervals`, and `rows`, the rows as stored.

mod columns;
mod crashes;
mod intervals;
mod observed;
mod pairs;
mod rows;
mod run_keys;
mod runs;
mod series;
mod shocks;
mod simulated;
mod steps;

pub use columns::ColumnDoc;
pub use observed::{observed_study, simulated_study};
pub(crate) use run_keys::{factor_levels, factors};
pub use simulated::simulate;

use crate::error::ExperimentError;
use columns::ExportColumn;
use results::{
    CellValue, ExperimentRecord, ExportFormat, ResultsError, RunFolder, RunRecord, Sheet,
    SheetColumn, StepOutline, StepRow, Store,
};
use run_keys::{ControlLevels, RunKeys, StudyKeys};
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

/// A table that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    Runs,
    Steps,
    Pairs,
    Shocks,
    Crashes,
    Intervals,
    Rows,
}

/// The columns of a table, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableDoc {
    pub name: &'static str,
    /// What a row of the table is.
    pub about: &'static str,
    pub columns: Vec<ColumnDoc>,
}

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    pub table: ExportTable,
    pub format: ExportFormat,
    /// Whether the table `steps` has prompts, replies, arguments and cards.
    pub with_text: bool,
    /// Whether a run without shocks is written for each combination of the study's shock levels.
    pub expand_controls: bool,
}

/// Numbers of exported runs and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSummary {
    /// Number of exported runs.
    pub runs: usize,
    pub rows: usize,
    /// Number of uncommitted runs, which are not exported.
    pub left_out: usize,
}

impl ExportTable {
    pub const ALL: [ExportTable; 7] = [
        ExportTable::Runs,
        ExportTable::Steps,
        ExportTable::Pairs,
        ExportTable::Shocks,
        ExportTable::Crashes,
        ExportTable::Intervals,
        ExportTable::Rows,
    ];
    const NAMES: &str = "runs, steps, pairs, shocks, crashes, intervals, rows";

    pub fn name(self) -> &'static str {
        match self {
            ExportTable::Runs => "runs",
            ExportTable::Steps => "steps",
            ExportTable::Pairs => "pairs",
            ExportTable::Shocks => "shocks",
            ExportTable::Crashes => "crashes",
            ExportTable::Intervals => "intervals",
            ExportTable::Rows => "rows",
        }
    }

    fn about(self) -> &'static str {
        match self {
            ExportTable::Runs => "One row per run, from its record.",
            ExportTable::Steps => "One row per step.",
            ExportTable::Pairs => "One row per scored field of a prediction card.",
            ExportTable::Shocks => "One row per drawn shock.",
            ExportTable::Crashes => "One row per crash, primary or not.",
            ExportTable::Intervals => {
                "Time at risk, for Cox models with covariates that vary in time: one row per \
                 interval (start, stop] of steps, from the entry to the event. The covariates are \
                 known before the interval. A new interval begins when an exposure, a dose, a \
                 lagged value or history_dropped changes, and after 10 steps, since the leaky sum \
                 decays in every step. Runs of design v1, and runs without an entry, have none."
            }
            ExportTable::Rows => "The rows of the logs as stored, one per step.",
        }
    }

    /// The table's columns, including those of `--with-text`.
    pub fn describe(self) -> TableDoc {
        let keys = || docs(run_keys::columns());
        let columns = match self {
            ExportTable::Runs => [keys(), docs(runs::columns())].concat(),
            ExportTable::Steps => {
                [keys(), docs(steps::columns()), docs(steps::text_columns())].concat()
            }
            ExportTable::Pairs => [keys(), docs(pairs::columns())].concat(),
            ExportTable::Shocks => [keys(), docs(shocks::columns())].concat(),
            ExportTable::Crashes => [keys(), docs(crashes::columns())].concat(),
            ExportTable::Intervals => [keys(), docs(intervals::columns())].concat(),
            ExportTable::Rows => docs(rows::columns()),
        };
        TableDoc { name: self.name(), about: self.about(), columns }
    }
}

fn docs<S>(columns: Vec<ExportColumn<S>>) -> Vec<ColumnDoc> {
    columns.into_iter().map(|column| column.doc).collect()
}

impl FromStr for ExportTable {
    type Err = ResultsError;
    fn from_str(text: &str) -> Result<Self, ResultsError> {
        let unknown = ResultsError::UnknownChoice {
            what: "table",
            found: text.into(),
            expected: ExportTable::NAMES,
        };
        ExportTable::ALL.into_iter().find(|table| table.name() == text).ok_or(unknown)
    }
}

/// Writes a table of all committed runs, ordered by run id. Tables that are made from the rows of
/// runs check the chain of each log.
///
/// `out_name` is the name of the output in error messages.
///
/// # Errors
/// A run cannot be read, or the table cannot be written.
pub fn export(
    store: &Store,
    options: &ExportOptions,
    out: &mut dyn Write,
    out_name: &Path,
) -> Result<ExportSummary, ExperimentError> {
    let (mut runs, mut left_out) = (Vec::new(), 0);
    for folder in store.runs()? {
        match folder.committed()? {
            Some(record) => runs.push(CommittedRun { record, rows: RunRows::Stored(folder) }),
            None => left_out += 1,
        }
    }
    let export = TableExport::new(store.experiment(), options);
    let to = TableOutput { out, out_name, format: options.format };
    let summary = export.write_table(options, to, &mut runs.into_iter().map(Ok))?;
    Ok(ExportSummary { left_out, ..summary })
}
/// A run that has ended.
struct CommittedRun {
    record: RunRecord,
    rows: RunRows,
}

/// Where the rows of a run are.
enum RunRows {
    /// In its log, whose chain is checked when it is read.
    Stored(RunFolder),
    /// In memory.
    Played(Vec<StepRow>),
}

/// The runs of a table, in its order.
type Runs<'a> = dyn Iterator<Item = Result<CommittedRun, ExperimentError>> + 'a;

impl CommittedRun {
    fn steps(&self) -> Result<Cow<'_, [StepRow]>, ExperimentError> {
        Ok(match &self.rows {
            RunRows::Stored(folder) => Cow::Owned(folder.rows()?),
            RunRows::Played(rows) => Cow::Borrowed(rows),
        })
    }

    fn outline(&self) -> Result<Vec<StepOutline>, ExperimentError> {
        Ok(match &self.rows {
            RunRows::Stored(folder) => folder.outline(&self.record)?,
            RunRows::Played(rows) => rows.iter().map(StepOutline::from).collect(),
        })
    }

    /// The error for a part of a row that cannot be read.
    fn bad_row(&self, step: u64, part: &str, error: &serde_json::Error) -> ExperimentError {
        ExperimentError::BadCell {
            path: match &self.rows {
                RunRows::Stored(folder) => folder.path().to_path_buf(),
                RunRows::Played(_) => self.record.run_id.clone().into(),
            },
            message: format!("line {step}: {part}: {error}"),
        }
    }
}

/// The rows of a table that a run has.
type RowsOf<S> = fn(&CommittedRun) -> Result<Vec<S>, ExperimentError>;

/// Where a table goes.
struct TableOutput<'a> {
    out: &'a mut dyn Write,
    out_name: &'a Path,
    format: ExportFormat,
}

/// What the rows of a table have in common.
struct TableExport {
    study: StudyKeys,
    /// Levels of control runs, if these are written once for each of them.
    controls: Option<ControlLevels>,
}

impl TableExport {
    fn new(experiment: &ExperimentRecord, options: &ExportOptions) -> TableExport {
        let expand = options.expand_controls && options.table != ExportTable::Rows;
        let controls = expand.then(|| ControlLevels::of(experiment));
        TableExport { study: StudyKeys::of(experiment), controls }
    }

    fn write_table(
        self,
        options: &ExportOptions,
        to: TableOutput<'_>,
        runs: &mut Runs<'_>,
    ) -> Result<ExportSummary, ExperimentError> {
        let keyed = run_keys::columns;
        let (runs, rows) = match options.table {
            ExportTable::Runs => self.write(to, runs, keyed(), (runs::columns(), runs::rows)),
            ExportTable::Steps if options.with_text => {
                let columns = steps::columns().into_iter().chain(steps::text_columns()).collect();
                self.write(to, runs, keyed(), (columns, steps::rows))
            }
            ExportTable::Steps => self.write(to, runs, keyed(), (steps::columns(), steps::rows)),
            ExportTable::Pairs => self.write(to, runs, keyed(), (pairs::columns(), pairs::rows)),
            ExportTable::Shocks => self.write(to, runs, keyed(), (shocks::columns(), shocks::rows)),
            ExportTable::Crashes => {
                self.write(to, runs, keyed(), (crashes::columns(), crashes::rows))
            }
            ExportTable::Intervals => {
                self.write(to, runs, keyed(), (intervals::columns(), intervals::rows))
            }
            ExportTable::Rows => self.write(to, runs, Vec::new(), (rows::columns(), rows::rows)),
        }?;
        Ok(ExportSummary { runs, rows, left_out: 0 })
    }

    /// Writes the rows of all runs; returns the numbers of runs and of rows.
    fn write<S>(
        self,
        to: TableOutput<'_>,
        runs: &mut Runs<'_>,
        keys: Vec<ExportColumn<RunKeys>>,
        (columns, rows_of): (Vec<ExportColumn<S>>, RowsOf<S>),
    ) -> Result<(usize, usize), ExperimentError> {
        let docs = keys.iter().map(|c| &c.doc).chain(columns.iter().map(|c| &c.doc));
        let named = docs.map(|doc| SheetColumn { name: doc.name.clone(), kind: doc.kind });
        let mut sheet = Sheet::new(to.out, to.out_name, to.format, named.collect())?;
        let mut count = 0;
        for run in runs {
            let run = run?;
            let rows = rows_of(&run)?;
            count += 1;
            for run_keys in RunKeys::of(&self.study, &run.record, self.controls.as_ref()) {
                let keys: Vec<CellValue<'_>> = keys.iter().map(|c| c.value_in(&run_keys)).collect();
                for row in &rows {
                    let mut values = keys.clone();
                    values.extend(columns.iter().map(|column| column.value_in(row)));
                    sheet.row(&values)?;
                }
            }
        }
        Ok((count, sheet.finish()?))
    }
}
