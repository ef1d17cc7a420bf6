//! `vendomini play`: a person plays one run of an experiment.

use super::run::provenance;
use crate::args::PlayArgs;
use crate::failure::{Failure, exit};
use crate::person::{Person, PersonFactory, Stop};
use crate::{output, signals};
use experiment::{
    Cell, Config, ExperimentSummary, PlannedRun, RunEvent, RunOptions, run_experiment,
};
use results::{RunRecord, Store};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use warehouse::PredictionMode;

pub fn run(args: &PlayArgs) -> Result<u8, Failure> {
    let config = person_config(args)?;
    let folder = config.folder(args.out.as_deref());
    let runs = chosen(&config, args)?;
    if args.list {
        return list(&config, &runs, &folder);
    }
    let run = next(&runs, &folder)?;
    config.notes().iter().for_each(|note| output::message(note));
    restore_terminal_at_signals()?;
    let interface = run.cell.interface();
    let optional = interface.world.prediction_mode == PredictionMode::Optional;
    let person = Person::new(&interface.tools, &interface.card, optional)?;
    let options = RunOptions {
        folder: folder.clone(),
        jobs: 1,
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: Some(run.run_id.clone()),
        stop_at: None,
        claim_patience: Duration::ZERO,
        provenance: provenance(),
    };
    let ended: Mutex<Option<RunRecord>> = Mutex::default();
    let summary = run_experiment(
        &config,
        &PersonFactory(person.clone()),
        &options,
        &|event: &RunEvent| report(event, &ended),
        &|| person.stopped().is_some(),
    )?;
    match (base::unpoisoned(ended.into_inner()), person.stopped()) {
        (Some(record), _) => close(&record, &folder),
        (None, Some(Stop::NoInput)) => Err(Failure::usage(
            "play: expected a terminal, or answers on stdin, found neither. Run it in a terminal, \
             or give it a script: vendomini play ... < answers.txt",
        )),
        (None, Some(Stop::Failed)) => {
            Err(person.failure().unwrap_or_else(|| Failure::software("the person failed")))
        }
        (None, Some(stop)) => {
            let text = format!("run {} is kept; the same command goes on with it", run.run_id);
            output::message(&text);
            Ok(if stop == Stop::Interrupted { exit::INTERRUPTED } else { 0 })
        }
        (None, None) => Err(not_played(&summary)),
    }
}

/// The configuration with a person as its agent. If it has none, it becomes an experiment of its
/// own, so that runs of people and models never share a folder unless the configuration says so.
fn person_config(args: &PlayArgs) -> Result<Config, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    let (mut sets, mut name) = (args.set.clone(), config.name().to_string());
    if !config.cells().iter().any(Cell::is_human) {
        sets.push("agent.policy=human".into());
        name.push_str("_human");
    }
    if let Some(player) = &args.player {
        sets.push(format!("agent.player={player}"));
        // Refuses a pseudonym that cannot be one, before it is a part of a name.
        Config::load(&args.config, &sets)?;
        name.push('_');
        name.push_str(player);
    }
    if sets.len() > args.set.len() {
        sets.push(format!("experiment.name={name}"));
    }
    Ok(Config::load(&args.config, &sets)?)
}

/// The runs that the arguments allow.
fn chosen(config: &Config, args: &PlayArgs) -> Result<Vec<PlannedRun>, Failure> {
    let mut runs = config.human_runs();
    let planned = runs.len();
    runs.retain(|run| {
        args.run.as_ref().is_none_or(|id| run.run_id.starts_with(id.as_str()))
            && args.replicate.is_none_or(|replicate| run.replicate == replicate)
            && args.cell.is_none_or(|cell| config.cell_number(&run.cell) == cell)
    });
    if runs.is_empty() {
        return Err(Failure::usage(format!(
            "expected --run, --cell or --replicate of one of {planned} runs, found none that fits: \
             --list prints them"
        )));
    }
    if args.run.is_some() && runs.len() > 1 {
        return Err(Failure::usage(format!(
            "--run: expected the beginning of one id, found that of {}: write more of it",
            runs.len()
        )));
    }
    Ok(runs)
}

/// The first run that is not done.
fn next<'a>(runs: &'a [PlannedRun], folder: &Path) -> Result<&'a PlannedRun, Failure> {
    let Some(store) = open(folder)? else { return Ok(&runs[0]) };
    runs.iter().find(|run| !store.run(&run.run_id).is_committed()).ok_or_else(|| {
        Failure::usage(match runs {
            [one] => format!("run {} is done: vendomini replay checks it", one.run_id),
            all => format!("all {} runs are done", all.len()),
        })
    })
}

/// The experiment's folder, if there is one.
fn open(folder: &Path) -> Result<Option<Store>, Failure> {
    match folder.join("experiment.json").exists() {
        true => Ok(Some(Store::open(folder)?)),
        false => Ok(None),
    }
}

fn list(config: &Config, runs: &[PlannedRun], folder: &Path) -> Result<u8, Failure> {
    let store = open(folder)?;
    output::line("cell  world  state        run                   levels")?;
    for run in runs {
        let state = match store.as_ref().map(|store| store.run(&run.run_id)) {
            Some(folder) if folder.is_committed() => "done".to_string(),
            Some(folder) => match folder.longest_attempt()? {
                Some(attempt) => format!("{} steps", attempt.rows.len()),
                None => "-".to_string(),
            },
            None => "-".to_string(),
        };
        output::line(&format!(
            "{:>4}  {:>5}  {state:<11}  {}  {}",
            config.cell_number(&run.cell),
            run.replicate,
            run.run_id,
            config.levels_text(&run.cell)
        ))?;
    }
    Ok(0)
}

fn report(event: &RunEvent, ended: &Mutex<Option<RunRecord>>) {
    match event {
        RunEvent::Note { text } => output::message(text),
        RunEvent::RunFailed { run_id, reason, .. } => {
            output::message(&format!("run {run_id} failed: {reason}"));
        }
        RunEvent::RunFinished { record } => {
            *base::unpoisoned(ended.lock()) = Some((**record).clone());
        }
        _ => {}
    }
}

fn close(record: &RunRecord, folder: &Path) -> Result<u8, Failure> {
    output::line(&format!(
        "\nThe run has ended ({}) on day {} after {} steps: net worth {:.2}, {} orders shipped.",
        record.risk.as_ref().map_or(record.outcome.as_str(), |risk| risk.ending.as_str()),
        record.days,
        record.steps,
        record.net_worth,
        record.orders_shipped
    ))?;
    output::message(&format!("run {} is done; results in {}", record.run_id, folder.display()));
    Ok(0)
}

fn not_played(summary: &ExperimentSummary) -> Failure {
    let failed = summary.failed.first().map(|(run, why)| format!("run {run} failed: {why}"));
    let claimed = summary.claimed_elsewhere.first();
    let claimed = claimed.map(|(run, owner)| format!("run {run} is played by {owner}"));
    let text = failed.or(claimed).unwrap_or_else(|| "the run was done meanwhile".to_string());
    Failure::new(error_kind::ErrorKind::Unavailable, text)
}

/// Ends the process at signals, with the terminal as it was: the line editor changes it.
fn restore_terminal_at_signals() -> Result<(), Failure> {
    let before = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let restore = move || {
        if let Some(before) = &before {
            let now = rustix::termios::OptionalActions::Now;
            let _as_it_was = rustix::termios::tcsetattr(std::io::stdin(), now, before);
        }
    };
    signals::exit_at_ending(restore).map_err(|error| Failure::io("cannot handle signals", &error))
}
