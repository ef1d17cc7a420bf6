//! A study as logs of Inspect (`inspect_ai`), which its reader and its viewer open: one log for
//! each model, one sample for each run.
//!
//! ```text
//! plan       which runs belong to which log
//! time, usage, scores
//! messages   prompts and replies verbatim, and the conversation with tool calls
//! events     the transcript of a run
//! sample     a run as a sample
//! log        what a log says of the study
//! archive    the file
//! ```

mod archive;
mod events;
mod log;
mod messages;
mod plan;
mod sample;
mod scores;
mod time;
mod usage;

use crate::error::{ConfigProblem, ExperimentError};
use crate::tables::factors;
use archive::LogArchive;
use log::{LogHead, LogTotals};
use plan::{ModelRuns, runs_by_model};
use results::{ResultsError, Store};
use std::path::{Path, PathBuf};

/// What was written, over all logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectSummary {
    /// Paths of the logs.
    pub logs: Vec<PathBuf>,
    /// Number of committed runs.
    pub runs: usize,
    /// Number of runs whose last attempt failed: samples with an error.
    pub failed: usize,
    /// Number of runs that are not done, and in no log.
    pub left_out: usize,
}

/// Writes the logs of a study. `out` is the path of one log, if it ends with `.eval`, or else a
/// folder, which is created, for a log of each model. One run at a time is in memory.
///
/// # Errors
/// A run cannot be read, a log cannot be written, or several models have one path.
pub fn export_inspect(store: &Store, out: &Path) -> Result<InspectSummary, ExperimentError> {
    let models = runs_by_model(store)?;
    let one_log = out.extension().is_some_and(|ending| ending == "eval") && !out.is_dir();
    if one_log && models.len() > 1 {
        let names: Vec<&str> = models.iter().map(|runs| runs.model.as_str()).collect();
        let why = format!(
            "expected a folder, since a log has one model and the study has {} ({}); found {}",
            models.len(),
            names.join(", "),
            out.display()
        );
        return Err(ConfigProblem::Contradiction { key: "--out".into(), why }.into());
    }
    if !one_log {
        std::fs::create_dir_all(out)
            .map_err(|source| ResultsError::from_io("create", out, None, source))?;
    }
    let mut summary = InspectSummary { logs: Vec::new(), runs: 0, failed: 0, left_out: 0 };
    for runs in &models {
        summary.logs.push(write_log(store, runs, (!one_log).then_some(out), out)?);
        summary.runs += runs.committed();
        summary.failed += runs.failed();
        summary.left_out += runs.unfinished();
    }
    Ok(summary)
}

/// Writes the log of a model into a folder, or else to `path`; returns where.
fn write_log(
    store: &Store,
    runs: &ModelRuns,
    folder: Option<&Path>,
    path: &Path,
) -> Result<PathBuf, ExperimentError> {
    let (model, factors) = (store.model(&runs.model)?, factors(store.experiment()));
    let head = LogHead::new(store.experiment(), runs, model.as_ref());
    let path = folder.map_or_else(|| path.to_path_buf(), |folder| folder.join(head.file_name()));
    let mut archive = LogArchive::create(&path)?;
    archive.add("_journal/start.json", &head.start())?;
    let (mut totals, mut summaries) = (LogTotals::default(), Vec::new());
    for run in &runs.samples {
        let sample = sample::sample(store, &runs.model, &factors, run)?;
        archive.add(&sample.file, &sample.document)?;
        totals.add(&sample);
        summaries.push(sample.summary);
    }
    archive.add("_journal/summaries/1.json", &summaries)?;
    archive.add("summaries.json", &summaries)?;
    archive.add("header.json", &head.header(&totals))?;
    archive.finish()?;
    Ok(path)
}
