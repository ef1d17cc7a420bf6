//! `vendomini run`: runs an experiment and prints its closing table.

use crate::args::{RunArgs, RunEngineArgs};
use crate::failure::{Failure, exit};
use crate::provider::Engines;
use base::unpoisoned;
use experiment::{
    Config, ExperimentOutcome, ExperimentSummary, PairedReplies, RunEvent, RunOptions, StepFigures,
    paired_replies, run_experiment,
};
use results::{Journal, Provenance, ResultsError, Store};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use watch::{Figures, RunFigures, Stage, ThreadProgress, Watch};

/// Number of concurrent runs if `--jobs` is not set.
pub(crate) const JOBS_DEFAULT: usize = 4;
/// With `--shared`, runs claimed by other processes are watched for this long: longer than a claim
/// of another host stays valid without a heartbeat (120 s).
const CLAIM_PATIENCE: Duration = Duration::from_secs(150);

pub fn run(args: RunArgs, watch: &Watch) -> Result<u8, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    let options = RunOptions {
        folder: config.folder(args.out.as_deref()),
        jobs: args.engine.jobs.unwrap_or(JOBS_DEFAULT).max(1),
        runs_max: args.max_runs,
        accept_mixed: args.accept_mixed,
        model: args.model.clone(),
        run: None,
        stop_at: args.time_left_s.map(|s| std::time::Instant::now() + Duration::from_secs(s)),
        claim_patience: if args.shared { CLAIM_PATIENCE } else { Duration::ZERO },
        provenance: provenance(),
    };
    config.notes().iter().for_each(|note| watch.note(note.clone()));
    for warning in super::qualify::warnings(&config, &options.folder) {
        watch.note(warning);
    }
    let summary = carry_out(&config, &args.engine, &options, watch)?;
    close(&summary, &options, watch);
    Ok(match summary.outcome() {
        // With --shared, runs that other processes have claimed are expected, so this is a success.
        ExperimentOutcome::ClaimedElsewhere if args.shared => 0,
        other => exit_code(other),
    })
}

/// Carries out the runs of an experiment that are left, and reports their progress.
pub(super) fn carry_out(
    config: &Config,
    engine: &RunEngineArgs,
    options: &RunOptions,
    watch: &Watch,
) -> Result<ExperimentSummary, Failure> {
    for (flag, is_set) in [
        ("--chat-template", engine.chat_template.is_some()),
        ("--kv-dtype", engine.kv_dtype != "auto"),
    ] {
        if let Some(why) = config.server_decides().filter(|_| is_set) {
            return Err(Failure::usage(format!("{flag}: {why}")));
        }
    }
    let models = Engines {
        time: engine.time.clone(),
        fallback: engine.fallback.clone().unwrap_or_else(|| "keep".into()),
        dtype: Some(engine.dtype.clone()).filter(|d| d != "auto"),
        kv_dtype: Some(engine.kv_dtype.clone()).filter(|d| d != "auto"),
        max_memory: engine.max_memory.clone(),
        chat_template: engine.chat_template.clone(),
        threads: engine.threads,
        stage: engine.stage.clone(),
        watch,
    };
    let reporter = RunReporter::new(watch, &options.folder);
    let ended = run_experiment(
        config,
        &models,
        options,
        &|event: &RunEvent| reporter.report(event),
        &|| watch.canceled(),
    );
    reporter.finish();
    Ok(ended?)
}

pub(super) fn exit_code(outcome: ExperimentOutcome) -> u8 {
    match outcome {
        ExperimentOutcome::Completed => 0,
        ExperimentOutcome::ClaimedElsewhere => exit::UNAVAILABLE,
        ExperimentOutcome::RunsFailed => exit::RUNS_FAILED,
        ExperimentOutcome::TimeUp => exit::TIME_UP,
        ExperimentOutcome::Interrupted => exit::INTERRUPTED,
    }
}

pub(crate) fn provenance() -> Provenance {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        host: host.trim().into(),
        ..Provenance::default()
    }
}

fn close(summary: &ExperimentSummary, options: &RunOptions, watch: &Watch) {
    if !summary.closing.is_empty() {
        watch.note(results::closing_table(&summary.closing));
    }
    for (run, reason) in &summary.failed {
        watch.note(format!("failed {run}: {reason}"));
    }
    for (run, owner) in &summary.claimed_elsewhere {
        watch.note(format!("claimed {run}: {owner} works on it"));
    }
    if summary.time_up {
        watch.note("the time of --time-left is up".to_owned());
    }
    if let Some(limit) = &summary.limit {
        watch.note(format!("stopped at a limit: {limit}"));
    }
    if !summary.closing.is_empty() {
        note_paired_replies(options, watch);
    }
    let folder = options.folder.display();
    let done = summary.done_before + summary.done_now;
    watch.note(match summary.all_done() {
        true => format!(
            "all {} runs are done ({} now, {} before); results in {folder}",
            summary.total, summary.done_now, summary.done_before
        ),
        false => format!(
            "{done} of {} runs are done; run the same command again to resume; results in {folder}",
            summary.total
        ),
    });
}

/// Says how many replies differ between doses. It is only a note: a folder that cannot be read is
/// reported by the commands that need it.
fn note_paired_replies(options: &RunOptions, watch: &Watch) {
    let found = Store::open(&options.folder).ok().and_then(|store| paired_replies(&store).ok());
    if let Some(Some(PairedReplies { compared, differing })) = found {
        watch.note(format!(
            "{differing} of {compared} paired replies differ between doses, from the first applied shock on"
        ));
    }
}

/// Reports run events to the watch as stages, a progress bar and notes, and writes them to this
/// process's journal.
struct RunReporter<'a> {
    watch: &'a Watch,
    folder: &'a Path,
    progress: Mutex<RunProgress>,
}

#[derive(Default)]
struct RunProgress {
    stage: Option<(ThreadProgress, watch::StageGuard)>,
    steps_total: u64,
    steps_done: u64,
    runs_total: usize,
    runs_done: usize,
    reply_tokens: u64,
    replies_since: Option<std::time::Instant>,
    journal: Option<Journal>,
}

impl<'a> RunReporter<'a> {
    fn new(watch: &'a Watch, folder: &'a Path) -> Self {
        RunReporter { watch, folder, progress: Mutex::default() }
    }

    /// Writes the event to the journal, which only `status` reads: if it cannot be written, one
    /// note says so and the runs continue. A process that has no runs to do writes no journal.
    fn write_journal(&self, progress: &mut RunProgress, event: &RunEvent) {
        let written = match (event, progress.journal.as_mut()) {
            (RunEvent::Planned { left: 1.., .. }, None) => {
                let (steps, runs) = (progress.steps_total, progress.runs_total as u64);
                Journal::begin(self.folder, steps, runs)
                    .map(|journal| progress.journal = Some(journal))
            }
            (RunEvent::RunStarted { run_id, replayed, .. }, Some(journal)) => {
                journal.started(run_id, *replayed)
            }
            (RunEvent::StepDone(step), Some(journal)) => {
                journal.step(&step.run_id, step.reply_tokens)
            }
            (RunEvent::RunFinished { record }, Some(journal)) => journal.finished(&record.run_id),
            (RunEvent::RunFailed { run_id, .. }, Some(journal)) => journal.failed(run_id),
            _ => Ok(()),
        };
        self.keep_journal(progress, written);
    }

    fn keep_journal(&self, progress: &mut RunProgress, written: Result<(), ResultsError>) {
        if let Err(error) = written {
            progress.journal = None;
            self.watch.note(format!("warning: status cannot show this process's rate: {error}"));
        }
    }

    fn report(&self, event: &RunEvent) {
        let mut progress = unpoisoned(self.progress.lock());
        self.show(&mut progress, event);
        self.watch.figures(|figures| update_figures(figures, event));
        self.write_journal(&mut progress, event);
    }

    fn show(&self, state: &mut RunProgress, event: &RunEvent) {
        match event {
            RunEvent::Planned { counts, done, left } => {
                state.runs_total = *left;
                state.steps_total = counts.steps_max * *left as u64 / counts.runs.max(1) as u64;
                self.watch.note(format!(
                    "{} runs of {} cells: {done} done before, {left} left",
                    counts.runs, counts.cells
                ));
            }
            RunEvent::ModelOpening { name, runs } => {
                state.stage = None;
                self.watch.note(format!("model {name} for {runs} runs"));
            }
            RunEvent::ModelOpened { info, .. } => {
                self.watch.verbose(format!(
                    "model identity {}, kernels {}",
                    info.identity, info.kernel_set
                ));
                self.begin(state);
            }
            RunEvent::StepDone(step) => {
                state.steps_done += 1;
                state.reply_tokens += step.reply_tokens;
                let seconds =
                    state.replies_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
                let rate = state.reply_tokens as f64 / seconds.max(1e-9);
                self.watch.detail(format!(
                    "runs {}/{} · {rate:.0} tok/s",
                    state.runs_done, state.runs_total
                ));
                match &state.stage {
                    Some((progress, _)) => progress.item_done(),
                    None => self.watch.beat(),
                }
            }
            RunEvent::RunFinished { .. } => state.runs_done += 1,
            RunEvent::RunFailed { run_id, reason, again } => {
                let then = if *again { "; it will be retried" } else { "" };
                self.watch.note(format!("run {run_id} failed: {reason}{then}"));
            }
            RunEvent::RunClaimedElsewhere { run_id, owner } => {
                self.watch.note(format!("run {run_id} is claimed by {owner}"))
            }
            RunEvent::RunStarted { run_id, attempt, replayed, .. } => {
                // Scripted operators load no model, so the stage did not begin after a load.
                if state.stage.is_none() {
                    self.begin(state);
                }
                if *attempt > 1 {
                    self.watch.note(format!(
                        "run {run_id} resumes after {replayed} steps (attempt {attempt})"
                    ));
                }
            }
            RunEvent::Waiting => self.watch.beat(),
            RunEvent::Note { text } => self.watch.note(text.clone()),
        }
    }

    fn begin(&self, state: &mut RunProgress) {
        let stage = self.watch.enter(Stage::Run);
        self.watch.total(Stage::Run, 0, state.steps_total.saturating_sub(state.steps_done));
        let progress = self.watch.thread("runs");
        progress.at(Stage::Run, "steps", 0);
        state.replies_since = Some(std::time::Instant::now());
        state.reply_tokens = 0;
        state.stage = Some((progress, stage));
    }

    fn finish(&self) {
        let mut progress = unpoisoned(self.progress.lock());
        progress.stage = None;
        if let Some(written) = progress.journal.as_mut().map(Journal::ended) {
            self.keep_journal(&mut progress, written);
        }
    }
}

/// Updates the dashboard's figures with an event.
fn update_figures(figures: &mut Figures, event: &RunEvent) {
    match event {
        RunEvent::Planned { counts, done, left } => {
            (figures.runs_total, figures.runs_done) = (counts.runs as u64, *done as u64);
            figures.steps_max = counts.steps_max * *left as u64 / counts.runs.max(1) as u64;
            figures.model = "scripted operators".to_owned();
        }
        RunEvent::ModelOpening { name, .. } => {
            figures.model.clone_from(name);
            figures.tiers.clear();
        }
        RunEvent::RunStarted { run_id, replayed, steps_max, .. } => {
            let run =
                RunFigures { step: *replayed, steps_max: *steps_max, ..RunFigures::default() };
            figures.steps_spared += replayed;
            figures.runs.insert(run_id.clone(), run);
        }
        RunEvent::StepDone(step) => add_step(figures, step),
        RunEvent::RunFinished { record } => {
            figures.runs_done += 1;
            if let Some(run) = figures.runs.remove(&record.run_id) {
                figures.steps_spared += run.steps_max.saturating_sub(run.step);
            }
        }
        RunEvent::RunFailed { run_id, .. } => {
            figures.failures += 1;
            // The next attempt replays the recorded steps of this run and counts them as spared,
            // although they have been counted before: `steps_max` grows by as many.
            figures.steps_max += figures.runs.remove(run_id).map_or(0, |run| run.step);
        }
        RunEvent::RunClaimedElsewhere { .. } => figures.held += 1,
        RunEvent::ModelOpened { .. } | RunEvent::Waiting | RunEvent::Note { .. } => {}
    }
}

fn add_step(figures: &mut Figures, step: &StepFigures) {
    figures.steps += 1;
    figures.prompt_tokens += step.prompt_tokens;
    figures.cached_prompt_tokens += step.cached_prompt_tokens;
    figures.reply_tokens += step.reply_tokens;
    figures.parse_failures += u64::from(step.parse_failure.is_some());
    if let Some(pe) = step.pe {
        (figures.pe_sum, figures.pe_steps) = (figures.pe_sum + pe, figures.pe_steps + 1);
    }
    for kind in &step.crashes {
        *figures.crashes.entry(kind.clone()).or_default() += 1;
    }
    if let Some(run) = figures.runs.get_mut(&step.run_id) {
        run.step = step.step;
        run.pe = step.pe.or(run.pe);
        run.crashes += step.crashes.len() as u64;
    }
}
