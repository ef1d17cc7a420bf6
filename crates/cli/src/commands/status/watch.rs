//! `vendomini status --watch`: the progress again and again, until nothing is queued or runs.

use super::Progress;
use crate::failure::Failure;
use crate::{output, signals};
use results::Store;
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a signal is looked for.
const SIGNAL_POLL: Duration = Duration::from_millis(50);

/// Shows the progress every `interval_s` seconds: on a terminal in place, else as a line when it
/// has changed. Ctrl-C is the usual way to leave, and not an error.
pub fn run(store: &Store, interval_s: u64, plain: bool) -> Result<u8, Failure> {
    let mut signals = Signals::new(signals::ending())
        .map_err(|error| Failure::software(format!("cannot handle signals: {error}")))?;
    let draws = !plain && std::io::stdout().is_terminal();
    let name = &store.experiment().name;
    let mut screen = StatusScreen { rows: 0 };
    let mut last_line = String::new();
    loop {
        let progress = Progress::of(store)?;
        let active = progress.is_active();
        if draws {
            screen.draw(&progress.text(name))?;
        } else if !active {
            output::part(&progress.text(name))?;
        } else if progress.summary(name) != last_line {
            last_line = progress.summary(name);
            output::part(&format!("{last_line}\n"))?;
        }
        if !active {
            return Ok(0);
        }
        if let Some(signal) = wait(&mut signals, Duration::from_secs(interval_s)) {
            return Ok(if signal == SIGINT { 0 } else { (128 + signal) as u8 });
        }
    }
}

/// Waits, or returns a signal that came.
fn wait(signals: &mut Signals, time: Duration) -> Option<i32> {
    let until = Instant::now() + time;
    loop {
        if let Some(signal) = signals.pending().next() {
            return Some(signal);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(left.min(SIGNAL_POLL));
    }
}

/// Lines that are redrawn in place. The cursor stays below them, so nothing has to be restored.
struct StatusScreen {
    /// Rows of the terminal that the lines on the screen take.
    rows: usize,
}

impl StatusScreen {
    fn draw(&mut self, text: &str) -> Result<(), Failure> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let (columns, rows) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
        let (columns, rows) = (usize::from(columns.max(20)), usize::from(rows.max(4)));
        // Lines are cut to the terminal's width, and those that do not fit on it are left out:
        // what has scrolled away cannot be redrawn.
        let lines = text.lines().take(rows - 1);
        let lines: Vec<String> = lines.map(|line| line.chars().take(columns).collect()).collect();
        let up = if self.rows > 0 { format!("\x1b[{}A", self.rows) } else { String::new() };
        self.rows = lines.len();
        output::part(&format!("\r{up}\x1b[J{}\n", lines.join("\n")))
    }
}
