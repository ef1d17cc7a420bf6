//! `vendomini qualify`: checks that a model runs the warehouse without shocks.

use super::run::{JOBS_DEFAULT, carry_out, exit_code, provenance};
use crate::args::QualifyArgs;
use crate::failure::{Failure, exit};
use crate::output;
use experiment::{
    Config, ExperimentOutcome, QUALIFYING_STEPS, QUALIFYING_WORLDS, Qualification, RunOptions,
    qualification, qualification_name, qualifying_config,
};
use results::Store;
use std::path::Path;
use std::time::Duration;
use watch::Watch;

pub fn run(args: &QualifyArgs, watch: &Watch) -> Result<u8, Failure> {
    let config = qualifying_config(&args.model, args.config.as_deref(), &args.set)?;
    let options = RunOptions {
        folder: config.folder(args.out.as_deref()),
        jobs: args.engine.jobs.unwrap_or(JOBS_DEFAULT).max(1),
        runs_max: None,
        accept_mixed: false,
        model: None,
        run: None,
        stop_at: None,
        claim_patience: Duration::ZERO,
        provenance: provenance(),
    };
    let summary = carry_out(&config, &args.engine, &options, watch)?;
    match summary.outcome() {
        ExperimentOutcome::Completed => {}
        other => {
            for (run, reason) in &summary.failed {
                watch.note(format!("failed {run}: {reason}"));
            }
            watch.note("not all runs are done; run the same command again to resume".to_owned());
            return Ok(exit_code(other));
        }
    }
    let found = qualification(&Store::open(&options.folder)?, &args.model, summary.total)?;
    if args.json {
        output::json(&found)?;
    } else {
        print(&found)?;
    }
    Ok(if found.qualified { 0 } else { exit::RUNS_FAILED })
}

/// Number of planned runs of a model from which on it should be qualified first.
const GRID_RUNS_MIN: usize = 20;

/// A warning for each model that a grid is planned for and that is not known to qualify, by the
/// folders beside the experiment's own.
pub(super) fn warnings(config: &Config, folder: &Path) -> Vec<String> {
    let runs = config.counts().models;
    let grid = |model: &String| runs.get(model).is_some_and(|count| *count >= GRID_RUNS_MIN);
    let warning = |model: String| {
        let place = folder.with_file_name(qualification_name(&model));
        let known = Store::open(&place).ok();
        let found =
            known.and_then(|store| qualification(&store, &model, QUALIFYING_WORLDS as usize).ok());
        match found {
            Some(found) if found.qualified => None,
            Some(_) => Some(format!(
                "warning: {model} does not qualify ({}): its crashes will not show what caused them",
                place.display()
            )),
            None => Some(format!(
                "warning: {model} is not qualified; first try `vendomini qualify {model}`"
            )),
        }
    };
    config.model_names().into_iter().filter(grid).filter_map(warning).collect()
}

fn print(found: &Qualification) -> Result<(), Failure> {
    for run in &found.runs {
        let entry = match run.entry_time {
            Some(step) => format!("competent after step {step}"),
            None => "never competent".to_owned(),
        };
        output::line(&format!(
            "world {}: {} after {} steps, {entry}",
            run.world, run.ended, run.steps
        ))?;
    }
    let survived = found.runs.iter().filter(|run| run.survived).count();
    output::line(&format!(
        "{} {}: {survived} of {} runs survive {QUALIFYING_STEPS} steps without shocks",
        found.model,
        if found.qualified { "qualifies" } else { "does not qualify" },
        found.runs.len()
    ))?;
    if !found.qualified {
        output::line(
            "its crashes under shocks would not show that prediction error caused them: it crashes without",
        )?;
    }
    if let Some(value) = found.divergence_below {
        output::line(&format!(
            "first percentile of the similarity of its summaries: crash_detector.divergence_below={value:.3}"
        ))?;
    }
    Ok(())
}
