//! What a log says of a study and a model: its identity and configuration, the plan, the results.

use super::plan::ModelRuns;
use super::sample::{RunSample, error};
use super::scores::{ScoreTotals, scorers};
use super::time::iso;
use super::usage::TokenUsage;
use crate::identity;
use results::{ExperimentRecord, ModelRecord};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Version of Inspect's format.
const FORMAT_VERSION: u64 = 2;

/// The parts of a log that do not depend on its samples.
pub(super) struct LogHead<'a> {
    experiment: &'a ExperimentRecord,
    runs: &'a ModelRuns,
    model: Option<&'a ModelRecord>,
}

/// Sums over the samples of a log.
#[derive(Default)]
pub(super) struct LogTotals {
    scores: ScoreTotals,
    usage: TokenUsage,
    committed_unix_s: u64,
    first_error: Option<String>,
}

impl LogTotals {
    pub fn add(&mut self, sample: &RunSample) {
        self.usage.add(sample.usage);
        match sample.committed_unix_s {
            Some(at) => {
                self.scores.add(&sample.scores);
                self.committed_unix_s = self.committed_unix_s.max(at);
            }
            None => {
                let message = &sample.document["error"]["message"];
                let first = || format!("run {}: {}", sample.document["uuid"], message);
                self.first_error.get_or_insert_with(first);
            }
        }
    }
}

impl<'a> LogHead<'a> {
    pub fn new(
        experiment: &'a ExperimentRecord,
        runs: &'a ModelRuns,
        model: Option<&'a ModelRecord>,
    ) -> LogHead<'a> {
        LogHead { experiment, runs, model }
    }

    /// The name of the log as Inspect gives it: time, task, model, id.
    pub fn file_name(&self) -> String {
        let clean = |text: &str| -> String {
            let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            text.chars().map(safe).collect()
        };
        let (time, task) = (clean(&self.created()), clean(&self.experiment.name));
        format!("{time}_{task}_{}_{}.eval", clean(&self.runs.model), self.id("task"))
    }

    /// `_journal/start.json`: the log as it is when a study begins.
    pub fn start(&self) -> Value {
        json!({"version": FORMAT_VERSION, "eval": self.spec(), "plan": self.plan()})
    }

    /// `header.json`: the log without its samples.
    pub fn header(&self, totals: &LogTotals) -> Value {
        let mut header = json!({
            "version": FORMAT_VERSION,
            "status": self.status(),
            "eval": self.spec(),
            "plan": self.plan(),
            "results": {
                "total_samples": self.runs.planned,
                "completed_samples": self.runs.committed(),
                "scores": totals.scores.results(),
            },
            "stats": {
                "started_at": self.created(),
                "completed_at": match totals.committed_unix_s {
                    0 => String::new(),
                    at => iso(at as f64),
                },
                "model_usage": totals.usage.by_model(&self.runs.model),
                "role_usage": {},
            },
            "invalidated": false,
        });
        if let Some(first) = &totals.first_error {
            let (failed, planned) = (self.runs.failed(), self.runs.planned);
            header["error"] = error(&format!("{failed} of {planned} runs failed; {first}"));
        }
        header
    }

    /// A log is a snapshot: nothing adds to it, so that none has the status `started`.
    fn status(&self) -> &'static str {
        match (self.runs.failed(), self.runs.unfinished()) {
            (0, 0) => "success",
            (0, _) => "cancelled",
            _ => "error",
        }
    }

    fn created(&self) -> String {
        iso(self.experiment.provenance.begun_unix_s as f64)
    }

    /// An id that depends on the study and the model alone.
    fn id(&self, what: &str) -> String {
        let parts: BTreeMap<&str, Value> = [
            ("log", json!(what)),
            ("study", json!(self.experiment.configuration_hash)),
            ("model", json!(self.runs.model)),
            ("begun", json!(self.experiment.provenance.begun_unix_s)),
        ]
        .into();
        identity::hash_of(&parts)[..22].to_string()
    }

    fn spec(&self) -> Value {
        let configuration = &self.experiment.configuration;
        let ids: BTreeSet<&str> =
            self.runs.samples.iter().map(|sample| sample.key.id.as_str()).collect();
        let epochs = configuration.get("experiment.draws").and_then(Value::as_u64).unwrap_or(1);
        let phase = configuration.get("experiment.phase").and_then(Value::as_str);
        json!({
            "eval_id": self.id("eval"),
            "run_id": self.id("run"),
            "created": self.created(),
            "task": self.experiment.name,
            "task_id": self.id("task"),
            "task_version": self.experiment.provenance.design,
            "task_display_name": self.experiment.name,
            "task_description": "An agent runs a warehouse; shocks make its predictions wrong",
            "task_attribs": {},
            "task_args": configuration,
            "task_args_passed": configuration,
            "solver": "vendomini",
            "tags": phase.iter().collect::<Vec<_>>(),
            "dataset": {
                "name": self.experiment.name,
                "samples": ids.len(),
                "sample_ids": ids,
                "shuffled": false,
            },
            "model": self.runs.model,
            "model_generate_config": self.generate_config(),
            "model_args": {},
            "config": {"epochs": epochs, "fail_on_error": false},
            "packages": {"vendomini": self.experiment.provenance.version},
            "metadata": self.metadata(),
            "scorers": scorers(),
        })
    }

    /// Settings of sampling that all runs share; scripted operators have none.
    fn generate_config(&self) -> Value {
        let mut config = Map::new();
        if self.model.is_some() {
            let keys = ["temperature", "top_p", "max_tokens_per_call"];
            for (key, name) in keys.into_iter().zip(["temperature", "top_p", "max_tokens"]) {
                if let Some(value) = self.experiment.configuration.get(&format!("model.{key}")) {
                    config.insert(name.into(), value.clone());
                }
            }
        }
        Value::Object(config)
    }

    fn plan(&self) -> Value {
        let step = json!({"solver": "vendomini", "params": {}, "params_passed": {}});
        json!({"name": "plan", "steps": [step], "config": self.generate_config()})
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "study": self.experiment.name,
            "configuration_hash": self.experiment.configuration_hash,
            "runs_planned": self.runs.planned,
            "runs_committed": self.runs.committed(),
            "runs_failed": self.runs.failed(),
            "runs_unfinished": self.runs.unfinished(),
            "provenance": self.experiment.provenance,
            "execution": self.experiment.execution,
        });
        if let Some(model) = self.model {
            metadata["model_identity"] = json!(model.identity);
            metadata["dtype"] = json!(model.dtype);
            metadata["kernel_set"] = json!(model.kernel_set);
        }
        if let Some(note) = self.note() {
            metadata["note"] = json!(note);
        }
        metadata
    }

    /// What is missing in the log of an unfinished study.
    fn note(&self) -> Option<String> {
        let ModelRuns { planned, .. } = self.runs;
        (self.status() != "success").then(|| {
            format!(
                "unfinished: {} of {planned} runs are committed, {} failed, {} are not done and not in \
                 this log. Export the folder again when they are",
                self.runs.committed(),
                self.runs.failed(),
                self.runs.unfinished()
            )
        })
    }
}
