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
    let head = ["table", "name", "type", "unit", "meaning", "null"].map(String::from);
    let mut lines = vec![head.to_vec()];
    for table in tables {
        lines.extend(table.columns.iter().map(|column| cells(table, column)));
    }
    for line in results::aligned(&lines).lines() {
        output::line(line)?;
    }
    Ok(())
}

fn cells(table: &TableDoc, column: &ColumnDoc) -> Vec<String> {
    let ColumnDoc { name, kind, unit, meaning, null } = column;
    [table.name, name, kind.label(), unit, meaning, null].map(String::from).to_vec()
}
