//! Steps a second of scripted runs with rows written, and of replaying them. `cargo bench -p experiment`.
#![allow(missing_docs)]

use experiment::{Config, Event, NoModels, RunOptions, replay_all, run_experiment};
use std::time::Instant;

fn main() {
    for level in [0, 4] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "env: {{max_steps: 5000, complexity_level: {level}, initial_budget: 1000000}}\nagent: {{policy: careful}}\ncrash_detector: \
             {{continue_after_crash: 1000000}}\ndemand: {{max_failures: 1000000}}\nexperiment: {{replications: 4}}\n"
        );
        let config = Config::parse(&text, "bench", &[]).unwrap();
        let options = RunOptions {
            folder: folder.path().to_path_buf(),
            jobs: 1,
            runs_max: None,
            accept_mixed: false,
            provenance: results::Provenance::default(),
        };
        let begun = Instant::now();
        let summary = run_experiment(&config, &NoModels, &options, &|_: &Event| (), &|| false).unwrap();
        let (steps, seconds) =
            (summary.closing.iter().map(|row| row.steps).sum::<u64>(), begun.elapsed().as_secs_f64());
        println!("level {level}: {steps} steps with rows, {:.0} steps/s", steps as f64 / seconds);
        let begun = Instant::now();
        replay_all(&results::Store::open(folder.path()).unwrap()).unwrap();
        println!("level {level}: replayed, {:.0} steps/s", steps as f64 / begun.elapsed().as_secs_f64());
    }
}
