//! Tests of `model.thinking`: a factor of the grid whose default changes no run id, and what rows,
//! tables and prompts hold of the thinking.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use common::folder_options;
use experiment::{Config, ModelThinking, observed_study, run_experiment};
use fake_model::{FakeModel, one_run, random_reply, rows, run, study, valid_reply};
use results::Store;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const THINKING: &str = "model.thinking";

fn run_ids(sets: &[&str]) -> Vec<String> {
    let infos = |_: &str| {
        Ok::<_, std::convert::Infallible>(experiment::RemoteProvider::identity("fake", "f32"))
    };
    let runs = study(sets).runs(infos).unwrap();
    runs.into_iter().map(|run| run.run_id).collect()
}

#[test]
fn the_default_is_off_and_changes_no_run_id() {
    for design in ["v1", "v2"] {
        let design = format!("experiment.design={design}");
        let plain = run_ids(&[&design]);
        for off in ["model.thinking=off", "model.thinking=false", "model.thinking={budget: 0}"] {
            let config = study(&[&design, off]);
            assert!(!config.cells()[0].values().contains_key(THINKING), "{off}");
            assert!(!config.identity().contains_key(THINKING), "folders can be resumed");
            assert_eq!(run_ids(&[&design, off]), plain);
        }
        assert_ne!(run_ids(&[&design, "model.thinking=on"]), plain);
    }
    // The id of a run of an earlier version.
    let config = study(&["model.thinking=on"]);
    assert_eq!(config.cells()[0].values()[THINKING], "on");
    assert_eq!(config.identity()[THINKING], "on");
    let scripted = study(&["model.thinking=on", "agent.policy=careful"]);
    assert!(!scripted.cells()[0].values().contains_key(THINKING));
}

#[test]
fn thinking_is_a_factor() {
    let sets = ["grid.model.thinking=[off, on, {budget: 3}]", "grid.pe_induction.p_shock=[0.3]"];
    let levels = [json!(null), json!("on"), json!({"budget": 3})];
    let config = study(&sets);
    let of = |cell: &experiment::Cell| cell.values().get(THINKING).cloned().unwrap_or_default();
    assert_eq!(config.cells().iter().map(of).collect::<Vec<Value>>(), levels);
    assert_eq!(run_ids(&sets).into_iter().collect::<BTreeSet<_>>().len(), 3 * 2);
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::new(random_reply);
    assert_eq!(run(&config, &model, folder.path(), 2).unwrap().done_now, 6);
    let observed = observed_study(&Store::open(folder.path()).unwrap()).unwrap();
    let found: BTreeSet<_> = observed.runs.iter().map(|run| run.levels[THINKING].clone()).collect();
    assert_eq!(found, ["budget 3", "off", "on"].map(str::to_string).into());
    // A count for one of the levels.
    let by = "experiment.replications_by={model.thinking: {off: 5}}";
    assert_eq!(run_ids(&[&sets[..], &[by]].concat()).len(), 5 + 2 + 2);
    // A resumed study finds its runs again.
    let options = folder_options(folder.path(), 1);
    let again = run_experiment(&config, &model, &options, &common::quiet, &|| false).unwrap();
    assert_eq!((again.done_before, again.done_now), (6, 0));
}

#[test]
fn rows_hold_the_thinking_apart_and_prompts_do_not_hold_it() {
    for design in ["v1", "v2"] {
        let design = format!("experiment.design={design}");
        for (thinking, tokens) in [("off", 0), ("on", 7), ("{budget: 3}", 3)] {
            let model = FakeModel::new(|_, _| Ok(valid_reply()));
            let rows = one_run(&[&design, &format!("model.thinking={thinking}")], &model);
            let words: Vec<String> = (0..tokens).map(|n| format!("thought{n}")).collect();
            for row in &rows {
                assert_eq!(row.reasoning_tokens, tokens);
                assert_eq!(row.reasoning.as_deref().unwrap_or_default(), words.join(" "));
                assert!(row.action.is_some() && !row.reply.contains("thought"));
                assert_eq!(row.reply_tokens, 1 + tokens, "the thinking counts as reply tokens");
            }
            let requests = model.requests.lock().unwrap();
            let last = requests.last().unwrap();
            assert!(last.messages.len() > 20, "the whole conversation");
            assert!(!last.messages.iter().any(|message| message.content.contains("thought")));
        }
    }
}

#[test]
fn rows_without_thinking_are_written_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::new(|_, _| Ok(valid_reply()));
    run(&study(&[]), &model, folder.path(), 1).unwrap();
    let rows = rows(folder.path());
    let fields = serde_json::to_value(&rows[3]).unwrap();
    assert!(fields.get("reasoning").is_none() && fields.get("reasoning_tokens").is_none());
    let record = Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap();
    assert!(record.unwrap().extra.get("reasoning_tokens").is_none());
}

#[test]
fn the_record_counts_tokens_of_thinking() {
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::new(|_, _| Ok(valid_reply()));
    run(&study(&["model.thinking=on"]), &model, folder.path(), 1).unwrap();
    for run in Store::open(folder.path()).unwrap().runs().unwrap() {
        let record = run.committed().unwrap().unwrap();
        assert_eq!(record.extra["reasoning_tokens"], 7 * record.steps);
        assert_eq!(record.cell[THINKING], "on");
    }
}

#[test]
fn other_values_are_refused() {
    for (value, part) in [
        ("maybe", "off, on, or a mapping {budget:"),
        ("{budget: -1}", "off, on, or a mapping {budget:"),
        ("{budget: 3, more: 1}", "off, on, or a mapping {budget:"),
        ("{limit: 3}", "off, on, or a mapping {budget:"),
        ("7", "found the number 7"),
        ("{budget: 50}", "leaves no room for an answer in a reply of 50"),
    ] {
        let text = "model: {max_tokens_per_call: 50}";
        let error = Config::parse(text, "study.yaml", &[format!("model.thinking={value}")]);
        let error = error.expect_err("a refusal").to_string();
        assert!(error.contains(part) && error.contains(THINKING), "{value}: {error}");
    }
    let file = "model:\n  thinking: {budget: 9}\n";
    let config = Config::parse(file, "study.yaml", &[]).unwrap();
    assert_eq!(config.cells()[0].values()[THINKING], json!({"budget": 9}));
    assert_eq!(ModelThinking::default(), ModelThinking::Off);
}
