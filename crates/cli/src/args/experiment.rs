//! Arguments of the commands that work on an experiment.

use super::{StageArgs, TimeArgs};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment's configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change one key of the configuration, dotted: pe_induction.p_shock=0.2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder for results [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stop after this many runs
    #[arg(long, value_name = "N")]
    pub max_runs: Option<usize>,
    /// Run only this model's runs ("scripted": runs of scripted operators, which need no model)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Stop cleanly after this many seconds; exit with code 124 if runs remain
    #[arg(long = "time-left", value_name = "S")]
    pub time_left_s: Option<u64>,
    /// Other processes work in the same folder: do not exit with code 69 because the remaining runs
    /// are claimed by them
    #[arg(long)]
    pub shared: bool,
    /// Continue a folder whose rows come from other kernels, and mark the new rows
    #[arg(long)]
    pub accept_mixed: bool,
    #[command(flatten)]
    pub engine: RunEngineArgs,
}

/// Where and how the models of an experiment are loaded.
#[derive(Debug, Args)]
pub struct RunEngineArgs {
    /// Concurrent runs on one loaded model [default: 4]
    #[arg(long, short = 'j', alias = "n-jobs", value_name = "N")]
    pub jobs: Option<usize>,
    /// Fallbacks if the plan does not fit or memory runs out: keep (keeps the model's dtype and the
    /// limits given), none, auto, or allow=over-limit,int8 [default: keep]
    #[arg(long, value_name = "POLICY")]
    pub fallback: Option<String>,
    /// Limit of weights on each device: 0=71GiB,cpu=64GiB
    #[arg(long, value_name = "SPEC")]
    pub max_memory: Option<String>,
    /// A file with the chat template to use instead of the model's
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// dtype of the model: auto, bf16, f16, f32 or int8
    #[arg(long, default_value = "auto")]
    pub dtype: String,
    /// dtype of the KV cache: auto, bf16, f32 or int8
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub kv_dtype: String,
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    /// Number of compute threads [default: all cores that this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct QualifyArgs {
    /// The model: a hub name, folder, .gguf file or alias
    pub model: String,
    /// The experiment whose settings apply, but for shocks, worlds and horizon [default: the
    /// defaults of all keys]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change one key of the configuration, dotted: agent.reply_mode=text
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder for results [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: RunEngineArgs,
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The experiment's configuration file (YAML); several: one experiment after the other
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Vec<PathBuf>,
    /// The cluster's account, partition, GPUs and limits, in YAML
    #[arg(long, value_name = "FILE")]
    pub site: Option<PathBuf>,
    /// Print the plan and the scripts, and submit nothing. Models that are absent are planned from
    /// their published shapes
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,
    /// Ask Slurm whether it would accept each array, and when it would start; submit nothing
    #[arg(long)]
    pub check: bool,
    /// Let each experiment wait until all jobs of the one before have ended (any), or have ended
    /// without an error (ok)
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "any"
    )]
    pub in_order: Option<InOrder>,
    /// Change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder for results, which every node must be able to access [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Number of tasks for each model [default: from the estimated hours]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: Option<u32>,
    /// Concurrent runs in each task
    #[arg(long, short = 'j', value_name = "N")]
    pub jobs: Option<usize>,
}

impl SubmitArgs {
    /// Whether jobs are submitted.
    pub fn submits(&self) -> bool {
        !self.dry_run && !self.check
    }
}

/// When the jobs of an experiment may start after those of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InOrder {
    /// When all have ended
    Any,
    /// When all have ended without an error
    Ok,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The folder of one experiment's results
    pub dir: PathBuf,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The folder of one experiment's results
    pub dir: PathBuf,
    /// The table to write: runs, steps, pairs, shocks, crashes, intervals or rows [default: steps]
    #[arg(long)]
    pub table: Option<String>,
    /// The file format, jsonl, csv or parquet; or inspect, for logs of inspect_ai that hold every
    /// run [default: by the ending of --out, else jsonl]
    #[arg(long)]
    pub format: Option<String>,
    /// The file to write, or - for stdout; for inspect a file.eval or a folder
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: String,
    /// Add prompts, replies, arguments and cards to the table steps
    #[arg(long)]
    pub with_text: bool,
    /// Write each run without shocks once for each combination of the study's levels of pe_mag,
    /// pe_type_mix and observability
    #[arg(long)]
    pub expand_controls: bool,
}

#[derive(Debug, Args)]
pub struct ColumnsArgs {
    /// Only this table: runs, steps, pairs, shocks, crashes, intervals or rows
    #[arg(long)]
    pub table: Option<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The folder of a run, or of an experiment to replay all its runs
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct DetectArgs {
    /// The folder of one experiment's results
    pub dir: PathBuf,
    /// Change one key of the configuration: crash_detector.threshold=strict
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `audit` and `grid`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The experiment's configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Accept fewer than ten worlds a cell
    #[arg(long)]
    pub force: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The folder of one experiment's results
    pub dir: PathBuf,
    /// Show the progress again every S seconds, until nothing is queued or runs
    #[arg(
        long,
        value_name = "S",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        conflicts_with_all = ["json", "efficiency"]
    )]
    pub watch: Option<u64>,
    /// Compare memory and time of Slurm tasks with their requests, and suggest the next request
    #[arg(long)]
    pub efficiency: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
