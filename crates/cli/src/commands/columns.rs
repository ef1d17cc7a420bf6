//! `vendomini columns`: describes the columns of the exported tables.

use crate::args::ColumnsArgs;
use crate::failure::Failure;
use crate::output;
use experiment::{ColumnDoc, ExportTable, TableDoc};
use serde::Serialize;

#[derive(Serialize)]
struct ColumnsDocument {
    tables: Vec<TableDoc>,
}

pub fn run(args: &ColumnsArgs) -> Result<u8, Failure> {
    let tables: Vec<ExportTable> = match &args.table {
        Some(name) => vec![name.parse()?],
        None => ExportTable::ALL.to_vec(),
    };
    let tables: Vec<TableDoc> = tables.into_iter().map(ExportTable::describe).collect();
    if args.json {
        output::json(&ColumnsDocument { tables })?;
    } else {
        print(&tables)?;
    }
    Ok(0)
}

fn print(tables: &[TableDoc]) -> Result<(), Failure> {
    let mut lines = vec![["table", "name", "type", "unit", "meaning", "null"]];
    for table in tables {
        lines.extend(table.columns.iter().map(|column| cells(table, column)));
    }
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    // The last column is not padded.
    let widths: Vec<usize> = (0..5).map(width).chain([0]).collect();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        output::line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn cells<'a>(table: &'a TableDoc, column: &'a ColumnDoc) -> [&'a str; 6] {
    let ColumnDoc { name, kind, unit, meaning, null } = column;
    [table.name, name, kind.label(), unit, meaning, null]
}
