//! `vendomini export`: writes a table of all committed runs.

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::output;
use experiment::{ExperimentError, ExportOptions, ExportTable, export};
use results::{ExportFormat, ResultsError, Store};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

pub fn run(args: &ExportArgs) -> Result<u8, Failure> {
    let table: ExportTable = args.table.parse()?;
    let format: ExportFormat = args.format.parse()?;
    check_effect(args, table)?;
    let (with_text, expand_controls) = (args.with_text, args.expand_controls);
    let options = ExportOptions { table, format, with_text, expand_controls };
    let store = Store::open(&args.dir)?;
    let name = Path::new(&args.out);
    let broken = |e: std::io::Error| Failure::io(&format!("cannot write {}", name.display()), &e);
    let mut out: Box<dyn Write> = match args.out.as_str() {
        STDOUT => Box::new(BufWriter::new(std::io::stdout().lock())),
        file => Box::new(BufWriter::new(File::create(file).map_err(broken)?)),
    };
    // The export flushes its output.
    let summary = export(&store, &options, &mut out, name).map_err(failure)?;
    drop(out);
    output::finish()?;
    output::message(&format!(
        "{} rows of {} runs written, {} unfinished runs left out",
        summary.rows, summary.runs, summary.left_out
    ));
    Ok(0)
}

/// Fails if an option has no effect on the table.
fn check_effect(args: &ExportArgs, table: ExportTable) -> Result<(), Failure> {
    if args.with_text && table != ExportTable::Steps {
        return Err(Failure::usage("--with-text is only for --table steps"));
    }
    if args.expand_controls && table == ExportTable::Rows {
        return Err(Failure::usage("--expand-controls is for all tables but rows"));
    }
    Ok(())
}

/// The name of stdout as `--out`.
const STDOUT: &str = "-";

/// An error of writing to stdout is reported as by every other command.
fn failure(error: ExperimentError) -> Failure {
    match error {
        ExperimentError::Results(
            ResultsError::Io { path, source, .. }
            | ResultsError::NoSpace { path, source, .. }
            | ResultsError::ReadOnly { path, source },
        ) if path == Path::new(STDOUT) => output::unwritable(&source),
        other => other.into(),
    }
}
