//! Arguments of the commands that analyze results.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The folders of the results; their runs are taken together
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The folder of the results to compare with
    pub a: PathBuf,
    /// The folder of the results that are compared; may be the same, with other --model-b
    pub b: PathBuf,
    /// Only the runs of this model in A
    #[arg(long, value_name = "NAME")]
    pub model_a: Option<String>,
    /// Only the runs of this model in B
    #[arg(long, value_name = "NAME")]
    pub model_b: Option<String>,
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

/// How to analyze, and where the report goes.
#[derive(Debug, Args)]
pub struct AnalysisArgs {
    /// The folder for report.html, analysis.json and tables [default: analysis, in the (last)
    /// folder of results]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Steps by which accumulated errors are lagged; the default is a crash detector's window
    #[arg(long, value_name = "STEPS", default_value_t = 20)]
    pub lag: u64,
    /// Seed of permutations and bootstraps
    #[arg(long, value_name = "N", default_value_t = 20_261_130)]
    pub seed: u64,
    /// Replicates of permutations and bootstraps
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub replicates: usize,
    /// Print analysis.json on stdout, too
    #[arg(long)]
    pub json: bool,
}
