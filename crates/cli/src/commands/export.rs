//! `vendomini export`: writes the rows of all committed runs as one table.

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::output;
use results::{ExportFormat, ExportTable, ResultsError, Store, export};
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
        STDOUT => Box::new(BufWriter::new(std::io::stdout().lock())),
        file => Box::new(BufWriter::new(File::create(file).map_err(broken)?)),
    };
    // The export flushes its output.
    let summary = export(&store, table, format, &mut out, name).map_err(failure)?;
    drop(out);
    output::finish()?;
    output::message(&format!(
        "{} rows of {} runs written, {} unfinished runs left out",
        summary.rows, summary.runs, summary.left_out
    ));
    Ok(0)
}

/// The name of stdout as `--out`.
const STDOUT: &str = "-";

/// An error of writing to stdout is reported as by every other command.
fn failure(error: ResultsError) -> Failure {
    match error {
        ResultsError::Io { path, source, .. }
        | ResultsError::NoSpace { path, source, .. }
        | ResultsError::ReadOnly { path, source }
            if path == Path::new(STDOUT) =>
        {
            output::unwritable(&source)
        }
        other => other.into(),
    }
}
