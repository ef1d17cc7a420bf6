//! Arguments of `power`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct PowerArgs {
    /// The experiment's configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Hazard ratio of the highest dose to the lowest that is to be found: it comes about through
    /// exposure, at the mean exposure of each of the two doses over the time at risk
    #[arg(long, value_name = "RATIO", default_value_t = 2.0)]
    pub hr: f64,
    /// Share of the runs at the lowest dose that crash [default: the pilot's, or 0.3]
    #[arg(long, value_name = "SHARE")]
    pub baseline: Option<f64>,
    /// Standard deviation of the log hazard between worlds [default: the pilot's, or 0.7]
    #[arg(long, value_name = "SD")]
    pub world_sd: Option<f64>,
    /// The results of a smaller study with the same agents: baseline, differences between worlds,
    /// exposure and competence are taken from its runs
    #[arg(long, value_name = "DIR")]
    pub pilot: Option<PathBuf>,
    /// Number of studies that are simulated with the effect, and again without
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    pub simulations: u64,
    /// Seed of the simulations
    #[arg(long, value_name = "N", default_value_t = 20_261_130)]
    pub seed: u64,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
