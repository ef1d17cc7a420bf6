//! The supervisor's output on stderr: a line for each finished stage, notes, and one bar, or the
//! dashboard of a running experiment.

use super::dashboard::{COLUMNS_MIN, Dashboard, ROWS_MIN};
use super::pane::Pane;
use super::stage_bar::{StageBar, duration};
use crate::colors::Colors;
use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use watch::{NoteLevel, Snapshot, Stage, WatchEvent};

/// Without a terminal, progress is printed as a line at this interval; a stage without a bar is
/// named once when it has taken this long.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which the dashboard is redrawn.
const DASHBOARD_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Quiet,
    /// One line for each finished stage, and the notes that the user can act on.
    Normal,
    /// Lines when stages begin and end, and all notes, with the seconds since the start.
    Verbose,
}

#[derive(Debug, Clone, Copy)]
pub struct ConsoleOptions {
    pub verbosity: Verbosity,
    /// Whether stages are shown; if not, only notes are.
    pub stages: bool,
    /// Whether lines are printed instead of bars and the dashboard, even on a terminal.
    pub plain: bool,
}

pub struct Console {
    verbosity: Verbosity,
    stages: bool,
    /// Whether bars and the dashboard are drawn, which needs a terminal.
    draws: bool,
    colors: Colors,
    began: Instant,
    bar: Option<StageBar>,
    /// On a terminal: the progress bar, or a spinner with the current stage's name.
    drawn: Option<ProgressBar>,
    dashboard: Option<DashboardView>,
    /// Without a terminal: the current stage, when it was first seen, and whether it has been named
    /// in a line.
    current: Option<(Stage, Instant, bool)>,
}

struct DashboardView {
    dashboard: Dashboard,
    pane: Pane,
    draw_at: Instant,
}

impl Console {
    pub fn new(options: ConsoleOptions) -> Self {
        Console {
            verbosity: options.verbosity,
            stages: options.stages && options.verbosity != Verbosity::Quiet,
            draws: !options.plain && std::io::stderr().is_terminal(),
            colors: Colors::of_stderr(),
            began: Instant::now(),
            bar: None,
            drawn: None,
            dashboard: None,
            current: None,
        }
    }

    pub fn event(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Note { text, level } => self.note(text, *level),
            _ if !self.stages => {}
            WatchEvent::Entered { stage } if self.verbosity == Verbosity::Verbose => {
                self.line(&format!("{stage} ..."));
            }
            WatchEvent::Left { stage, seconds, bytes_done, items_done, summary } => {
                let bar_text = self.close_bar(*stage, *bytes_done, *items_done);
                match self.verbosity {
                    Verbosity::Verbose => self.verbose_stage(*stage, *seconds, bar_text),
                    _ => self.finished_stage(*stage, *seconds, bar_text.as_deref(), summary),
                }
            }
            WatchEvent::Total { stage, bytes_total, items_total } => {
                self.open_bar(*stage, *bytes_total, *items_total);
            }
            WatchEvent::Entered { .. } | WatchEvent::Rung { .. } | WatchEvent::Mapped { .. } => {}
        }
    }

    /// Prints a note, unless the console is quiet.
    pub fn print(&mut self, text: &str) {
        self.note(text, NoteLevel::Normal);
    }

    /// Updates the progress bar or the dashboard with a heartbeat's snapshot.
    pub fn progress(&mut self, seen: &Snapshot) {
        if !self.stages || self.draw_dashboard(seen) {
            return;
        }
        let Some(bar) = self.bar.as_mut() else { return self.show_current_stage(seen) };
        if seen.bar != Some(bar.stage) {
            return; // the heartbeat was sent before this stage's bar was opened
        }
        bar.update(seen);
        if let Some(drawn) = &self.drawn {
            let (done, total) = bar.items();
            drawn.set_length(total.max(1));
            drawn.set_position(done);
            drawn.set_message(bar.text());
        } else if bar.line_due(LINE_INTERVAL) {
            let (stage, seconds, text) = (bar.stage, bar.seconds(), bar.text());
            let line = match self.verbosity {
                Verbosity::Verbose => text,
                _ => self.stage_line(stage, seconds, &text),
            };
            self.line(&line);
        }
    }

    /// Clears the bar and the dashboard, so that later output is not mixed with them.
    pub fn finish(&mut self) {
        self.dashboard = None;
        self.bar = None;
        self.clear_drawn();
    }

    fn note(&mut self, text: &str, level: NoteLevel) {
        let shown = match (level, self.verbosity) {
            (_, Verbosity::Quiet) => false,
            (NoteLevel::Normal, _) => true,
            (NoteLevel::Brief, verbosity) => verbosity == Verbosity::Normal,
            (NoteLevel::Verbose, verbosity) => verbosity == Verbosity::Verbose,
        };
        if shown {
            text.lines().for_each(|line| self.line(line));
        }
    }

    fn verbose_stage(&mut self, stage: Stage, seconds: f64, bar_text: Option<String>) {
        if let Some(text) = bar_text {
            self.line(&text);
        }
        self.line(&format!("{stage}: done in {}", duration(seconds)));
    }

    /// Prints the line of a finished stage (name, duration, result), and its details below.
    fn finished_stage(
        &mut self,
        stage: Stage,
        seconds: f64,
        bar_text: Option<&str>,
        summary: &str,
    ) {
        // The report of the load, which follows, includes the smoke test.
        if stage == Stage::SmokeTest {
            return;
        }
        let mut lines = bar_text.into_iter().chain(summary.lines());
        let first = lines.next().unwrap_or_default();
        let line = self.stage_line(stage, seconds, first);
        self.line(&line);
        lines.for_each(|line| self.line(&format!("  {line}")));
    }

    fn stage_line(&self, stage: Stage, seconds: f64, text: &str) -> String {
        let name = self.colors.done(&format!("{stage:<10}"));
        let time = self.colors.dim(&format!("{:>8}", duration(seconds)));
        format!("{name} {time}  {text}").trim_end().to_owned()
    }

    /// Draws the dashboard if the snapshot has the experiment's figures and the terminal is large
    /// enough; returns whether it is shown.
    fn draw_dashboard(&mut self, seen: &Snapshot) -> bool {
        let size = Pane::terminal_size()
            .filter(|(columns, rows)| *columns >= COLUMNS_MIN && *rows >= ROWS_MIN);
        let runs = seen.stages.contains(&Stage::Run) && self.draws;
        let (Some(figures), Some(size), true) = (&seen.figures, size, runs) else {
            self.dashboard = None;
            return false;
        };
        self.clear_drawn();
        let (now, colors) = (Instant::now(), self.colors);
        let view = self.dashboard.get_or_insert_with(|| DashboardView {
            dashboard: Dashboard::new(),
            pane: Pane::open(colors.enabled()),
            draw_at: now,
        });
        view.dashboard.record(figures, now);
        if view.draw_at <= now {
            view.pane.draw(&view.dashboard.rows(figures, size, now));
            view.draw_at = now + DASHBOARD_INTERVAL;
        }
        true
    }

    /// Shows the current stage if it has no progress bar: as a spinner on a terminal, else as a
    /// line when it takes long.
    fn show_current_stage(&mut self, seen: &Snapshot) {
        let stage = seen.stages.last().copied().filter(|stage| prepares(*stage));
        if self.draws {
            match stage {
                None => self.clear_drawn(),
                Some(stage) => {
                    let spinner = self.drawn.get_or_insert_with(spinner);
                    spinner.set_message(stage.label());
                    spinner.tick();
                }
            }
            return;
        }
        match (stage, &mut self.current) {
            (Some(stage), Some((current, since, named))) if *current == stage => {
                if !*named && since.elapsed() > LINE_INTERVAL {
                    *named = true;
                    let seconds = since.elapsed().as_secs_f64();
                    let line = self.stage_line(stage, seconds, "...");
                    if self.verbosity == Verbosity::Normal {
                        self.line(&line);
                    }
                }
            }
            (stage, current) => *current = stage.map(|stage| (stage, Instant::now(), false)),
        }
    }

    fn open_bar(&mut self, stage: Stage, bytes_total: u64, items_total: u64) {
        self.clear_drawn();
        self.bar = Some(StageBar::new(stage, bytes_total, items_total));
        self.drawn = self.draws.then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()).with_style(style)
        });
    }

    /// Clears the bar or spinner of a stage that ended; returns the bar's final text.
    fn close_bar(&mut self, stage: Stage, bytes_done: u64, items_done: u64) -> Option<String> {
        if self.bar.as_ref().is_some_and(|bar| bar.stage != stage) {
            return None;
        }
        let text = self.bar.take().map(|mut bar| {
            bar.finish(bytes_done, items_done);
            bar.text()
        });
        self.clear_drawn();
        text
    }

    fn clear_drawn(&mut self) {
        if let Some(drawn) = self.drawn.take() {
            drawn.finish_and_clear();
        }
    }

    fn line(&mut self, text: &str) {
        let mut line = self.colors.line(text);
        if self.stages && self.verbosity == Verbosity::Verbose {
            line = format!("[{:8.2} s] {line}", self.began.elapsed().as_secs_f64());
        }
        if let Some(view) = self.dashboard.as_mut() {
            view.draw_at = Instant::now();
            return view.pane.line(&line);
        }
        match &self.drawn {
            Some(drawn) => drawn.suspend(|| output::message(&line)),
            None => output::message(&line),
        }
    }
}

/// Whether a stage prepares the command's work. Only such stages are shown without a bar: during
/// the others, the command prints its own output.
fn prepares(stage: Stage) -> bool {
    !matches!(
        stage,
        Stage::Run | Stage::Serve | Stage::Generate | Stage::Score | Stage::Prefill | Stage::Store
    )
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_style(style);
    spinner
}
