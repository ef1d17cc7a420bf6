//! Tests of recording, resuming and replaying runs whose agent is a model, and of the measures
//! computed from them.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use common::{folder_options, quiet, steps_of};
use experiment::{Finish, ReplayProvider, RunEvent, replay_all, run_experiment};
use fake_model::{FakeModel, one_run, random_reply, rows, run, study, valid_reply};
use results::Store;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
#[test]
fn replies_of_every_kind_are_recorded_resumed_and_replayed() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = study(&[]);
    let model = FakeModel::new(random_reply);
    assert_eq!(run(&config, &model, whole.path(), 3).unwrap().done_now, 4);
    let kinds: BTreeSet<String> =
        rows(whole.path()).into_iter().filter_map(|row| Some(row.parse_failure?.kind)).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["cut_off", "invalid_json", "schema_mismatch"]
    );
    assert!(
        rows(whole.path()).iter().all(|row| row.parse_failure.is_some() == row.action.is_none())
    );
    let steps = AtomicUsize::new(0);
    let count = |event: &RunEvent| {
        if matches!(event, RunEvent::StepDone(_)) {
            steps.fetch_add(1, Ordering::SeqCst);
        }
    };
    while steps.load(Ordering::SeqCst) < 96 {
        let stop_at = steps.load(Ordering::SeqCst) + 13;
        let stop = || steps.load(Ordering::SeqCst) >= stop_at;
        run_experiment(&config, &model, &folder_options(parts.path(), 2), &count, &stop).unwrap();
    }
    assert_eq!(steps_of(whole.path()), steps_of(parts.path()));
    assert_eq!(replay_all(&Store::open(whole.path()).unwrap()).unwrap().len(), 4);
    // A replay provider yields the same rows without the model.
    let played = tempfile::tempdir().unwrap();
    let recorded = ReplayProvider::open(&Store::open(whole.path()).unwrap()).unwrap();
    let options = folder_options(played.path(), 2);
    let summary = run_experiment(&config, &recorded, &options, &quiet, &|| false).unwrap();
    assert_eq!((summary.done_now, summary.failed), (4, vec![]));
    assert_eq!(steps_of(whole.path()), steps_of(played.path()));
}

/// Defect 1 of the predecessor: prediction errors were computed from an observation that did not
/// contain the actual values.
#[test]
fn defect_01_errors_are_scored_against_actual_values() {
    let rows = one_run(&[], &FakeModel::new(|_, _| Ok(valid_reply())));
    let first = &rows[0];
    let cash = first.state.value()["budget"].as_f64().unwrap();
    let pair = first.pe_pairs.iter().find(|pair| pair.field == "budget_after").unwrap();
    assert_eq!((pair.predicted, pair.actual), (9000.0, cash));
    assert!((pair.error - (cash - 9000.0).abs() / cash).abs() < 1e-9, "{pair:?}");
    let scored = |field: &str| first.pe_pairs.iter().any(|pair| pair.field == field);
    assert!(!scored("delivery_days"), "without an order the error is missing, not 0");
}

/// Defect 9 of the predecessor: neither token counts nor provenance were recorded.
#[test]
fn defect_09_tokens_and_provenance_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    run(&study(&[]), &FakeModel::new(|_, _| Ok(valid_reply())), folder.path(), 2).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let record = store.runs().unwrap()[0].committed().unwrap().unwrap();
    let rows = store.runs().unwrap()[0].rows().unwrap();
    assert_eq!(record.prompt_tokens, rows.iter().map(|row| row.prompt_tokens).sum::<u64>());
    assert!(
        record.prompt_tokens > 1000
            && record.reply_tokens > 0
            && record.timing.cached_prompt_tokens > 0
    );
    assert_eq!(
        (record.model.as_str(), record.model_identity.as_str(), record.dtype.as_str()),
        ("fake", "fake", "f32")
    );
    assert_eq!(store.model("fake").unwrap().unwrap().kernel_set, "k");
    assert_eq!(
        store.experiment().configuration["env.max_steps"],
        json!(24),
        "the resolved configuration is saved"
    );
    assert_eq!(store.experiment().runs.len(), 4);
    assert!(record.cell.contains_key("demand.due_days"), "with every default");
}

#[test]
fn a_runs_record_has_its_calibration() {
    let sure = r#"{"tool":"order","arguments":{"supplier_id":"S99","sku":"P1","quantity":1},"card":{"success":true,"confidence":0.9}}"#;
    let folder = tempfile::tempdir().unwrap();
    let model = FakeModel::new(move |_, _| Ok((sure.to_string(), Finish::Stop)));
    run(&study(&["interface.prediction_mode=required+confidence"]), &model, folder.path(), 2)
        .unwrap();
    let record =
        Store::open(folder.path()).unwrap().runs().unwrap()[0].committed().unwrap().unwrap();
    let calibration = &record.extra["calibration"];
    assert!((calibration["brier"].as_f64().unwrap() - 0.81).abs() < 1e-9, "{calibration}");
    assert_eq!(calibration["reliability"][9]["right"], json!(0.0));
}

/// The embeddings of this agent's summaries move away from those of its first summaries. Tests that
/// rows record the similarity and the embedder, that the detector fires, and that interruptions,
/// replay and a replay provider yield the same results.
#[test]
fn slow_divergence_is_detected_from_embeddings_of_the_agents_summaries() {
    let drifting = |request: &experiment::ReplyRequest<'_>, _: usize| {
        let step = request.messages.len() / 2;
        let tool = ["check_inbox", "check_storage", "check_budget"][step % 3];
        Ok((
            format!("Step {step}: all goes its way. {{\"tool\":\"{tool}\",\"card\":null}}"),
            Finish::Stop,
        ))
    };
    let mut model = FakeModel::new(drifting);
    model.embed = Some(std::sync::Arc::new(|text: &str| {
        let step: f32 = text.split([' ', ':']).nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
        vec![(step / 20.0).cos(), (step / 20.0).sin(), 0.0]
    }));
    let sets = [
        "agent.reply_mode=text",
        "env.max_steps=60",
        "experiment.replications=1",
        "crash_detector.threshold=lenient",
    ];
    let config = study(&sets);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(&config, &model, whole.path(), 1).unwrap().done_now, 2);
    let rows = rows(whole.path());
    assert!(
        rows[..8].iter().all(|row| row.similarity.is_none()),
        "the first eight summaries are the reference"
    );
    let similarities: Vec<_> =
        rows[8..60].iter().map(|row| row.similarity.clone().unwrap()).collect();
    assert!(similarities.iter().all(|similarity| similarity.embedder == "fake"));
    assert!(similarities.windows(2).all(|pair| pair[1].centered < pair[0].centered));
    let kinds: Vec<_> =
        rows[..60].iter().flat_map(|row| &row.crashes).map(|crash| crash.kind.as_str()).collect();
    assert!(kinds.contains(&"slow_divergence"), "{kinds:?}");
    let store = Store::open(whole.path()).unwrap();
    assert_eq!(replay_all(&store).unwrap().len(), 2);
    for run in experiment::rerun_detectors(&store, &[]).unwrap() {
        assert_eq!(run.crashes, run.recorded);
    }
    // The experiment is interrupted every five steps, both within the eight reference summaries and
    // after them.
    let steps = AtomicUsize::new(0);
    let count = |event: &RunEvent| {
        if matches!(event, RunEvent::StepDone(_)) {
            steps.fetch_add(1, Ordering::SeqCst);
        }
    };
    while steps.load(Ordering::SeqCst) < 120 {
        let stop_at = steps.load(Ordering::SeqCst) + 5;
        let stop = || steps.load(Ordering::SeqCst) >= stop_at;
        run_experiment(&config, &model, &folder_options(parts.path(), 1), &count, &stop).unwrap();
    }
    assert_eq!(steps_of(whole.path()), steps_of(parts.path()));
    let played = tempfile::tempdir().unwrap();
    let recorded = ReplayProvider::open(&store).unwrap();
    run_experiment(&config, &recorded, &folder_options(played.path(), 1), &quiet, &|| false)
        .unwrap();
    assert_eq!(steps_of(whole.path()), steps_of(played.path()));
}

/// A model without embeddings has similarities too, from the local embedder, which rows name.
#[test]
fn summaries_are_compared_locally_if_the_model_has_no_embeddings() {
    let model = FakeModel::new(|request, _| {
        let step = request.messages.len() / 2;
        let text = if step < 12 { "Stock is low, I look." } else { "La la la, the sea." };
        Ok((format!("{text} {{\"tool\":\"check_inbox\",\"card\":null}}"), Finish::Stop))
    });
    let rows = one_run(&["agent.reply_mode=text", "env.max_steps=20"], &model);
    assert!(rows[..8].iter().all(|row| row.similarity.is_none()));
    let similarity = |step: usize| rows[step - 1].similarity.clone().expect("a similarity");
    assert!(rows[8..20].iter().all(|row| row.similarity.is_some()));
    assert_eq!(similarity(9).embedder, "trigrams/1");
    assert_eq!(similarity(9).centered, Some(1.0), "equal to the reference, which has no spread");
    assert_eq!(similarity(20).centered, Some(0.0));
}

/// The first draw of a world has the same sampling seeds in all cells, the others have their own.
#[test]
fn further_draws_have_sampling_seeds_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(&["experiment.draws=2", "experiment.replications=1", "env.max_steps=3"]);
    run(&config, &FakeModel::new(|_, _| Ok(valid_reply())), folder.path(), 2).unwrap();
    let mut seeds: BTreeSet<(u64, u64)> = BTreeSet::new();
    for run in Store::open(folder.path()).unwrap().runs().unwrap() {
        let draw = run.committed().unwrap().unwrap().draw;
        seeds.insert((draw, run.rows().unwrap()[0].sampling_seed));
    }
    let of_draw = |wanted: u64| seeds.iter().filter(|(draw, _)| *draw == wanted).count();
    assert_eq!((of_draw(0), of_draw(1)), (1, config.cells().len()));
}
