//! Tests of whole experiments with scripted operators: rows, resuming, replay, detectors, tables.

mod common;

use common::{folder_options, quiet, run_to_end, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::{
    Config, ExperimentError, ExperimentOutcome, ExportOptions, NoModels, RunEvent, export, replay,
    replay_all, rerun_detectors, run_experiment,
};
use results::Store;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const STUDY: &str = "experiment:\n  name: scripted\n  replications: 2\nenv:\n  max_steps: 60\nagent:\n  policy: careful\ngrid:\n  pe_induction.p_shock: [0.0, 0.5]\n";

fn study(sets: &[&str]) -> Config {
    Config::parse(STUDY, "study.yaml", &sets.iter().map(|set| set.to_string()).collect::<Vec<_>>())
        .unwrap()
}

#[test]
fn a_study_runs_and_the_same_command_again_does_nothing() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&[]);
    let summary = run_to_end(&config, out.path(), 4);
    assert_eq!((summary.total, summary.done_now, summary.left), (4, 4, 0));
    assert_eq!(summary.outcome(), ExperimentOutcome::Completed);
    assert_eq!(summary.closing.len(), 4);
    assert!(
        summary.closing.iter().all(|row| row.orders_shipped > 0 && row.mean_pe["cost"].is_some())
    );
    let events = Mutex::new(Vec::new());
    let listen = |event: &RunEvent| events.lock().unwrap().push(event.clone());
    let again =
        run_experiment(&config, &NoModels, &folder_options(out.path(), 4), &listen, &|| false)
            .unwrap();
    assert_eq!((again.total, again.done_before, again.done_now), (4, 4, 0));
    assert_eq!(events.into_inner().unwrap().len(), 1, "only the Planned event");
}

#[test]
fn rows_do_not_depend_on_the_number_of_runs_in_flight() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = study(&[]);
    run_to_end(&config, one.path(), 1);
    run_to_end(&config, many.path(), 8);
    assert_eq!(steps_of(one.path()), steps_of(many.path()));
}

#[test]
fn every_policy_and_every_level_runs_and_replays() {
    for policy in ["careful", "greedy", "random", "looping"] {
        for level in 0..=4 {
            let out = tempfile::tempdir().unwrap();
            let (policy, level) =
                (format!("agent.policy={policy}"), format!("env.complexity_level={level}"));
            let config = study(&[
                &policy,
                &level,
                "interface.recovery_tools=all",
                "interface.prediction_mode=required+full",
            ]);
            run_to_end(&config, out.path(), 2);
            let store = Store::open(out.path()).unwrap();
            let replayed =
                replay_all(&store).unwrap_or_else(|error| panic!("{policy} {level}: {error}"));
            assert_eq!(replayed.len(), 4);
        }
    }
}

#[test]
fn a_replay_reports_the_first_difference() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&["grid.pe_induction.p_shock=[0.5]", "experiment.replications=1"]);
    run_to_end(&config, out.path(), 1);
    let store = Store::open(out.path()).unwrap();
    let folder = store.runs().unwrap().remove(0);
    assert_eq!(replay(folder.path()).unwrap().steps, 60);
    // A record that differs from the one computed from its rows.
    let path = folder.path().join("run.json");
    let original = std::fs::read_to_string(&path).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&original).unwrap();
    record["orders_shipped"] = 9999.into();
    std::fs::write(&path, record.to_string()).unwrap();
    let error = replay(folder.path()).unwrap_err();
    assert!(
        matches!(&error, ExperimentError::Diverged { field, .. } if field == "orders_shipped"),
        "{error}"
    );
    // With another seed, the first observation differs.
    let mut record: serde_json::Value = serde_json::from_str(&original).unwrap();
    record["seed"] = 1.into();
    std::fs::write(&path, record.to_string()).unwrap();
    let error = replay(folder.path()).unwrap_err();
    assert!(matches!(&error, ExperimentError::Diverged { line: 1, .. }), "{error}");
    std::fs::write(&path, original).unwrap();
    // An edited log has an invalid hash chain, which is checked before the replay.
    let log = folder.path().join("steps.1.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    lines[6] = lines[6].replacen("\"success\":true", "\"success\":false", 1);
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    let error = replay(folder.path()).unwrap_err();
    assert!(error.to_string().contains("line 7"), "{error}");
}

/// Defect 9 of the predecessor: an interrupted run started again from its first step.
#[test]
fn defect_09_an_interrupted_study_resumes_with_the_same_bytes() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = study(&[]);
    run_to_end(&config, whole.path(), 2);
    for stop_after in [1, 7, 30, 61, 100] {
        let steps = AtomicUsize::new(0);
        let count = |event: &RunEvent| {
            if matches!(event, RunEvent::StepDone(_)) {
                steps.fetch_add(1, Ordering::SeqCst);
            }
        };
        let stop = || steps.load(Ordering::SeqCst) >= stop_after;
        let options = folder_options(parts.path(), 2);
        let summary = run_experiment(&config, &NoModels, &options, &count, &stop).unwrap();
        assert!(summary.interrupted || summary.left == 0, "{summary:?}");
    }
    let summary = run_to_end(&config, parts.path(), 2);
    assert_eq!(summary.done_before + summary.done_now, 4);
    assert_eq!(steps_of(whole.path()), steps_of(parts.path()));
}

#[test]
fn runs_max_limits_the_runs_of_a_command() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&[]);
    let mut options = folder_options(out.path(), 3);
    options.runs_max = Some(1);
    for done in 1..=4 {
        let summary = run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap();
        assert_eq!((summary.done_now, summary.left, summary.limited), (1, 4 - done, done < 4));
    }
}

#[test]
fn a_folder_of_another_configuration_is_refused() {
    let out = tempfile::tempdir().unwrap();
    run_to_end(&study(&[]), out.path(), 2);
    let other = study(&["env.max_steps=61"]);
    let error =
        run_experiment(&other, &NoModels, &folder_options(out.path(), 1), &quiet, &|| false)
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("env.max_steps: 60 there, 61 now"), "{error}");
    // Execution keys are not part of the configuration's identity.
    run_to_end(&study(&["model.reply_deadline_s=5", "experiment.description=else"]), out.path(), 2);
}

#[test]
fn rerun_detectors_find_what_a_live_run_records() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&["agent.policy=looping", "crash_detector.threshold=lenient"]);
    run_to_end(&config, out.path(), 2);
    let store = Store::open(out.path()).unwrap();
    let same = rerun_detectors(&store, &[]).unwrap();
    assert_eq!(same.len(), 4);
    assert!(
        same.iter().all(|run| run.crashes == run.recorded && !run.crashes.is_empty()),
        "{same:?}"
    );
    let live = tempfile::tempdir().unwrap();
    run_to_end(
        &study(&["agent.policy=looping", "crash_detector.threshold=strict"]),
        live.path(),
        2,
    );
    let live = Store::open(live.path()).unwrap();
    let strict = rerun_detectors(&store, &["crash_detector.threshold=strict".to_string()]).unwrap();
    let looping = |crashes: &[results::CrashRecord]| {
        crashes
            .iter()
            .find(|crash| crash.kind == "looping")
            .map(|crash| (crash.onset_step, crash.detected_step))
            .unwrap()
    };
    let recorded: Vec<_> =
        rerun_detectors(&live, &[]).unwrap().iter().map(|run| looping(&run.recorded)).collect();
    assert_eq!(strict.iter().map(|run| looping(&run.crashes)).collect::<Vec<_>>(), recorded);
    let error = rerun_detectors(&store, &["env.max_steps=5".to_string()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn concurrent_commands_on_one_folder_carry_out_each_run_once() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&["experiment.replications=6"]);
    let summaries: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| run_what_is_free(&config, out.path()))).collect();
        #[allow(clippy::disallowed_methods, reason = "a test, inside a scope")]
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(summaries.iter().sum::<usize>(), 12, "{summaries:?}");
    for folder in Store::open(out.path()).unwrap().runs().unwrap() {
        assert_eq!(folder.attempts().unwrap(), [1], "one attempt at each run");
    }
}

fn run_what_is_free(config: &Config, out: &std::path::Path) -> usize {
    let options = folder_options(out, 1);
    run_experiment(config, &NoModels, &options, &quiet, &|| false).unwrap().done_now
}

/// Defect 7 of the predecessor: runs that began within the same second had the same id, so that 660
/// tasks produced 458 folders.
#[test]
fn defect_07_there_are_as_many_folders_as_runs() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&["experiment.replications=30", "env.max_steps=3"]);
    run_to_end(&config, out.path(), 8);
    let store = Store::open(out.path()).unwrap();
    assert_eq!((config.counts().runs, store.runs().unwrap().len()), (60, 60));
}

/// Defect 11 of the predecessor: aggregation read files that were never written.
#[test]
fn defect_11_tables_have_every_recorded_run_and_step() {
    let out = tempfile::tempdir().unwrap();
    run_to_end(&study(&["env.max_steps=7"]), out.path(), 2);
    let store = Store::open(out.path()).unwrap();
    let lines = |table: &str| {
        let mut bytes = Vec::new();
        let options = ExportOptions {
            table: table.parse().unwrap(),
            format: results::ExportFormat::Jsonl,
            with_text: false,
            expand_controls: false,
        };
        export(&store, &options, &mut bytes, out.path()).unwrap();
        String::from_utf8(bytes).unwrap().lines().count()
    };
    assert_eq!((lines("runs"), lines("steps")), (4, 28));
    assert_eq!(results::status(&store).unwrap().done, 4);
}

/// The forged log has one changed value and a valid hash chain, so that only a replay can detect
/// the change.
#[test]
fn replay_reports_line_and_field_of_a_forged_log() {
    let out = tempfile::tempdir().unwrap();
    let config = study(&[
        "grid.pe_induction.p_shock=[0.5]",
        "experiment.replications=1",
        "env.max_steps=20",
    ]);
    run_to_end(&config, out.path(), 1);
    let store = Store::open(out.path()).unwrap();
    let original = store.runs().unwrap().remove(0);
    let (record, rows) = (original.committed().unwrap().unwrap(), original.rows().unwrap());
    type Forge = fn(&mut results::StepRow);
    let forges: [(&str, Forge); 5] = [
        ("result", |row| row.result.success = !row.result.success),
        ("pe_pairs", |row| row.pe_pairs[0].error = 0.125),
        ("state", |row| row.state = results::RawJson::of(&serde_json::json!({"day": 0}))),
        ("prompt", |row| row.prompt[0].content.push('!')),
        ("reply", |row| row.reply = row.reply.replacen("\"success\":true", "\"success\":false", 1)),
    ];
    for (field, forge) in forges {
        let other = tempfile::tempdir().unwrap();
        let forged = Store::create(other.path(), store.experiment()).unwrap().run(&record.run_id);
        let claimed = forged.claim(&results::Owner::here(), None).unwrap();
        let results::ClaimOutcome::Acquired(claim) = claimed else { panic!("the run is claimed") };
        let mut writer = forged.begin(claim).unwrap();
        for (at, row) in rows.iter().enumerate() {
            let mut row = row.clone();
            if at == 11 {
                forge(&mut row);
            }
            writer.append(&row).unwrap();
        }
        writer.commit(record.clone()).unwrap();
        assert_eq!(forged.rows().unwrap().len(), 20, "the chain is valid");
        match replay(forged.path()).unwrap_err() {
            ExperimentError::Diverged { line, field: found, .. } => {
                assert_eq!((line, found.as_str()), (12, field))
            }
            other => panic!("{field}: {other}"),
        }
    }
}

#[test]
fn rerun_detectors_do_not_depend_on_the_threshold_of_the_run() {
    // The random operator's calls depend on the run's id, and so on the threshold.
    for policy in ["agent.policy=looping", "agent.policy=greedy"] {
        // Runs continue after crashes, so that their rows do not depend on the threshold.
        let long = [policy, "crash_detector.continue_after_crash=1000", "env.initial_budget=2000"];
        let of = |threshold: &str| {
            let out = tempfile::tempdir().unwrap();
            let threshold = format!("crash_detector.threshold={threshold}");
            run_to_end(&study(&[&long[..], &[&threshold]].concat()), out.path(), 2);
            out
        };
        let folders = ["strict", "moderate", "lenient"].map(of);
        let crashes = |folder: &tempfile::TempDir, sets: &[String]| {
            let found = rerun_detectors(&Store::open(folder.path()).unwrap(), sets).unwrap();
            let mut found: Vec<_> =
                found.into_iter().map(|run| (run.crashes, run.recorded)).collect();
            found.sort_by_key(|pair| format!("{pair:?}"));
            found
        };
        for (threshold, live) in ["strict", "moderate", "lenient"].iter().zip(&folders) {
            let mut recorded: Vec<_> =
                crashes(live, &[]).into_iter().map(|(_, recorded)| recorded).collect();
            recorded.sort_by_key(|crashes| format!("{crashes:?}"));
            assert!(recorded.iter().any(|crashes| !crashes.is_empty()), "{policy} {threshold}");
            for folder in &folders {
                let set = [format!("crash_detector.threshold={threshold}")];
                let mut again: Vec<_> =
                    crashes(folder, &set).into_iter().map(|(crashes, _)| crashes).collect();
                again.sort_by_key(|crashes| format!("{crashes:?}"));
                assert_eq!(again, recorded, "{policy} {threshold}");
            }
        }
    }
}
