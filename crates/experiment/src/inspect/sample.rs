//! A run as a sample of a log.

use super::events::{ModelCalls, Transcript, output};
use super::messages::RunMessages;
use super::plan::{FailedRun, SampleRun};
use super::scores::scores;
use super::time::iso;
use super::usage::TokenUsage;
use crate::agent::ReplyMode;
use crate::checks::planned_run;
use crate::config::{AgentConfig, PlannedRun};
use crate::error::ExperimentError;
use crate::identity;
use crate::run::episode::Episode;
use results::{ResultsError, RunRecord, StepRow, Store};
use serde_json::{Map, Value, json};

/// Longest text of a summary in characters.
const SUMMARY_CHARS_MAX: usize = 1024;

/// A sample, its summary, and what a log sums up.
pub(super) struct RunSample {
    /// Name of the sample's file in the archive.
    pub file: String,
    pub document: Value,
    pub summary: Value,
    /// Empty if the run failed.
    pub scores: Map<String, Value>,
    pub usage: TokenUsage,
    /// Unix time of the commit in seconds; `None` if the run failed.
    pub committed_unix_s: Option<u64>,
}

/// What is stored of a run.
struct StoredRun<'a> {
    sample: &'a SampleRun,
    run: PlannedRun,
    model: &'a str,
    /// `None` if the run failed.
    record: Option<RunRecord>,
    rows: Vec<StepRow>,
    /// Failures of attempts, oldest first, without the one that the run ended with.
    retried: Vec<Value>,
    /// Unix time of the study's start, for runs that have no time of their own.
    begun_unix_s: u64,
    factors: &'a [String],
}

/// Reads a run and makes a sample of it.
///
/// # Errors
/// The run's record or log is damaged, or a prompt cannot be made again.
pub(super) fn sample(
    store: &Store,
    model: &str,
    factors: &[String],
    sample: &SampleRun,
) -> Result<RunSample, ExperimentError> {
    let folder = &sample.folder;
    let missing =
        || ResultsError::NotARun { path: folder.path().to_path_buf(), expected: "run.json" };
    let (run, record, rows) = match &sample.failed {
        None => {
            let record = folder.committed()?.ok_or_else(missing)?;
            (planned_run(folder.path(), &record)?, Some(record), folder.rows()?)
        }
        Some(FailedRun { run, .. }) => {
            let rows = folder.longest_attempt()?.map(|attempt| attempt.rows).unwrap_or_default();
            (run.clone(), None, rows)
        }
    };
    let last = sample.failed.as_ref().map(|failed| failed.failure.attempt);
    let failures = folder.failures()?.into_iter();
    let retried = failures.filter(|failure| Some(failure.attempt) != last);
    let retried = retried.map(|f| error(&format!("step {}: {}", f.step, f.reason))).collect();
    let begun_unix_s = store.experiment().provenance.begun_unix_s;
    StoredRun { sample, run, model, record, rows, retried, begun_unix_s, factors }.sample()
}

impl StoredRun<'_> {
    fn sample(self) -> Result<RunSample, ExperimentError> {
        let run_id = self.run.run_id.as_str();
        let scripted = self.run.cell.model_name().is_none();
        let mut episode = Episode::new(&self.run)?;
        let gap = self.gap(&episode)?;
        let messages = RunMessages::of(run_id, &self.rows, !scripted, &gap);
        let calls = self.calls(&mut episode);
        let (begun, ended) = self.times();
        let (time, end) = (iso(begun), iso(ended));
        let input = self.input();
        let initial = json!({"id": self.sample.key.id, "input": input, "target": ""});
        let mut transcript = Transcript::new(run_id, &time, initial);
        transcript.add_steps(&self.rows, &messages, &calls);
        let scores = self.record.as_ref().map(scores).unwrap_or_default();
        let error = self.error();
        match &error {
            Some(error) => transcript.add_error(error),
            None => transcript.add_scores(&end, &scores),
        }
        let (events, store) = transcript.finish();
        let mut usage = TokenUsage::default();
        self.rows.iter().for_each(|row| usage.add(TokenUsage::of_step(row)));
        let last = self.rows.last().zip(messages.replies.last());
        let mut document = json!({
            "id": self.sample.key.id,
            "epoch": self.sample.key.epoch,
            "input": input,
            "target": "",
            "messages": messages.conversation,
            "output": last.map_or_else(
                || json!({"model": self.model, "choices": [], "completion": ""}),
                |(row, reply)| output(row, reply, &calls),
            ),
            "scores": scores,
            "metadata": self.metadata(),
            "store": store,
            "events": events,
            "model_usage": usage.by_model(self.model),
            "role_usage": {},
            "started_at": time,
            "uuid": run_id,
            "error_retries": self.retried,
            "attachments": {},
            "events_data": {"messages": messages.pool, "calls": []},
            "turn_count": self.rows.len(),
        });
        if let Some(record) = &self.record {
            document["completed_at"] = json!(end);
            document["total_time"] = json!(record.timing.seconds);
            document["working_time"] = json!(record.timing.seconds);
        }
        if let Some(error) = error {
            document["error"] = error;
        }
        Ok(RunSample {
            file: format!("samples/{}_epoch_{}.json", self.sample.key.id, self.sample.key.epoch),
            summary: self.summary(&document),
            document,
            scores,
            usage,
            committed_unix_s: self.record.map(|record| record.timing.committed_unix_s),
        })
    }

    /// The text that precedes the first kept message of prompts that leave out exchanges; empty if
    /// no prompt does. Rows do not hold it: it begins the first observation.
    fn gap(&self, episode: &Episode) -> Result<String, ExperimentError> {
        if self.rows.iter().all(|row| row.history_dropped == 0) {
            return Ok(String::new());
        }
        let (market, first) = (episode.conversation().market(), self.input());
        match first.starts_with(market) {
            true => Ok(episode.conversation().gap_text()),
            false => Err(ExperimentError::Diverged {
                path: self.sample.folder.path().to_path_buf(),
                line: 1,
                field: "prompt".into(),
                expected: format!("prices that begin {:?}", market.lines().next()),
                found: format!("{:?}", first.lines().next()),
            }),
        }
    }

    fn calls(&self, episode: &mut Episode) -> ModelCalls<'_> {
        let cell = self.run.cell.config();
        let AgentConfig { reply_mode, .. } = cell.agent;
        let mut config = Map::new();
        if let Some(model) = &cell.model {
            config.insert("temperature".into(), model.temperature.into());
            config.insert("top_p".into(), model.top_p.into());
            config.insert("max_tokens".into(), model.max_tokens_per_call.into());
        }
        let function = |tool: Value| tool.get("function").cloned().unwrap_or_default();
        let tools = match episode.tools.take() {
            Some(Value::Array(tools)) if reply_mode == ReplyMode::Text => {
                tools.into_iter().map(function).collect()
            }
            _ => Vec::new(),
        };
        ModelCalls { model: self.model, config, tools, scripted: cell.model.is_none() }
    }

    /// Unix times of begin and end, in seconds. The times of failed runs are not on record.
    fn times(&self) -> (f64, f64) {
        match &self.record {
            Some(RunRecord { timing, .. }) if timing.committed_unix_s > 0 => {
                let ended = timing.committed_unix_s as f64;
                (ended - timing.seconds, ended)
            }
            _ => (self.begun_unix_s as f64, self.begun_unix_s as f64),
        }
    }

    /// The first observation.
    fn input(&self) -> &str {
        let first = self.rows.first().and_then(|row| row.prompt.last());
        first.map_or("", |message| &message.content)
    }

    fn error(&self) -> Option<Value> {
        let FailedRun { failure, .. } = self.sample.failed.as_ref()?;
        Some(error(&format!("step {}: {}", failure.step, failure.reason)))
    }

    /// Identity, seeds, levels of the factors, the whole cell, and the record's measures.
    fn metadata(&self) -> Map<String, Value> {
        let PlannedRun { run_id, cell, replicate, draw, seed } = &self.run;
        let mut metadata = Map::from_iter(
            [
                ("run_id", json!(run_id)),
                ("model", json!(self.model)),
                ("design", json!(cell.config().design.label())),
                ("replicate", json!(replicate)),
                ("draw", json!(draw)),
                ("seed", json!(seed)),
                ("cell_hash", json!(identity::hash_of(cell.values()))),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        );
        let levels = self.factors.iter().filter_map(|key| {
            let value = cell.values().get(key.as_str()).filter(|value| !value.is_null())?;
            Some((key.clone(), value.clone()))
        });
        metadata.extend(levels);
        if let Some(record) = &self.record {
            let names = ["model_identity", "dtype", "kernel_set"];
            let values = [&record.model_identity, &record.dtype, &record.kernel_set];
            metadata.extend(names.map(str::to_string).into_iter().zip(values.map(|v| json!(v))));
        }
        let effective = cell.values().iter().filter(|(_, value)| !value.is_null());
        let effective: Map<String, Value> =
            effective.map(|(key, value)| (key.to_string(), value.clone())).collect();
        metadata.insert("cell".into(), Value::Object(effective));
        if let Some(record) = &self.record {
            let mut measures = json!(record);
            if let Value::Object(measures) = &mut measures {
                // These stand above, or in the study's metadata.
                let elsewhere = ["schema_version", "cell", "run_id", "model", "design"];
                let seeds = ["replicate", "draw", "seed", "model_identity", "dtype", "kernel_set"];
                elsewhere.iter().chain(&seeds).for_each(|name| drop(measures.remove(*name)));
            }
            metadata.insert("record".into(), measures);
        }
        metadata
    }

    fn summary(&self, document: &Value) -> Value {
        let mut summary = Map::new();
        for name in ["id", "epoch", "target", "scores", "model_usage", "role_usage", "started_at"] {
            summary.insert(name.into(), document[name].clone());
        }
        for name in ["completed_at", "total_time", "working_time", "uuid", "turn_count"] {
            if let Some(value) = document.get(name) {
                summary.insert(name.into(), value.clone());
            }
        }
        let input: String = self.input().chars().take(SUMMARY_CHARS_MAX).collect();
        summary.insert("input".into(), json!(input));
        let mut metadata = document["metadata"].as_object().cloned().unwrap_or_default();
        metadata.retain(|_, value| !value.is_object());
        summary.insert("metadata".into(), Value::Object(metadata));
        if let Some(error) = document.get("error") {
            summary.insert("error".into(), error["message"].clone());
        }
        summary.insert("retries".into(), json!(self.retried.len()));
        let messages = document["messages"].as_array().map_or(0, Vec::len);
        summary.insert("message_count".into(), json!(messages));
        summary.insert("completed".into(), json!(true));
        Value::Object(summary)
    }
}

/// An error in Inspect's form, without a trace of Python.
pub(super) fn error(message: &str) -> Value {
    json!({"message": message, "traceback": message, "traceback_ansi": message})
}
