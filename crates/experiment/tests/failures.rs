//! Tests of failing providers, usage limits, cancellation, and models that cannot be opened.

mod common;
#[path = "common/fake_model.rs"]
mod fake_model;

use common::{folder_options, quiet, steps_of};
use error_kind::{ErrorKind, HasKind};
use experiment::ExperimentOutcome::{Interrupted, RunsFailed};
use experiment::{NoModels, ProviderError, replay_all, run_experiment};
use fake_model::{FakeModel, rows, run, study, valid_reply};
use results::Store;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
/// Defect 6 of the predecessor: API errors were returned as text, parsed as actions and recorded as
/// a "looping crash".
#[test]
fn defect_06_a_providers_failure_is_a_failed_run_and_never_data() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(&["experiment.retries=1"]);
    let broken = FakeModel::new(|_, before| match before {
        0..3 => Ok(valid_reply()),
        _ => Err(ProviderError::Unavailable("503 from the server".into())),
    });
    let summary = run(&config, &broken, folder.path(), 1).unwrap();
    assert_eq!((summary.done_now, summary.failed.len(), summary.outcome()), (0, 4, RunsFailed));
    assert!(summary.failed[0].1.contains("503"));
    let store = Store::open(folder.path()).unwrap();
    let status = results::status(&store).unwrap();
    assert_eq!((status.done, status.failed), (0, 4));
    let begun = &store
        .runs()
        .unwrap()
        .into_iter()
        .filter_map(|run| run.longest_attempt().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(
        begun.iter().map(|attempt| attempt.rows.len()).sum::<usize>(),
        3,
        "no row holds the error"
    );
    // The same experiment continues with a healthy server and gets the rows of a run without
    // failures.
    let healthy = FakeModel::new(|_, _| Ok(valid_reply()));
    assert_eq!(run(&config, &healthy, folder.path(), 2).unwrap().done_now, 4);
    let undisturbed = tempfile::tempdir().unwrap();
    run(&config, &healthy, undisturbed.path(), 2).unwrap();
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
}

#[test]
fn failed_runs_are_retried_within_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let flaky = FakeModel::new(|_, before| match before % 20 {
        7 => Err(ProviderError::Late { seconds: "1".into(), what: "a reply".into() }),
        _ => Ok(valid_reply()),
    });
    let summary = run(&study(&["experiment.retries=9"]), &flaky, folder.path(), 2).unwrap();
    assert_eq!((summary.done_now, summary.failed), (4, vec![]));
}

#[test]
fn a_command_stops_at_its_limits_and_can_be_resumed() {
    let (folder, undisturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = FakeModel::new(|_, _| Ok(valid_reply()));
    run(&study(&[]), &model, undisturbed.path(), 1).unwrap();
    let limited = |sets: &[&str]| run(&study(sets), &model, folder.path(), 1).unwrap();
    let tokens = limited(&["limits.tokens=4000"]);
    assert!(tokens.limited && tokens.left > 0 && tokens.failed.is_empty(), "{tokens:?}");
    assert_eq!(tokens.limit.as_deref(), Some("limits.tokens: 4000 is reached"));
    let hours = limited(&["limits.hours=0.000001"]);
    assert!(hours.limit.is_some_and(|limit| limit.starts_with("limits.hours")) && hours.left > 0);
    // A run that reaches its limit fails without a retry, and its rows are kept.
    let run_tokens = limited(&["limits.run_tokens=3000"]);
    assert_eq!(
        (run_tokens.failed.len(), run_tokens.done_now),
        (run_tokens.left, 0),
        "{run_tokens:?}"
    );
    assert!(run_tokens.failed[0].1.contains("limits.run_tokens: 3000"));
    let run_hours = limited(&["limits.run_hours=0.000001"]);
    assert!(run_hours.failed[0].1.contains("limits.run_hours"), "{run_hours:?}");
    let rest = limited(&[]);
    assert_eq!((rest.left, rest.limit), (0, None));
    assert_eq!(steps_of(folder.path()), steps_of(undisturbed.path()));
    let (folder, gone) = (
        tempfile::tempdir().unwrap(),
        FakeModel::new(|_, _| Err(ProviderError::Unavailable("gone".into()))),
    );
    let config = study(&["experiment.replications=50", "limits.failures=5"]);
    let failures = run(&config, &gone, folder.path(), 1).unwrap();
    assert_eq!(
        (gone.requests.lock().unwrap().len(), failures.outcome()),
        (5, RunsFailed),
        "{:?}",
        failures.limit
    );
}

#[test]
fn a_command_gives_up_on_a_provider_that_always_fails() {
    let folder = tempfile::tempdir().unwrap();
    let dead = FakeModel::new(|_, _| Err(ProviderError::Unavailable("gone".into())));
    let config = study(&["experiment.replications=200"]);
    let summary = run(&config, &dead, folder.path(), 4).unwrap();
    assert!(summary.failed.len() + summary.left > 0 && summary.outcome() == RunsFailed);
    assert!(dead.requests.lock().unwrap().len() < 60, "400 runs, but the command gave up");
}

#[test]
fn cancellation_takes_effect_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let slow = FakeModel::new(|request, _| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if (request.canceled)() {
                return Err(ProviderError::Canceled);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(valid_reply())
    });
    let begun = Instant::now();
    let stop = || begun.elapsed() > Duration::from_millis(300);
    let config = study(&[]);
    let summary =
        run_experiment(&config, &slow, &folder_options(folder.path(), 2), &quiet, &stop).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1300), "{:?}", begun.elapsed());
    assert_eq!((summary.outcome(), summary.failed.len()), (Interrupted, 0));
}

#[test]
fn no_model_is_loaded_when_all_runs_are_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (config, model) = (study(&[]), FakeModel::new(|_, _| Ok(valid_reply())));
    run(&config, &model, folder.path(), 2).unwrap();
    run(&config, &model, folder.path(), 2).unwrap();
    assert_eq!(model.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn rows_of_another_kernel_set_are_refused_or_marked() {
    let folder = tempfile::tempdir().unwrap();
    let (config, mut model) = (study(&[]), FakeModel::new(|_, _| Ok(valid_reply())));
    let mut options = folder_options(folder.path(), 1);
    options.runs_max = Some(1);
    run_experiment(&config, &model, &options, &quiet, &|| false).unwrap();
    model.kernels = "other".into();
    let error = run_experiment(&config, &model, &options, &quiet, &|| false).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Usage && error.to_string().contains("--accept-mixed"),
        "{error}"
    );
    options.accept_mixed = true;
    run_experiment(&config, &model, &options, &quiet, &|| false).unwrap();
    let marked = rows(folder.path())
        .iter()
        .filter(|row| row.mixed_kernels.as_deref() == Some("other"))
        .count();
    assert_eq!((marked, rows(folder.path()).len()), (24, 48));
    replay_all(&Store::open(folder.path()).unwrap()).unwrap();
}

#[test]
fn an_unavailable_model_is_named() {
    let (config, folder) = (study(&[]), tempfile::tempdir().unwrap());
    let options = folder_options(folder.path(), 1);
    let error = run_experiment(&config, &NoModels, &options, &quiet, &|| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("fake"), "{error}");
}
