//! Tests of the runs as an analysis reads them, against the records and the exported tables.

mod common;

use analysis::study::{ObservedRun, ObservedStudy, RunEnd};
use common::run_to_end;
use experiment::{Config, ExportOptions, ExportTable, export, observed_study, simulated_study};
use results::{ExportFormat, Store};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const STUDY: &str = "
experiment: {name: observed, phase: pilot, replications: 3, draws: 2, seed: 11}
env: {max_steps: 200}
agent: {policy: fragile, hazard: 0.01, beta: 0.2}
grid:
  pe_induction.p_shock: [0.0, 0.5]
  env.complexity_level: [0, 1]
";

fn config(text: &str) -> Config {
    Config::parse(text, "study.yaml", &[]).unwrap()
}

fn stored(text: &str) -> (TempDir, ObservedStudy) {
    let out = tempfile::tempdir().unwrap();
    run_to_end(&config(text), out.path(), 2);
    let observed = observed_study(&Store::open(out.path()).unwrap()).unwrap();
    (out, observed)
}

fn table(folder: &Path, table: ExportTable) -> Vec<Value> {
    let options = ExportOptions {
        table,
        format: ExportFormat::Jsonl,
        with_text: false,
        expand_controls: false,
    };
    let mut bytes = Vec::new();
    export(&Store::open(folder).unwrap(), &options, &mut bytes, folder).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_run<'a>(observed: &'a ObservedStudy, row: &Value) -> &'a ObservedRun {
    observed.runs.iter().find(|run| row["run_id"] == *run.run_id).unwrap()
}

#[test]
fn a_stored_study_is_read_as_it_was_played() {
    let (_out, observed) = stored(STUDY);
    let mut simulated = simulated_study(&config(STUDY)).unwrap();
    assert_eq!(observed.planned, 24);
    assert_eq!(observed.phase.as_deref(), Some("pilot"));
    assert_eq!(observed.factors, ["env.complexity_level", "pe_induction.p_shock"]);
    simulated.runs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    let without_calls = |run: &ObservedRun| ObservedRun {
        reply_seconds: 0.0,
        mean_errors: Vec::new(),
        before_event: None,
        ..run.clone()
    };
    assert_eq!(observed.runs.len(), simulated.runs.len());
    for (observed, simulated) in observed.runs.iter().zip(&simulated.runs) {
        assert!(without_calls(observed) == *simulated, "{}", observed.run_id);
    }
    assert!(observed.runs.iter().any(ObservedRun::crashed), "the study has crashes");
    assert!(observed.runs.iter().all(|run| run.known_effect == Some(0.2)));
}

#[test]
fn paths_and_events_are_those_of_the_exported_tables() {
    let (out, observed) = stored(STUDY);
    let intervals = table(out.path(), ExportTable::Intervals);
    assert!(intervals.len() > 100, "{}", intervals.len());
    for row in &intervals {
        let run = of_run(&observed, row);
        let start = row["start"].as_u64().unwrap();
        let at = run.at(start);
        assert_eq!(Some(at.exposure), row["exposure"].as_f64(), "{row}");
        assert_eq!(Some(at.induced), row["exposure_induced"].as_f64(), "{row}");
        assert_eq!(Some(at.dose()), row["dose"].as_f64(), "{row}");
        let lagged = start.checked_sub(20).map_or(0.0, |then| run.at(then).exposure);
        assert_eq!(Some(lagged), row["exposure_lag20"].as_f64(), "{row}");
    }
    for row in table(out.path(), ExportTable::Runs) {
        let run = of_run(&observed, &row);
        assert_eq!(row["entry_time"].as_u64(), run.entry);
        assert_eq!(row["event_time"].as_u64(), Some(run.end_step));
        assert_eq!(row["event_type"], run.end.label());
        assert_eq!(row["exposure.total"].as_f64(), Some(run.at(run.steps).exposure));
        assert_eq!(row["shocks.applied"].as_u64(), Some(run.shocks.applied.iter().sum()));
        assert_eq!(row["cell.env.max_steps"].as_u64(), Some(run.horizon));
        assert_eq!(row["p_shock"].as_f64(), Some(run.p_shock));
    }
    for row in table(out.path(), ExportTable::Crashes) {
        let run = of_run(&observed, &row);
        let is_listed = run.crashes.iter().any(|crash| {
            row["type"] == *crash.detector
                && row["onset_step"].as_u64() == Some(crash.onset)
                && row["recovered_step"].as_u64() == crash.recovered
                && row["primary"].as_bool() == Some(crash.primary)
        });
        assert!(is_listed, "{row}");
    }
}

#[test]
fn behavior_before_an_event_is_of_its_window() {
    let (out, observed) = stored(STUDY);
    let steps = table(out.path(), ExportTable::Steps);
    let mut seen = 0;
    for run in observed.runs.iter().filter(|run| run.crashed()) {
        let behavior = run.before_event.unwrap();
        let window: Vec<&Value> = steps
            .iter()
            .filter(|row| row["run_id"] == *run.run_id)
            .filter(|row| {
                let step = row["step"].as_u64().unwrap();
                run.end_step.saturating_sub(20) < step && step <= run.end_step
            })
            .collect();
        let share = |is: &dyn Fn(&Value) -> bool| {
            window.iter().filter(|row| is(row)).count() as f64 / window.len() as f64
        };
        assert_eq!(behavior.success, share(&|row| row["call_success"] == true));
        assert_eq!(behavior.waiting, share(&|row| row["tool"] == "wait"));
        assert_eq!(behavior.no_call, share(&|row| row["tool"].is_null()));
        seen += 1;
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn a_run_that_cannot_be_read_is_listed_and_left_out() {
    let (out, observed) = stored(STUDY);
    let store = Store::open(out.path()).unwrap();
    let folder = &store.runs().unwrap()[2];
    let log = folder.path().join("steps.1.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("\"success\":true", "\"success\":false", 1)).unwrap();
    let found = observed_study(&store).unwrap();
    assert_eq!(found.runs.len(), observed.runs.len() - 1);
    let [(run, reason)] = found.unreadable.as_slice() else { panic!("{:?}", found.unreadable) };
    assert_eq!(*run, folder.run_id());
    assert!(reason.contains("steps.1.jsonl") && reason.contains("chain"), "{reason}");
}

#[test]
fn runs_of_design_v1_are_at_risk_from_the_start() {
    let text = STUDY.replace("seed: 11", "seed: 11, design: v1").replace("fragile", "random");
    let (_out, observed) = stored(&text.replace("hazard: 0.01, beta: 0.2", ""));
    assert_eq!(observed.design, "v1");
    assert!(observed.runs.iter().all(|run| run.entry == Some(0) && run.path.is_empty()));
    assert!(observed.runs.iter().any(|run| matches!(run.end, RunEnd::Crash(_))));
}
