//! `vendomini export`: writes the rows of all committed runs as one table.

use crate::args::ExportArgs;
use crate::failure::Failure;
use results::{ExportFormat, ExportTable, Store, export};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

pub fn run(args: &ExportArgs) -> Result<u8, Failure> {
    let table: ExportTable = args.table.parse()?;
    let format: ExportFormat = args.format.parse()?;
    let store = Store::open(&args.dir)?;
    let name = Path::new(&args.out);
    let broken = |e: std::io::Error| Failure::io(&format!("cannot write {}", name.display()), &e);
    let mut out: Box<dyn Write> = match args.out.as_str() {
        "-" => Box::new(BufWriter::new(std::io::stdout().lock())),
        file => Box::new(BufWriter::new(File::create(file).map_err(broken)?)),
    };
    let summary = export(&store, table, format, &mut out, name)?;
    out.flush().map_err(broken)?;
    eprintln!(
        "{} rows of {} runs written, {} unfinished runs left out",
        summary.rows, summary.runs, summary.left_out
    );
    Ok(0)
}
