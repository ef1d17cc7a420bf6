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
    let format = format(args)?;
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
    if table == ExportTable::Intervals && summary.rows == 0 && summary.runs > 0 {
        output::message(
            "no run has intervals: they begin at a run's entry, and runs of design v1 have none",
        );
    }
    Ok(0)
}

/// The format given, or else the one that the file name ends with.
fn format(args: &ExportArgs) -> Result<ExportFormat, Failure> {
    let ending = || Path::new(&args.out).extension()?.to_str()?.parse().ok();
    match &args.format {
        Some(format) => Ok(format.parse()?),
        None => Ok(ending().unwrap_or(ExportFormat::Jsonl)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_file_stands_for_the_format() {
        for (out, asked, expected) in [
            ("a.csv", None, ExportFormat::Csv),
            ("a/b.parquet", None, ExportFormat::Parquet),
            ("a.csv.jsonl", None, ExportFormat::Jsonl),
            ("-", None, ExportFormat::Jsonl),
            ("a.txt", None, ExportFormat::Jsonl),
            ("a.csv", Some("parquet"), ExportFormat::Parquet),
        ] {
            let args = ExportArgs {
                dir: "results".into(),
                table: "steps".into(),
                format: asked.map(str::to_owned),
                out: out.into(),
                with_text: false,
                expand_controls: false,
            };
            assert_eq!(format(&args).ok(), Some(expected), "{out}");
        }
    }
}
