//! `vendomini grid`: counts the runs of a configuration, and estimates their cost.

use super::audit::require_worlds;
use crate::args::AuditArgs;
use crate::failure::Failure;
use crate::output;
use experiment::{Config, CostRates, Estimate};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct GridDocument {
    combinations: usize,
    nominal_runs: usize,
    cells: usize,
    runs: usize,
    steps_max: u64,
    models: BTreeMap<String, usize>,
    estimate: Estimate,
}

pub fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    config.notes().iter().for_each(|note| output::message(note));
    require_worlds(&config, args.force)?;
    let (c, estimate) = (config.counts(), experiment::estimate(&config, &CostRates::default())?);
    if args.json {
        let (combinations, nominal_runs, cells, runs) =
            (c.combinations, c.nominal_runs, c.cells, c.runs);
        output::json(&GridDocument {
            combinations,
            nominal_runs,
            cells,
            runs,
            steps_max: c.steps_max,
            models: c.models,
            estimate,
        })?;
        return Ok(0);
    }
    output::line(&format!("{} combinations, {} nominal runs", c.combinations, c.nominal_runs))?;
    output::line(&format!(
        "{} distinct cells, {} runs, at most {} steps",
        c.cells, c.runs, c.steps_max
    ))?;
    for (model, runs) in &c.models {
        output::line(&format!("  {model}: {runs} runs{}", cost_text(&estimate, model)))?;
    }
    for warning in super::qualify::warnings(&config, &config.folder(None)) {
        output::message(&warning);
    }
    let (tokens, gpu_hours) = (estimate.prompt_tokens + estimate.reply_tokens, estimate.gpu_hours);
    output::line(&format!(
        "estimated: {:.1} million tokens, {:.1} hours, {gpu_hours:.1} GPU-hours",
        tokens / 1e6,
        estimate.hours
    ))?;
    let r = &estimate.rates;
    output::line(&format!(
        "  assumes GPUs of {} GB, {} GB/s and {} TFLOP/s, {:.0}% of which is reached, and {} concurrent runs",
        r.gpu_memory_gb,
        r.gpu_bandwidth_gb_s,
        r.gpu_tflops,
        r.reached * 100.0,
        r.runs_in_flight
    ))?;
    if !estimate.unknown.is_empty() {
        output::line(&format!(
            "  without hours, because the name does not tell the size: {}",
            estimate.unknown.join(", ")
        ))?;
    }
    output::line(&format!(
        "what the runs can show: vendomini power --config {}",
        args.config.display()
    ))?;
    Ok(0)
}

/// The estimated cost of a model's runs as text; empty for scripted operators.
fn cost_text(estimate: &Estimate, model: &str) -> String {
    let Some(cost) = estimate.models.get(model) else { return String::new() };
    let tokens = (cost.prompt_tokens + cost.reply_tokens) / 1e6;
    let hours = match (cost.hours, cost.gpus) {
        (Some(hours), Some(gpus)) => {
            format!(", {hours:.1} hours on {gpus} GPU{}", if gpus == 1 { "" } else { "s" })
        }
        _ => String::new(),
    };
    format!(", about {tokens:.1} million tokens{hours}")
}
