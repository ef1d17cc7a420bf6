//! Helper functions for tests that run whole experiments.
#![allow(dead_code, reason = "each test file uses a part")]

use experiment::{Config, ExperimentSummary, NoModels, RunEvent, RunOptions, run_experiment};
use results::{Provenance, Store};
use std::collections::BTreeMap;
use std::path::Path;

pub fn quiet(_: &RunEvent) {}

pub fn folder_options(folder: &Path, jobs: usize) -> RunOptions {
    let provenance = Provenance { version: "test".into(), ..Provenance::default() };
    RunOptions {
        folder: folder.to_path_buf(),
        jobs,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: std::time::Duration::ZERO,
        provenance,
    }
}

/// Carries out all remaining runs of an experiment with scripted operators.
pub fn run_to_end(config: &Config, folder: &Path, jobs: usize) -> ExperimentSummary {
    let options = folder_options(folder, jobs);
    let summary = run_experiment(config, &NoModels, &options, &quiet, &|| false)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(summary.all_done(), "{summary:?}");
    summary
}

/// By run id: the committed log, and the record without its timing.
pub fn steps_of(folder: &Path) -> BTreeMap<String, (String, String)> {
    let store = Store::open(folder).unwrap();
    let of = |folder: results::RunFolder| {
        let mut record = folder.committed().unwrap().unwrap();
        let attempt = folder.committed_attempt().unwrap();
        record.timing = results::Timing::default();
        let bytes = std::fs::read_to_string(attempt.path).unwrap();
        (folder.run_id(), (bytes, serde_json::to_string(&record).unwrap()))
    };
    store.runs().unwrap().into_iter().filter(results::RunFolder::is_committed).map(of).collect()
}
