//! Command-line arguments as typed; `commands` interprets them.

mod analysis;
mod experiment;
mod model;
mod play;
mod power;
mod shell;
mod survival;

pub use analysis::{AnalysisArgs, CompareArgs, ReportArgs};
pub use experiment::{
    AuditArgs, CancelArgs, ColumnsArgs, DetectArgs, ExportArgs, InOrder, QualifyArgs, ReplayArgs,
    RunArgs, RunEngineArgs, StatusArgs, SubmitArgs,
};
pub use model::{
    BenchArgs, BringUpArgs, DoctorArgs, FetchArgs, GenerateArgs, LoadArgs, PlacementArgs, PlanArgs,
    ScoreArgs, SelftestArgs, ServeArgs, StageArgs, StageCommandArgs, SynthArgs, TemplateArgs,
    TimeArgs,
};
pub use play::{PlayArgs, WorldArgs};
pub use power::PowerArgs;
pub use shell::{CompletionsArgs, ManArgs};
pub use survival::{RobustKind, SurvivalArgs, SurvivalModel, TiesKind, TimeFunction};

use clap::{Parser, Subcommand};

/// Plans where every byte of a language model goes, loads it with deadlines on every wait, and runs
/// the VendoMini experiment on it
#[derive(Debug, Parser)]
#[command(name = "vendomini", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print only errors on stderr
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print all details: stages as they begin, exact bytes, all notes
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// Print lines instead of progress bars and the dashboard, even on a terminal
    #[arg(long, global = true)]
    pub plain: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where every byte of a model would go; reads only the headers of its files
    Plan(PlanArgs),
    /// Load a model, report its memory, run a smoke test, and exit
    Load(LoadArgs),
    /// Continue a text, or answer a chat message
    Generate(GenerateArgs),
    /// Render a conversation with a model's chat template: the prompt's text and token ids
    Template(TemplateArgs),
    /// Print the log-probabilities of a text or of token ids
    Score(ScoreArgs),
    /// Measure loading, prefill and decoding, and compare them with this machine's limits
    Bench(BenchArgs),
    /// Serve a model over HTTP to clients of the OpenAI API
    Serve(ServeArgs),
    /// Run an experiment; run the same command again to resume it
    Run(RunArgs),
    /// Check that a model runs the warehouse for 100 steps without shocks, before a grid is run
    Qualify(QualifyArgs),
    /// Play a run of an experiment yourself, in the terminal: the human baseline
    Play(PlayArgs),
    /// Serve the world to another program, step by step: JSON-RPC 2.0 on stdin and stdout
    World(WorldArgs),
    /// Submit an experiment to Slurm as job arrays; each task takes runs from the shared results
    /// folder
    Submit(SubmitArgs),
    /// Cancel the Slurm jobs of an experiment that are queued or run
    Cancel(CancelArgs),
    /// Write a table of all committed runs: runs, steps, pairs, shocks, crashes or intervals
    Export(ExportArgs),
    /// Answer a study's question: a page with figures, all numbers as JSON, and tables
    Report(ReportArgs),
    /// Compare two studies or models, paired where their worlds match
    Compare(CompareArgs),
    /// Describe the columns of the exported tables: type, unit, meaning, and when they are null
    Columns(ColumnsArgs),
    /// Survival analysis of any table: Kaplan-Meier, log-rank, Cox, competing causes
    Survival(SurvivalArgs),
    /// Show devices, limits and caches, and what would prevent a load
    Doctor(DoctorArgs),
    /// Check every GPU kernel against the CPU, and measure the GPU
    Selftest(SelftestArgs),
    /// Download a model into the cache
    Fetch(FetchArgs),
    /// Copy a model to the node's local disk, as --stage of other commands does, or remove such
    /// copies
    Stage(StageCommandArgs),
    /// Write a synthetic checkpoint with the shapes of a known model
    Synth(SynthArgs),
    /// Recompute runs from their seed and recorded replies, and report the first difference
    Replay(ReplayArgs),
    /// Run the crash detectors again on stored rows, with other thresholds
    Detect(DetectArgs),
    /// Check a configuration: factors whose levels make no difference, worlds that cannot be won,
    /// crash detectors that can fire in some cells only
    Audit(AuditArgs),
    /// Count the runs of a configuration, and estimate their cost
    Grid(AuditArgs),
    /// Simulate the analysis of a configuration before it is run: power, false positives, cost, and
    /// the cheapest design
    Power(PowerArgs),
    /// Show an experiment's progress
    Status(StatusArgs),
    /// Print the JSON Schema of configurations, with which editors complete and check them
    Schema,
    /// Print a script with which a shell completes command lines: bash, zsh, fish, ...
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}
