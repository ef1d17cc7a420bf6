use super::dashboard::{COLUMNS_MIN, Dashboard, ROWS_MIN};
use super::pane::Pane;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use watch::{Snapshot, Stage, WatchEvent};

/// How often a bar is written as a line where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// How often the dashboard is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(250);

/// How much people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What a command has to say, as it stands.
    Notes,
    /// Stages as they are entered and left, and everything else, each with its second.
    Stages,
}

/// What people see on stderr: stages, notes, and one bar, or the dashboard of an experiment that
/// runs.
pub struct Console {
    verbosity: Verbosity,
    began: Instant,
    terminal: bool,
    bar: Option<StageBar>,
    dashboard: Option<(Dashboard, Pane, Instant)>,
}

struct StageBar {
    stage: Stage,
    began: Instant,
    drawn: Option<ProgressBar>,
    written: Instant,
    last: Snapshot,
}

impl Console {
    /// A console; a plain one draws nothing.
    pub fn new(verbosity: Verbosity, plain: bool) -> Self {
        let terminal = !plain && std::io::stderr().is_terminal();
        Console { verbosity, began: Instant::now(), terminal, bar: None, dashboard: None }
    }

    /// Tells what happened.
    pub fn event(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Note { text, .. } => text.lines().for_each(|line| self.line(line)),
            _ if self.verbosity != Verbosity::Stages => {}
            WatchEvent::Entered { stage } => self.line(&format!("{stage} ...")),
            WatchEvent::Left { stage, seconds, bytes_done, items_done, .. } => {
                self.close(*stage, *bytes_done, *items_done);
                self.line(&format!("{stage}: done in {}", duration(*seconds)));
            }
            WatchEvent::Total { stage, bytes_total, items_total } => {
                self.open(*stage, *bytes_total, *items_total)
            }
            WatchEvent::Rung { .. } | WatchEvent::Mapped { .. } => {}
        }
    }

    /// Moves the bar, or the dashboard.
    pub fn progress(&mut self, seen: &Snapshot) {
        if self.draw_dashboard(seen) {
            return;
        }
        let Some(bar) = self.bar.as_mut().filter(|bar| seen.bar == Some(bar.stage)) else { return };
        bar.last = seen.clone();
        if let Some(drawn) = &bar.drawn {
            drawn.set_length(seen.items_total.max(1));
            drawn.set_position(seen.items_done);
            drawn.set_message(bar.words());
        } else if bar.written.elapsed() > PLAIN_EVERY {
            bar.written = Instant::now();
            let text = bar.words();
            self.line(&text);
        }
    }

    /// Whether the dashboard is what shows this.
    fn draw_dashboard(&mut self, seen: &Snapshot) -> bool {
        let size = Pane::terminal_size()
            .filter(|(columns, rows)| *columns >= COLUMNS_MIN && *rows >= ROWS_MIN);
        let runs = seen.stages.contains(&Stage::Run)
            && self.terminal
            && self.verbosity == Verbosity::Stages;
        let (Some(figures), Some(size), true) = (&seen.figures, size, runs) else {
            self.dashboard = None;
            return false;
        };
        let now = Instant::now();
        if let Some(drawn) = self.bar.as_mut().and_then(|bar| bar.drawn.take()) {
            drawn.finish_and_clear();
        }
        let (view, pane, due) =
            self.dashboard.get_or_insert_with(|| (Dashboard::new(), Pane::open(), now));
        view.see(figures, now);
        if *due <= now {
            pane.draw(&view.rows(figures, size, now));
            *due = now + DRAWN_EVERY;
        }
        true
    }

    /// Clears bar and dashboard, so that what is written next stands alone.
    pub fn finish(&mut self) {
        self.dashboard = None;
        if let Some(bar) = self.bar.take()
            && let Some(drawn) = bar.drawn
        {
            drawn.finish_and_clear();
        }
    }

    fn open(&mut self, stage: Stage, bytes_total: u64, items_total: u64) {
        self.finish();
        let drawn = self.terminal.then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()).with_style(style)
        });
        let now = Instant::now();
        let last = Snapshot { bytes_total, items_total, ..Snapshot::default() };
        self.bar = Some(StageBar { stage, began: now, drawn, written: now, last });
    }

    /// The bar of a stage that is over becomes a line that stays.
    fn close(&mut self, stage: Stage, bytes_done: u64, items_done: u64) {
        let Some(bar) = self.bar.as_mut().filter(|bar| bar.stage == stage) else { return };
        (bar.last.bytes_done, bar.last.items_done) = (bytes_done, items_done);
        let text = bar.words();
        self.finish();
        self.line(&text);
    }

    fn line(&mut self, text: &str) {
        let text = match self.verbosity {
            Verbosity::Quiet => return,
            Verbosity::Notes => text.to_owned(),
            Verbosity::Stages => format!("[{:8.2} s] {text}", self.began.elapsed().as_secs_f64()),
        };
        if let Some((_, pane, due)) = self.dashboard.as_mut() {
            *due = Instant::now();
            return pane.line(&text);
        }
        match self.bar.as_ref().and_then(|bar| bar.drawn.as_ref()) {
            Some(drawn) => drawn.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl StageBar {
    fn words(&self) -> String {
        let (seen, seconds) = (&self.last, self.began.elapsed().as_secs_f64().max(1e-6));
        let what = match self.stage {
            Stage::Read => "Loading checkpoint shards",
            Stage::Fetch => "Fetching files",
            stage => stage.label(),
        };
        let mut text = match seen.items_total {
            0 => what.to_owned(),
            total => format!("{what} {}/{total}", seen.items_done),
        };
        if seen.bytes_total > 0 {
            let rate = seen.bytes_done as f64 / seconds;
            text += &format!(
                " {:.1}/{:.1} GB, {:.2} GB/s",
                seen.bytes_done as f64 / 1e9,
                seen.bytes_total as f64 / 1e9,
                rate / 1e9
            );
        }
        let share = match seen.bytes_total {
            0 => seen.items_done as f64 / seen.items_total.max(1) as f64,
            total => seen.bytes_done as f64 / total as f64,
        };
        if share > 0.0 && share < 1.0 {
            text += &format!(", ETA {}", duration(seconds * (1.0 - share).max(0.0) / share));
        }
        if !seen.detail.is_empty() {
            text += &format!(" · {}", seen.detail);
        }
        text
    }
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.3} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
