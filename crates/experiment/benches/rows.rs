//! Benchmark of scripted runs that write rows, and of their replay: steps per second of wall time,
//! and steps per second of CPU time, which other load on the machine affects little. Logs are not
//! compressed. Run with `cargo bench -p experiment`.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "a benchmark")]

use experiment::{Config, NoModels, RunEvent, RunOptions, replay_all, run_experiment};
use std::time::Instant;

fn main() {
    for (design, level) in [("v1", 0), ("v2", 0), ("v1", 4), ("v2", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "env: {{max_steps: 5000, complexity_level: {level}, initial_budget: 1000000}}\nagent: {{policy: careful}}\ncrash_detector: \
             {{continue_after_crash: 1000000}}\ndemand: {{max_failures: 1000000, max_lost_share: 1}}\nexperiment: {{design: {design}, replications: 4, compress_logs: false}}\n"
        );
        let config = Config::parse(&text, "bench", &[]).unwrap();
        let options = RunOptions {
            folder: folder.path().to_path_buf(),
            jobs: 1,
            runs_max: None,
            accept_mixed: false,
            model: None,
            stop_at: None,
            claim_patience: std::time::Duration::ZERO,
            provenance: results::Provenance::default(),
        };
        let (begun, cpu_begun) = (Instant::now(), cpu_s());
        let summary =
            run_experiment(&config, &NoModels, &options, &|_: &RunEvent| (), &|| false).unwrap();
        let steps = summary.closing.iter().map(|row| row.steps).sum::<u64>();
        let report = |what: &str, begun: Instant, cpu_begun: f64| {
            let rate = |seconds: f64| steps as f64 / seconds;
            let (clock, core) = (rate(begun.elapsed().as_secs_f64()), rate(cpu_s() - cpu_begun));
            println!(
                "design {design}, level {level}: {steps} steps {what}, {clock:.0} steps/s in wall time, {core:.0} steps/s in CPU time"
            );
        };
        report("with rows", begun, cpu_begun);
        let (begun, cpu_begun) = (Instant::now(), cpu_s());
        replay_all(&results::Store::open(folder.path()).unwrap()).unwrap();
        report("replayed", begun, cpu_begun);
    }
}

/// User and system CPU time of the process in seconds, with a resolution of 10 ms; NaN if the
/// operating system does not report it.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}
