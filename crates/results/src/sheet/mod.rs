//! Typed tables as files: CSV, JSONL and Parquet. The columns and their types are given, and do not
//! depend on the values.

mod cell_value;
mod parquet;
mod text;

pub use cell_value::{CellValue, ColumnKind};

use crate::error::ResultsError;
use parquet::ParquetSheet;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use text::TextSheet;

/// File format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object per line.
    Jsonl,
    /// CSV after RFC 4180: null is an empty field, and an empty text is `""`.
    Csv,
    /// Parquet with nullable columns, compressed with zstd.
    Parquet,
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

/// Name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetColumn {
    pub name: String,
    pub kind: ColumnKind,
}

/// A table that is being written. [`Sheet::finish`] completes the file.
pub struct Sheet<'a> {
    lines: usize,
    writer: SheetWriter<'a>,
}

enum SheetWriter<'a> {
    Text(TextSheet<'a>),
    Parquet(ParquetSheet<'a>),
}

impl<'a> Sheet<'a> {
    /// Begins a table. `out_name` is the name of the output in error messages.
    ///
    /// # Errors
    /// The output cannot be written; so for all methods.
    pub fn new(
        out: &'a mut dyn Write,
        out_name: &'a Path,
        format: ExportFormat,
        columns: Vec<SheetColumn>,
    ) -> Result<Self, ResultsError> {
        let writer = match format {
            ExportFormat::Parquet => {
                SheetWriter::Parquet(ParquetSheet::new(out, out_name, &columns)?)
            }
            ExportFormat::Csv => SheetWriter::Text(TextSheet::csv(out, out_name, &columns)?),
            ExportFormat::Jsonl => SheetWriter::Text(TextSheet::jsonl(out, out_name, &columns)),
        };
        Ok(Sheet { lines: 0, writer })
    }

    /// Writes a row: one value for each column, in the order of the columns.
    pub fn row(&mut self, values: &[CellValue<'_>]) -> Result<(), ResultsError> {
        self.lines += 1;
        match &mut self.writer {
            SheetWriter::Text(sheet) => sheet.row(values),
            SheetWriter::Parquet(sheet) => sheet.row(values),
        }
    }

    /// Completes the file; returns the number of rows.
    pub fn finish(self) -> Result<usize, ResultsError> {
        match self.writer {
            SheetWriter::Text(sheet) => sheet.finish()?,
            SheetWriter::Parquet(sheet) => sheet.finish()?,
        }
        Ok(self.lines)
    }
}
