//! Measures the steps per second of the world without a model, on one core. Run it with `cargo
//! bench -p warehouse`. The rate per CPU time of this thread depends less on other processes than
//! the rate per wall time.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};
use warehouse::{OperatorSettings, World, WorldConfig, operator};

fn main() {
    for level in 0..=4 {
        let mut config =
            WorldConfig { complexity_level: level, max_steps: 5_000, ..WorldConfig::default() };
        config.crash_detector.continue_after_crash = None;
        let (begun, on_core, mut steps) = (Instant::now(), on_core_s(), 0_u64);
        let mut seed = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            let mut world = World::new(&config, seed).expect("a valid configuration");
            let mut careful =
                operator("careful", &OperatorSettings::seeded(seed)).expect("a known operator");
            while world.ending().is_none() {
                let turn = careful.act(&world);
                world.advance(&turn);
                steps += 1;
            }
            seed += 1;
        }
        let rate = |seconds: f64| steps as f64 / seconds;
        let (clock, core) = (rate(begun.elapsed().as_secs_f64()), rate(on_core_s() - on_core));
        println!("level {level}: {clock:.0} steps/s of wall time, {core:.0} steps/s of CPU time");
    }
}

/// CPU time of this thread in seconds; NaN if the system does not report it.
fn on_core_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(f64::NAN, |ns| ns / 1e9)
}
