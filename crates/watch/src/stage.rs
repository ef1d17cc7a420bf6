//! Named stages of a process.

use crate::Watch;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A kind of work that a process does. Progress lines and stall reports show the stages by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Downloading a model into the cache.
    Fetch,
    /// Hashing every byte of a model.
    Verify,
    /// Finding the folder or file of a model.
    Locate,
    /// Opening the checkpoint's files.
    Open,
    /// Reading and checking the headers of the checkpoint's files.
    Headers,
    /// Probing devices and memory limits.
    Probe,
    /// Planning which device holds which weights.
    Plan,
    /// Allocating memory.
    Allocate,
    /// Reading weights.
    Read,
    /// Converting or quantizing weights.
    Convert,
    /// Moving weights to their device.
    Place,
    /// Building the tokenizer.
    Tokenizer,
    /// Running a first inference to check the loaded model.
    SmokeTest,
    Prefill,
    /// Generating tokens.
    Generate,
    /// Scoring a text.
    Score,
    /// Checking and measuring a GPU.
    SelfTest,
    Bench,
    /// Running an experiment.
    Run,
    /// Writing results.
    Store,
    /// Serving requests.
    Serve,
}

impl Stage {
    /// The stage's name for the user.
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

/// Guard of an entered stage; dropping it leaves the stage.
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

    /// Sets the result of the stage, which is shown when the stage ends: one line, optionally
    /// followed by lines with details, which are shown indented.
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
        self.watch.leave(self.stage, self.since.elapsed().as_secs_f64(), summary);
    }
}
