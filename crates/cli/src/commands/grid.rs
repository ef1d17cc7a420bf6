use crate::args::AuditArgs;
use crate::failure::Failure;
use crate::output;
use experiment::Config;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Document {
    combinations: usize,
    nominal_runs: usize,
    cells: usize,
    runs: usize,
    steps_max: u64,
    models: BTreeMap<String, usize>,
}

/// `vendomini grid`: counts what a configuration will run.
pub fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    config.check().map_err(experiment::ExperimentError::from)?;
    let c = config.counts();
    if args.json {
        let (combinations, nominal_runs, cells, runs) = (c.combinations, c.nominal_runs, c.cells, c.runs);
        output::json(&Document { combinations, nominal_runs, cells, runs, steps_max: c.steps_max, models: c.models })?;
        return Ok(0);
    }
    output::line(&format!("{} combinations, {} nominal runs", c.combinations, c.nominal_runs))?;
    output::line(&format!("{} cells that differ, {} runs, at most {} steps", c.cells, c.runs, c.steps_max))?;
    for (model, runs) in &c.models {
        output::line(&format!("  {model}: {runs} runs"))?;
    }
    Ok(0)
}
