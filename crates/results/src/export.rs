//! Export of steps and runs as JSONL, CSV or Parquet.

use crate::error::ResultsError;
use crate::parquet_sheet::{ColumnKind, ParquetSheet};
use crate::run_folder::RunFolder;
use crate::run_record::RunRecord;
use crate::store::Store;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

/// A table that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    /// One row per step.
    Steps,
    /// One row per run.
    Runs,
}

/// File format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object per line.
    Jsonl,
    /// CSV after RFC 4180; structured values are JSON text, and null is an empty field.
    Csv,
    /// Parquet with typed columns; structured values are JSON text.
    Parquet,
}

impl FromStr for ExportTable {
    type Err = ResultsError;
    fn from_str(text: &str) -> Result<Self, ResultsError> {
        match text {
            "steps" => Ok(ExportTable::Steps),
            "runs" => Ok(ExportTable::Runs),
            _ => Err(ResultsError::UnknownChoice {
                what: "table",
                found: text.into(),
                expected: "steps, runs",
            }),
        }
    }
}

impl FromStr for ExportFormat {
    type Err = ResultsError;
    fn from_str(text: &str) -> Result<Self, ResultsError> {
        match text {
            "jsonl" => Ok(ExportFormat::Jsonl),
            "csv" => Ok(ExportFormat::Csv),
            "parquet" => Ok(ExportFormat::Parquet),
            _ => Err(ResultsError::UnknownChoice {
                what: "format",
                found: text.into(),
                expected: "jsonl, csv, parquet",
            }),
        }
    }
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

/// Writes a table of all committed runs, ordered by run id. The steps table also checks the chain
/// of each log.
///
/// `out_name` is the name of the output in error messages.
pub fn export(
    store: &Store,
    table: ExportTable,
    format: ExportFormat,
    out: &mut dyn Write,
    out_name: &Path,
) -> Result<ExportSummary, ResultsError> {
    let (mut committed, mut left_out) = (Vec::new(), 0);
    for folder in store.runs()? {
        match folder.committed()? {
            Some(record) => committed.push((folder, record)),
            None => left_out += 1,
        }
    }
    if format == ExportFormat::Parquet {
        let rows = parquet(table, &committed, out, out_name)?;
        out.flush().map_err(|source| ResultsError::from_io("write", out_name, None, source))?;
        return Ok(ExportSummary { runs: committed.len(), rows, left_out });
    }
    let mut sheet =
        TextSheet { out, out_name, format, columns: columns(table, &committed), rows: 0, bytes: 0 };
    sheet.head()?;
    for (folder, record) in &committed {
        match table {
            ExportTable::Runs => sheet.row(flat(record)?)?,
            ExportTable::Steps => steps(folder, &mut sheet)?,
        }
    }
    let rows = sheet.rows;
    sheet.out.flush().map_err(|source| ResultsError::from_io("write", out_name, None, source))?;
    Ok(ExportSummary { runs: committed.len(), rows, left_out })
}

fn parquet(
    table: ExportTable,
    committed: &[(RunFolder, RunRecord)],
    out: &mut dyn Write,
    out_name: &Path,
) -> Result<usize, ResultsError> {
    let names = columns(table, committed);
    match table {
        ExportTable::Runs => {
            let rows =
                committed.iter().map(|(_, record)| flat(record)).collect::<Result<Vec<_>, _>>()?;
            let kind = |name: &String| ColumnKind::of(rows.iter().filter_map(|row| row.get(name)));
            let columns = names.iter().map(|name| (name.clone(), kind(name))).collect();
            let mut sheet = ParquetSheet::new(out, out_name, columns)?;
            rows.into_iter().try_for_each(|row| sheet.row(row))?;
            sheet.finish()
        }
        ExportTable::Steps => {
            let kind = |name: &str| {
                if WHOLE_COLUMNS.contains(&name) { ColumnKind::Whole } else { ColumnKind::Text }
            };
            let columns = names.into_iter().map(|name| (name.clone(), kind(&name))).collect();
            let mut sheet = ParquetSheet::new(out, out_name, columns)?;
            for (folder, _) in committed {
                for row in folder.rows()? {
                    sheet.row(object(&row)?)?;
                }
            }
            sheet.finish()
        }
    }
}

/// Columns of the steps table that hold integers; all others hold text.
const WHOLE_COLUMNS: [&str; 6] =
    ["step", "day", "prompt_tokens", "reply_tokens", "history_dropped", "sampling_seed"];

fn steps(folder: &RunFolder, sheet: &mut TextSheet) -> Result<(), ResultsError> {
    for row in folder.rows()? {
        sheet.row(object(&row)?)?;
    }
    Ok(())
}

/// Columns of the steps table, the most used first.
const STEP_COLUMNS: [&str; 25] = [
    "run_id",
    "step",
    "day",
    "reply",
    "parse_failure",
    "action",
    "card",
    "result",
    "pe",
    "shocks",
    "crashes",
    "prompt_tokens",
    "reply_tokens",
    "prompt",
    "history_dropped",
    "sampling_seed",
    "finish",
    "card_problem",
    "pe_pairs",
    "pe_scales",
    "detector",
    "state",
    "ending",
    "mixed_kernels",
    "similarity",
];

fn columns(table: ExportTable, committed: &[(RunFolder, RunRecord)]) -> Vec<String> {
    match table {
        ExportTable::Steps => STEP_COLUMNS.iter().map(|name| name.to_string()).collect(),
        ExportTable::Runs => {
            let mut columns: Vec<String> = Vec::new();
            let mut seen = BTreeSet::new();
            for name in committed
                .iter()
                .filter_map(|(_, record)| flat(record).ok())
                .flat_map(|row| row.into_iter())
            {
                if seen.insert(name.0.clone()) {
                    columns.push(name.0);
                }
            }
            columns
        }
    }
}

fn object<T: serde::Serialize>(value: &T) -> Result<Map<String, Value>, ResultsError> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Ok(Map::from_iter([("value".to_string(), other)])),
        Err(source) => Err(ResultsError::Unwritable { what: "a row", source }),
    }
}

/// A run's record flattened to one level: `cell.<key>`, `mean_pe.<type>`, `crash.<field>`,
/// `timing.<field>`.
fn flat(record: &RunRecord) -> Result<Map<String, Value>, ResultsError> {
    let mut row = Map::new();
    for (name, value) in object(record)? {
        match value {
            Value::Object(inner)
                if matches!(name.as_str(), "cell" | "mean_pe" | "crash" | "timing") =>
            {
                row.extend(inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            Value::Null if name == "crash" => {
                for key in ["type", "onset_step", "detected_step", "severity"] {
                    row.insert(format!("crash.{key}"), Value::Null);
                }
            }
            value => drop(row.insert(name, value)),
        }
    }
    Ok(row)
}

struct TextSheet<'a> {
    out: &'a mut dyn Write,
    out_name: &'a Path,
    format: ExportFormat,
    columns: Vec<String>,
    rows: usize,
    bytes: u64,
}

impl TextSheet<'_> {
    fn head(&mut self) -> Result<(), ResultsError> {
        let fields: Vec<String> = self.columns.iter().map(|name| quoted(name)).collect();
        if self.format == ExportFormat::Csv { self.line(fields.join(",") + "\r\n") } else { Ok(()) }
    }

    fn row(&mut self, row: Map<String, Value>) -> Result<(), ResultsError> {
        self.rows += 1;
        let null = Value::Null;
        let value = |name: &String| row.get(name).unwrap_or(&null);
        let line = match self.format {
            ExportFormat::Csv => {
                self.columns.iter().map(|name| field(value(name))).collect::<Vec<_>>().join(",")
                    + "\r\n"
            }
            // Parquet is written by `ParquetSheet`, never by this function.
            ExportFormat::Jsonl | ExportFormat::Parquet => {
                let ordered = self.columns.iter().map(|name| (name.clone(), value(name).clone()));
                Value::Object(ordered.collect()).to_string() + "\n"
            }
        };
        self.line(line)
    }

    fn line(&mut self, line: String) -> Result<(), ResultsError> {
        let fail = |source| ResultsError::from_io("write", self.out_name, Some(self.bytes), source);
        self.out.write_all(line.as_bytes()).map_err(fail)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        structured => quoted(&structured.to_string()),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}
