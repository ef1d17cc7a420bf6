//! Size and speed of the exported tables: runs a study with scripted operators, and writes each
//! table as Parquet.
//!
//! `cargo run --release -p experiment --example export [RUNS STEPS [FOLDER]]`

use experiment::{
    Config, ExportOptions, ExportTable, NoModels, RunEvent, RunOptions, export, run_experiment,
};
use results::{ExportFormat, Provenance, Store};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let (runs, steps) = (number(0, 50)?, number(1, 500)?);
    let temporary = tempfile::tempdir()?;
    let folder = args.get(2).map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    run(&folder, runs, steps)?;
    let store = Store::open(&folder)?;
    let mut out = std::io::stdout();
    for format in [ExportFormat::Parquet, ExportFormat::Csv, ExportFormat::Jsonl] {
        for table in ExportTable::ALL {
            let file = folder.join(format!("{}.{format:?}", table.name()).to_lowercase());
            let mut to = std::io::BufWriter::new(std::fs::File::create(&file)?);
            let begin = Instant::now();
            let options = ExportOptions { table, format, with_text: false, expand_controls: false };
            let rows = export(&store, &options, &mut to, &file)?.rows;
            drop(to);
            let (seconds, bytes) =
                (begin.elapsed().as_secs_f64(), std::fs::metadata(&file)?.len() as f64);
            writeln!(
                out,
                "{:9} {format:?}: {rows} rows, {:.2} MB, {:.1} bytes a row, {:.0} rows/s",
                table.name(),
                bytes / 1e6,
                bytes / rows as f64,
                rows as f64 / seconds
            )?;
        }
    }
    Ok(())
}

/// Half of the runs without shocks, with the careful operator, which never loses track.
fn run(folder: &Path, runs: u64, steps: u64) -> Result<(), Box<dyn std::error::Error>> {
    let replications = (runs / 2).max(1);
    let text = format!(
        "experiment: {{name: export, replications: {replications}}}\nenv: {{max_steps: {steps}}}\n\
         agent: {{policy: careful}}\ngrid: {{pe_induction.p_shock: [0.0, 0.3]}}\n"
    );
    let options = RunOptions {
        folder: folder.to_path_buf(),
        jobs: 2,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: Duration::ZERO,
        provenance: Provenance::default(),
    };
    let config = Config::parse(&text, "export", &[])?;
    run_experiment(&config, &NoModels, &options, &|_: &RunEvent| (), &|| false)?;
    Ok(())
}
