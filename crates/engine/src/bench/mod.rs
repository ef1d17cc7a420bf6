//! Throughput of a loaded model, compared with the machine's roofline.

mod cost;
mod report;
mod roofline;
mod run;
mod steps;

use checkpoint::Inventory;
use watch::Watch;

use crate::load::Loaded;
use cost::BenchCost;
use roofline::{MeasuredDevices, Roofline};
use run::BenchRun;

pub use report::{BenchError, BenchOptions, BenchReport, SpeedFigure};
pub use steps::{StepPoint, StepsOptions, StepsReport, bench_steps};

/// Measures the model's throughput and, between the passes, the machine's roofline.
///
/// # Errors
/// See [`BenchError`].
pub fn bench(
    loaded: &mut Loaded,
    inventory: &Inventory,
    options: &BenchOptions,
    watch: &Watch,
) -> Result<BenchReport, BenchError> {
    let cost = BenchCost::of(loaded.model.config(), inventory, &loaded.report.dtype);
    let devices = MeasuredDevices::of(loaded, options.threads, cost.dot, watch)?;
    let mut run = BenchRun { loaded, cost, devices, rooflines: Vec::new(), options, watch };
    let prefill = run.prefill()?;
    let mut figures = vec![prefill.clone()];
    for &sequences in &options.batches {
        figures.push(run.decode(sequences)?);
    }
    let roofline = Roofline::median(&run.rooflines);
    let tpot_s = figures.iter().find(|f| f.name == "decode").map_or(0.0, |f| 1.0 / f.tok_s);
    Ok(BenchReport {
        read_bytes_per_s: roofline.read_bytes_per_s,
        dot_ops_per_s: roofline.dot_ops_per_s,
        dot: format!("{:?}", run.cost.dot).to_lowercase(),
        weights_read_bytes: run.cost.read_bytes(run.cost.token_experts),
        ttft_s: options.prompt_tokens as f64 / prefill.tok_s,
        tpot_s,
        figures,
    })
}

/// The median of `values`, which must not be empty; of two middle values the larger one.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
