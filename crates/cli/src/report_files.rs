//! The files of a report: the page, the numbers, and each table in three formats.

use crate::failure::Failure;
use analysis::document::{Document, Format, Table, Value};
use report::Colophon;
use results::{CellValue, ColumnKind, ExportFormat, Sheet, SheetColumn};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes `report.html`, `analysis.json` and `tables/<id>.{parquet,csv,tex}` into the folder.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, document: &Document, colophon: &Colophon) -> Result<(), Failure> {
    let tables = folder.join("tables");
    fs::create_dir_all(&tables).map_err(|e| {
        Failure::io(&format!("cannot create {} for the report's tables", tables.display()), &e)
    })?;
    for table in document.sections.iter().flat_map(|section| &section.tables) {
        let file = |ending: &str| tables.join(format!("{}.{ending}", table.id));
        replace(&file("csv"), |out| Ok(out.write_all(report::csv(table).as_bytes())?))?;
        replace(&file("tex"), |out| Ok(out.write_all(report::latex(table).as_bytes())?))?;
        replace(&file("parquet"), |out| parquet(table, out, &file("parquet")))?;
    }
    replace(&folder.join("analysis.json"), |out| {
        Ok(out.write_all(report::json(document).as_bytes())?)
    })?;
    replace(&folder.join("report.html"), |out| {
        Ok(out.write_all(report::html(document, colophon).as_bytes())?)
    })
}

/// Why a file is not written.
enum WriteProblem {
    Io(std::io::Error),
    Other(Failure),
}

impl From<std::io::Error> for WriteProblem {
    fn from(error: std::io::Error) -> Self {
        WriteProblem::Io(error)
    }
}

/// Writes a file beside its place, then moves it there: a report is never half of two.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), WriteProblem>,
) -> Result<(), Failure> {
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let written = || -> Result<(), WriteProblem> {
        let mut out = BufWriter::new(fs::File::create(&partial)?);
        write(&mut out)?;
        out.flush()?;
        Ok(fs::rename(&partial, path)?)
    };
    written().map_err(|problem| match problem {
        WriteProblem::Io(error) => Failure::io(&format!("cannot write {}", path.display()), &error),
        WriteProblem::Other(failure) => failure,
    })
}

fn parquet(table: &Table, out: &mut dyn Write, name: &Path) -> Result<(), WriteProblem> {
    let failed = |error: results::ResultsError| WriteProblem::Other(error.into());
    let column = |column: &analysis::document::TableColumn| SheetColumn {
        name: column.name.clone(),
        kind: match column.format {
            Format::Text => ColumnKind::Text,
            _ => ColumnKind::Number,
        },
    };
    let columns: Vec<SheetColumn> = table.columns.iter().map(column).collect();
    let kinds: Vec<ColumnKind> = columns.iter().map(|column| column.kind).collect();
    let mut sheet = Sheet::new(out, name, ExportFormat::Parquet, columns).map_err(failed)?;
    for row in &table.rows {
        let cells: Vec<CellValue<'_>> =
            row.iter().zip(&kinds).map(|(value, kind)| cell(value, *kind)).collect();
        sheet.row(&cells).map_err(failed)?;
    }
    sheet.finish().map_err(failed)?;
    Ok(())
}

/// A value as its column's type; a remark in a column of numbers is in the page and the CSV only.
fn cell(value: &Value, kind: ColumnKind) -> CellValue<'_> {
    match (value, kind) {
        (Value::Number(number), ColumnKind::Text) => CellValue::Text(number.to_string().into()),
        (Value::Number(number), _) => CellValue::Number(*number),
        (Value::Text(text), ColumnKind::Text) => CellValue::Text(text.as_str().into()),
        (Value::Text(_) | Value::None, _) => CellValue::Null,
    }
}
