//! Steps a second of scripted runs with rows written, and of replaying them: by the clock, and by
//! the time that the process was on a core, which others do not change. Logs are not compressed
//! afterwards here. `cargo bench -p experiment`.
#![allow(missing_docs)]

use experiment::{Config, NoModels, RunEvent, RunOptions, replay_all, run_experiment};
use std::time::Instant;

fn main() {
    for level in [0, 4] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "env: {{max_steps: 5000, complexity_level: {level}, initial_budget: 1000000}}\nagent: {{policy: careful}}\ncrash_detector: \
             {{continue_after_crash: 1000000}}\ndemand: {{max_failures: 1000000}}\nexperiment: {{replications: 4, compress_logs: false}}\n"
        );
        let config = Config::parse(&text, "bench", &[]).unwrap();
        let options = RunOptions {
            folder: folder.path().to_path_buf(),
            jobs: 1,
            runs_max: None,
            accept_mixed: false,
            model: None,
            end: None,
            claim_patience: std::time::Duration::ZERO,
            provenance: results::Provenance::default(),
        };
        let (begun, on_core) = (Instant::now(), on_core_s());
        let summary =
            run_experiment(&config, &NoModels, &options, &|_: &RunEvent| (), &|| false).unwrap();
        let steps = summary.closing.iter().map(|row| row.steps).sum::<u64>();
        let tell = |what: &str, begun: Instant, on_core: f64| {
            let rate = |seconds: f64| steps as f64 / seconds;
            let (clock, core) = (rate(begun.elapsed().as_secs_f64()), rate(on_core_s() - on_core));
            println!(
                "level {level}: {steps} steps {what}, {clock:.0} steps/s by the clock, {core:.0} a second on a core"
            );
        };
        tell("with rows", begun, on_core);
        let (begun, on_core) = (Instant::now(), on_core_s());
        replay_all(&results::Store::open(folder.path()).unwrap()).unwrap();
        tell("replayed", begun, on_core);
    }
}

/// Seconds that the process was on a core, in user and system mode, from ticks of a hundredth; NaN
/// where the system does not say.
fn on_core_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}
