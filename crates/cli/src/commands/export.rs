//! `vendomini export`: writes a table of all committed runs, or the study as logs of Inspect.

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::output;
use experiment::{ExperimentError, ExportOptions, ExportTable, export, export_inspect};
use results::{ExportFormat, ResultsError, Store};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputFormat {
    Table(ExportFormat),
    /// Logs of inspect_ai.
    Inspect,
}

pub fn run(args: &ExportArgs) -> Result<u8, Failure> {
    match format(args)? {
        OutputFormat::Table(format) => write_table(args, format),
        OutputFormat::Inspect => write_logs(args),
    }
}

fn write_table(args: &ExportArgs, format: ExportFormat) -> Result<u8, Failure> {
    let table: ExportTable = args.table.as_deref().unwrap_or("steps").parse()?;
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

fn write_logs(args: &ExportArgs) -> Result<u8, Failure> {
    let given = [
        (args.table.is_some(), "--table"),
        (args.with_text, "--with-text"),
        (args.expand_controls, "--expand-controls"),
    ];
    if let Some((_, option)) = given.iter().find(|(given, _)| *given) {
        let why = "is for tables, and --format inspect writes whole runs, with their texts";
        return Err(Failure::usage(format!("{option} {why}: leave it out")));
    }
    if args.out == STDOUT {
        return Err(Failure::usage(
            "--format inspect: expected --out FILE.eval or --out FOLDER, found stdout: a log is a zip \
             file, which is moved into place when it is complete, and each model has its own",
        ));
    }
    let summary = export_inspect(&Store::open(&args.dir)?, Path::new(&args.out))?;
    for log in &summary.logs {
        output::message(&format!("wrote {}", log.display()));
    }
    output::message(&format!(
        "{} runs written, {} failed runs written with their error, {} unfinished runs left out",
        summary.runs, summary.failed, summary.left_out
    ));
    Ok(0)
}

/// The format given, or else the one that the file name ends with.
fn format(args: &ExportArgs) -> Result<OutputFormat, Failure> {
    let ending = || Path::new(&args.out).extension()?.to_str();
    match args.format.as_deref() {
        Some("inspect") => Ok(OutputFormat::Inspect),
        None if ending() == Some("eval") => Ok(OutputFormat::Inspect),
        Some(format) => {
            let other = |_| ResultsError::UnknownChoice {
                what: "format",
                found: format.into(),
                expected: "jsonl, csv, parquet, inspect",
            };
            Ok(OutputFormat::Table(format.parse().map_err(other)?))
        }
        None => {
            let known = ending().and_then(|ending| ending.parse().ok());
            Ok(OutputFormat::Table(known.unwrap_or(ExportFormat::Jsonl)))
        }
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
        use OutputFormat::{Inspect, Table};
        for (out, asked, expected) in [
            ("a.csv", None, Table(ExportFormat::Csv)),
            ("a/b.parquet", None, Table(ExportFormat::Parquet)),
            ("a.csv.jsonl", None, Table(ExportFormat::Jsonl)),
            ("-", None, Table(ExportFormat::Jsonl)),
            ("a.txt", None, Table(ExportFormat::Jsonl)),
            ("a.csv", Some("parquet"), Table(ExportFormat::Parquet)),
            ("a.eval", None, Inspect),
            ("a.eval", Some("csv"), Table(ExportFormat::Csv)),
            ("logs", Some("inspect"), Inspect),
        ] {
            let args = ExportArgs {
                dir: "results".into(),
                table: None,
                format: asked.map(str::to_owned),
                out: out.into(),
                with_text: false,
                expand_controls: false,
            };
            assert_eq!(format(&args).ok(), Some(expected), "{out}");
        }
    }
}
