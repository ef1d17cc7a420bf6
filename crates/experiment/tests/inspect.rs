//! Tests of the logs of `export --format inspect`: what is in the archives against the rows and
//! records that they come from. `.ci/inspect` opens such logs with Inspect's own reader.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use common::{folder_options, quiet, run_to_end};
use error_kind::{ErrorKind, HasKind};
use experiment::{Config, NoModels, ProviderError, export_inspect, run_experiment};
use fake_model::{FakeModel, random_reply, run, study, valid_reply};
use results::{RunRecord, StepRow, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use zip::{CompressionMethod, DateTime, ZipArchive};

/// Fragile operators crash, careful ones do not.
const OPERATORS: &str = "
experiment: {name: operators, phase: pilot, replications: 2, draws: 2, seed: 11}
env: {max_steps: 120}
agent: {hazard: 0.02, beta: 0.2}
grid:
  agent.policy: [careful, fragile]
  pe_induction.p_shock: [0.0, 0.5]
  pe_induction.observability: [hidden, full]
";

/// The documents of a log, by name, in the order of the archive.
struct Log {
    names: Vec<String>,
    documents: BTreeMap<String, Value>,
}

impl Log {
    fn read(path: &Path) -> Log {
        let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
        let (mut names, mut documents) = (Vec::new(), BTreeMap::new());
        for at in 0..archive.len() {
            let mut file = archive.by_index(at).unwrap();
            assert_eq!(file.compression(), CompressionMethod::Deflated);
            assert_eq!(file.last_modified(), Some(DateTime::default()), "no time of the clock");
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            let name = file.name().unwrap().to_string();
            documents.insert(name.clone(), serde_json::from_str(&text).unwrap());
            names.push(name);
        }
        assert_eq!(names.len(), documents.len(), "no name occurs twice");
        Log { names, documents }
    }

    fn header(&self) -> &Value {
        &self.documents["header.json"]
    }

    fn samples(&self) -> Vec<&Value> {
        let samples = self.names.iter().filter(|name| name.starts_with("samples/"));
        samples.map(|name| &self.documents[name]).collect()
    }
}

fn logs(folder: &Path, out: &Path) -> Vec<Log> {
    let summary = export_inspect(&Store::open(folder).unwrap(), out).unwrap();
    summary.logs.iter().map(|path| Log::read(path)).collect()
}

fn stored(folder: &Path, sample: &Value) -> (RunRecord, Vec<StepRow>) {
    let run = Store::open(folder).unwrap().run(sample["uuid"].as_str().unwrap());
    (run.committed().unwrap().unwrap(), run.rows().unwrap())
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn events<'a>(sample: &'a Value, kind: &str) -> Vec<&'a Value> {
    list(sample, "events").iter().filter(|event| event["event"] == kind).collect()
}

/// The prompt of a call of the model, as role and content.
fn prompt(sample: &Value, event: &Value) -> Vec<(String, String)> {
    let pool = list(&sample["events_data"], "messages");
    let range = |range: &Value| {
        let at = |side: usize| range[side].as_u64().unwrap() as usize;
        pool[at(0)..at(1)].to_vec()
    };
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let messages = list(event, "input_refs").iter().flat_map(range);
    messages.map(|m| (text(&m["role"]), text(&m["content"]))).collect()
}

/// Files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn each_model_has_a_log_and_each_run_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    run_to_end(&Config::parse(OPERATORS, "s.yaml", &[]).unwrap(), folder.path(), 2);
    let out = tempfile::tempdir().unwrap();
    let logs = logs(folder.path(), out.path());
    assert_eq!(logs.len(), 2);
    let mut crashes = 0;
    for log in &logs {
        let header = log.header();
        assert_eq!((&header["version"], &header["status"]), (&json!(2), &json!("success")));
        assert_eq!(header["eval"]["task"], "operators");
        assert_eq!(header["eval"]["tags"], json!(["pilot"]));
        assert_eq!(header["eval"]["config"]["epochs"], 2);
        assert_eq!(header["eval"], log.documents["_journal/start.json"]["eval"]);
        assert!(header["eval"]["metadata"].get("note").is_none());
        let samples = log.samples();
        // Runs without shocks have no level of observability.
        assert_eq!(samples.len(), (1 + 2) * 2 * 2);
        assert_eq!(header["results"]["completed_samples"], samples.len());
        assert_eq!(list(&header["eval"]["dataset"], "sample_ids").len(), samples.len() / 2);
        let summaries = log.documents["summaries.json"].as_array().unwrap();
        assert_eq!(summaries.len(), samples.len());
        for (sample, summary) in samples.into_iter().zip(summaries) {
            for name in ["id", "epoch", "scores", "model_usage", "uuid"] {
                assert_eq!(sample[name], summary[name], "{name}");
            }
            let (record, rows) = stored(folder.path(), sample);
            assert_eq!(record.model, header["eval"]["model"]);
            assert_eq!(sample["epoch"], record.draw + 1);
            check_sample(sample, &record, &rows);
            crashes += usize::from(record.outcome == "crash");
        }
    }
    assert!(crashes > 0, "the study has crashes");
    // The same folder gives the same bytes, also over an older log.
    let before = files(out.path());
    export_inspect(&Store::open(folder.path()).unwrap(), out.path()).unwrap();
    assert!(files(out.path()) == before);
}

/// Messages, events, scores and metadata of a sample against rows and record.
fn check_sample(sample: &Value, record: &RunRecord, rows: &[StepRow]) {
    let messages = list(sample, "messages");
    let prompts: usize = rows.iter().map(|row| row.prompt.len()).sum();
    assert_eq!(messages.len(), prompts + rows.len());
    let replies = messages.iter().filter(|message| message["role"] == "assistant");
    for (reply, row) in replies.zip(rows) {
        let action = row.action.as_ref();
        let call = list(reply, "tool_calls").first();
        assert_eq!(call.map(|call| &call["function"]), action.map(|a| json!(a.tool)).as_ref());
        assert_eq!(
            call.map(|call| &call["arguments"]),
            action.map(|a| json!(a.arguments)).as_ref()
        );
    }
    let (models, tools) = (events(sample, "model"), events(sample, "tool"));
    assert_eq!(models.len(), rows.len());
    assert_eq!(tools.len(), rows.iter().filter(|row| row.action.is_some()).count());
    let infos = events(sample, "info");
    let of = |source: &str| infos.iter().filter(|info| info["source"] == source).count();
    assert_eq!(of("shock"), rows.iter().map(|row| row.shocks.len()).sum::<usize>());
    assert_eq!(of("crash"), rows.iter().map(|row| row.crashes.len()).sum::<usize>());
    let last: Value = rows.last().unwrap().state.value();
    for (name, value) in last.as_object().unwrap() {
        assert_eq!(&sample["store"][name], value, "{name}");
    }
    let scores = &sample["scores"];
    let crashed = record.outcome == "crash";
    assert_eq!(scores.get("crash").is_some(), record.outcome != "never_competent");
    assert_eq!(scores["outcome"]["value"], json!(record.outcome));
    assert_eq!(scores.get("onset").is_some(), crashed);
    assert_eq!(scores["exposure"]["value"], json!(record.exposure.unwrap().total()));
    if crashed {
        let risk = record.risk.as_ref().unwrap();
        assert_eq!(scores["crash"]["value"], 1);
        assert_eq!(scores["onset"]["value"], risk.event_time);
        assert_eq!(scores["crash_type"]["value"], risk.event_type["crash:".len()..]);
    }
    assert_eq!(sample["metadata"]["pe_induction.p_shock"], record.cell["pe_induction.p_shock"]);
    assert_eq!(sample["metadata"]["seed"], record.seed);
    let mut ids: Vec<&str> =
        list(sample, "events").iter().map(|e| e["uuid"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), list(sample, "events").len());
    let opened = events(sample, "span_begin").len();
    assert_eq!(opened, events(sample, "span_end").len());
    assert!(opened > rows.len());
}

#[test]
fn prompts_are_those_that_the_model_got() {
    for sets in [
        vec!["agent.history=window", "agent.history_window=5"],
        vec!["agent.reply_mode=text", "agent.history=none"],
        vec!["model.thinking=on"],
        vec!["experiment.design=v1", "model.context_length=900"],
        vec!["model.context_length=900"],
    ] {
        let sets = [
            &sets[..],
            &["experiment.replications=1", "grid.pe_induction.p_shock=[0.3]", "env.max_steps=30"],
        ]
        .concat();
        let folder = tempfile::tempdir().unwrap();
        let model = FakeModel::new(random_reply);
        assert_eq!(run(&study(&sets), &model, folder.path(), 1).unwrap().done_now, 1, "{sets:?}");
        let out = folder.path().join("one.eval");
        let log = logs(folder.path(), &out).pop().unwrap();
        let sample = log.samples()[0];
        let (record, rows) = stored(folder.path(), sample);
        let requests = model.requests.lock().unwrap();
        let calls = events(sample, "model");
        assert_eq!(calls.len(), requests.len());
        for ((call, request), row) in calls.iter().zip(requests.iter()).zip(&rows) {
            let sent = request.messages.iter();
            let sent: Vec<_> = sent.map(|m| (m.role.to_string(), m.content.clone())).collect();
            assert_eq!(prompt(sample, call), sent, "{sets:?}, step {}", row.step);
            assert_eq!(call["config"]["seed"], request.seed);
            assert_eq!(call["config"]["max_tokens"], request.max_tokens);
            let usage = &call["output"]["usage"];
            assert_eq!(usage["input_tokens"], row.prompt_tokens);
            assert_eq!(usage["output_tokens"], row.reply_tokens);
            let content = &call["output"]["choices"][0]["message"]["content"];
            if let Some(thinking) = &row.reasoning {
                assert_eq!(content[0], json!({"type": "reasoning", "reasoning": thinking}));
                assert_eq!(content[1]["text"], json!(row.reply));
            } else {
                assert_eq!(content, &json!(row.reply));
            }
        }
        let tools = requests[0].tools.as_ref().map_or(0, |tools| tools.as_array().unwrap().len());
        assert_eq!(list(calls[0], "tools").len(), tools, "{sets:?}");
        let usage = &sample["model_usage"]["fake"];
        assert_eq!(usage["input_tokens"], record.prompt_tokens);
        assert_eq!(log.header()["stats"]["model_usage"]["fake"], *usage);
        let failed = rows.iter().filter(|row| row.parse_failure.is_some()).count();
        assert!(failed > 0);
        let infos = events(sample, "info");
        assert_eq!(infos.iter().filter(|info| info["source"] == "parse_failure").count(), failed);
    }
}

#[test]
fn an_unfinished_study_is_a_log_of_what_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::parse(OPERATORS, "s.yaml", &[]).unwrap();
    let mut options = folder_options(folder.path(), 1);
    options.runs_max = Some(5);
    run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap();
    let out = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let summary = export_inspect(&store, out.path()).unwrap();
    assert_eq!((summary.runs, summary.failed, summary.left_out), (5, 0, 24 - 5));
    let logs: Vec<Log> = summary.logs.iter().map(|path| Log::read(path)).collect();
    assert_eq!(logs.len(), 2, "the operator without a run has a log too");
    for log in &logs {
        let header = log.header();
        assert_eq!(header["status"], "cancelled");
        assert_eq!(header["results"]["total_samples"], 12);
        assert_eq!(header["results"]["completed_samples"], log.samples().len());
        let note = header["eval"]["metadata"]["note"].as_str().unwrap();
        assert!(note.starts_with("unfinished: ") && note.contains("of 12 runs"), "{note}");
    }
    // Finished later, the study has the same logs, which are complete.
    run_to_end(&config, folder.path(), 2);
    let later = export_inspect(&store, out.path()).unwrap();
    assert_eq!(later.logs, summary.logs);
    assert_eq!((later.runs, later.left_out), (24, 0));
}

#[test]
fn a_failed_run_is_a_sample_with_its_error_and_its_rows() {
    for design in ["v1", "v2"] {
        let config = study(&["experiment.retries=0", &format!("experiment.design={design}")]);
        let folder = tempfile::tempdir().unwrap();
        let broken = FakeModel::new(|_, before| match before {
            0..27 => Ok(valid_reply()),
            _ => Err(ProviderError::Unavailable("503 from the server".into())),
        });
        run(&config, &broken, folder.path(), 1).unwrap();
        let out = folder.path().join("log.eval");
        let log = logs(folder.path(), &out).pop().unwrap();
        let header = log.header();
        assert_eq!(header["status"], "error");
        assert!(header["error"]["message"].as_str().unwrap().contains("503"));
        let samples = log.samples();
        let errors: Vec<&&Value> = samples.iter().filter(|s| s.get("error").is_some()).collect();
        assert_eq!((samples.len(), errors.len()), (4, 3), "one run was committed before");
        let begun = errors.iter().find(|sample| !events(sample, "model").is_empty()).unwrap();
        assert_eq!(events(begun, "model").len(), 3, "rows of the failed attempt");
        assert_eq!(begun["error"]["message"], events(begun, "error")[0]["error"]["message"]);
        assert!(begun["error"]["message"].as_str().unwrap().starts_with("step 4: "));
        assert_eq!(begun["scores"], json!({}));
        // Once it succeeds, the earlier failure is a retry.
        let healthy = FakeModel::new(|_, _| Ok(valid_reply()));
        run(&config, &healthy, folder.path(), 1).unwrap();
        let log = logs(folder.path(), &out).pop().unwrap();
        assert_eq!(log.header()["status"], "success");
        let retried = log.samples().iter().map(|s| list(s, "error_retries").len()).sum::<usize>();
        assert_eq!(retried, 3);
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    run_to_end(&Config::parse(OPERATORS, "s.yaml", &[]).unwrap(), folder.path(), 2);
    let store = Store::open(folder.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let two = export_inspect(&store, &out.path().join("one.eval")).unwrap_err();
    assert_eq!(two.kind(), ErrorKind::Usage);
    assert!(two.to_string().contains("careful, fragile"), "{two}");
    assert!(files(out.path()).is_empty());
    // An edited log is found, and the archive that was begun is removed.
    let run = store.runs().unwrap().pop().unwrap();
    let attempt = run.committed_attempt().unwrap();
    let packed = attempt.path.extension().is_some_and(|ending| ending == "zst");
    let bytes = fs::read(&attempt.path).unwrap();
    fs::write(&attempt.path, &bytes[..bytes.len() / 2]).unwrap();
    let edited = export_inspect(&store, out.path()).unwrap_err();
    assert!(packed || edited.kind() == ErrorKind::BadInput, "{edited}");
    let left = files(out.path());
    assert!(left.keys().all(|name| name.extension().is_some_and(|e| e == "eval")), "{left:?}");
    let file = out.path().join("file");
    fs::write(&file, "").unwrap();
    let no_folder = export_inspect(&store, &file).unwrap_err();
    assert!(no_folder.to_string().contains("file"), "{no_folder}");
}
