use crate::Watch;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a process can be busy with. A closed list: each has a name that people read in a stall
/// report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Bringing a model into the cache.
    Fetch,
    /// Reading every byte for its hash.
    Verify,
    /// Finding the model's folder or file.
    Locate,
    /// Opening the checkpoint's files.
    Open,
    /// Reading and checking headers.
    Headers,
    /// Probing devices and limits.
    Probe,
    /// Planning where each byte goes.
    Plan,
    /// Taking memory.
    Allocate,
    /// Reading weights.
    Read,
    /// Converting or quantizing weights.
    Convert,
    /// Putting weights in their final place.
    Place,
    /// Building the tokenizer.
    Tokenizer,
    /// The first inference.
    SmokeTest,
    /// Computing a prompt.
    Prefill,
    /// Producing tokens.
    Generate,
    /// Scoring a text.
    Score,
    /// Checking and measuring a GPU.
    SelfTest,
    /// Measuring speed.
    Bench,
    /// Running the experiment.
    Run,
    /// Writing results.
    Store,
    /// Answering requests.
    Serve,
}

impl Stage {
    /// The words people read.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Fetch => "fetch",
            Stage::Verify => "verify",
            Stage::Locate => "locate",
            Stage::Open => "open",
            Stage::Headers => "headers",
            Stage::Probe => "probe",
            Stage::Plan => "plan",
            Stage::Allocate => "allocate",
            Stage::Read => "read",
            Stage::Convert => "convert",
            Stage::Place => "place",
            Stage::Tokenizer => "tokenizer",
            Stage::SmokeTest => "smoke test",
            Stage::Prefill => "prefill",
            Stage::Generate => "generate",
            Stage::Score => "score",
            Stage::SelfTest => "self-test",
            Stage::Bench => "bench",
            Stage::Run => "run",
            Stage::Store => "store",
            Stage::Serve => "serve",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.label())
    }
}

/// A stage that was entered; dropping it leaves the stage.
#[derive(Debug)]
pub struct StageGuard {
    watch: Watch,
    stage: Stage,
    since: Instant,
    summary: String,
}

impl StageGuard {
    pub(crate) fn new(watch: Watch, stage: Stage) -> Self {
        StageGuard { watch, stage, since: Instant::now(), summary: String::new() }
    }

    /// Sets the stage's result, which is shown when the stage is left: a line, and indented lines
    /// below it for each further one.
    pub fn summary(&mut self, text: impl Into<String>) {
        self.summary = text.into();
    }

    /// Seconds since the stage was entered.
    pub fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }
}

impl Drop for StageGuard {
    fn drop(&mut self) {
        let summary = std::mem::take(&mut self.summary);
        self.watch.left(self.stage, self.since.elapsed().as_secs_f64(), summary);
    }
}
