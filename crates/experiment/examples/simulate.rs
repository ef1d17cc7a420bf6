//! Plays all runs of a configuration of scripted operators in memory, and writes one table of them.
//!
//! `cargo run --release -p experiment --example simulate CONFIG TABLE FILE [KEY=VALUE ...]`; the
//! format is the extension of FILE: parquet, csv or jsonl.

use experiment::{Config, ExportOptions, simulate};
use std::io::{BufWriter, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, table, file, sets @ ..] = arguments.as_slice() else {
        return Err("expected CONFIG TABLE FILE [KEY=VALUE ...]".into());
    };
    let file = Path::new(file);
    let format = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let options = ExportOptions {
        table: table.parse()?,
        format: format.parse()?,
        with_text: false,
        expand_controls: false,
    };
    let config = Config::load(Path::new(config), sets)?;
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    let written = simulate(&config, &options, &mut out, file)?;
    out.flush()?;
    writeln!(std::io::stderr(), "{} rows of {} runs written", written.rows, written.runs)?;
    Ok(())
}
