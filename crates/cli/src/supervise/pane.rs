use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier};
use std::fmt::Write as _;
use std::io::Write as _;

/// Rows at the bottom of the terminal that are drawn again and again; lines scroll away above them.
/// The terminal stays in its own screen and in its own mode: nothing has to be undone but the
/// cursor, which is hidden, so even a supervisor that is killed leaves it usable.
pub struct Pane {
    /// Rows that are on the screen.
    drawn: u16,
}

impl Pane {
    /// A pane that shows nothing yet.
    pub fn open() -> Pane {
        Pane { drawn: 0 }
    }

    /// Columns and rows of the terminal on stderr; none where it does not say.
    pub fn terminal_size() -> Option<(u16, u16)> {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
        Some((size.ws_col, size.ws_row)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
    }

    /// Shows rows in place of those that are there.
    pub fn draw(&mut self, rows: &Buffer) {
        let mut text = self.erased();
        text.push_str(&ansi(rows));
        self.drawn = rows.area.height;
        put(&text);
    }

    /// Writes a line above; the pane comes again with the next `draw`.
    pub fn line(&mut self, line: &str) {
        let text = self.erased();
        put(&format!("{text}\x1b[?25h{line}\r\n"));
    }

    /// Takes the pane away.
    pub fn close(&mut self) {
        let text = self.erased();
        put(&format!("{text}\x1b[?25h"));
    }

    /// What erases the pane and goes to where it began.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => "\r".to_owned(),
            1 => "\r\x1b[J".to_owned(),
            rows => format!("\r\x1b[{}A\x1b[J", rows - 1),
        }
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        if self.drawn > 0 {
            self.close();
        }
    }
}

fn put(text: &str) {
    // A terminal that is gone sends SIGHUP, which ends the command; there is nobody to tell here.
    let mut stderr = std::io::stderr().lock();
    let _gone = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Rows as the terminal takes them: colors, then symbols; the cursor ends at the begin of the last.
fn ansi(rows: &Buffer) -> String {
    let Rect { width, height, .. } = rows.area;
    let mut text = String::from("\x1b[?25l");
    for y in 0..height {
        let mut style = None;
        for x in 0..width {
            let Some(cell) = rows.cell((rows.area.x + x, rows.area.y + y)) else { continue };
            let of_cell = (cell.fg, cell.modifier);
            if style != Some(of_cell) {
                style = Some(of_cell);
                let _infallible =
                    write!(text, "\x1b[0{}{}m", modifiers(cell.modifier), color(cell.fg));
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m");
        if y + 1 < height {
            text.push_str("\r\n");
        }
    }
    // The terminal itself writes ^C where the cursor stands: within the pane, not beyond its last
    // column.
    text.push('\r');
    text
}

fn modifiers(modifier: Modifier) -> String {
    let known = [(Modifier::BOLD, ";1"), (Modifier::DIM, ";2")];
    known.iter().filter(|(flag, _)| modifier.contains(*flag)).map(|(_, code)| *code).collect()
}

fn color(color: Color) -> &'static str {
    match color {
        Color::Red => ";31",
        Color::Green => ";32",
        Color::Yellow => ";33",
        Color::Cyan => ";36",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui_core::style::Style;

    #[test]
    fn rows_become_colors_and_symbols() {
        let mut rows = Buffer::empty(Rect::new(0, 0, 3, 2));
        rows.set_string(0, 0, "ab", Style::new().fg(Color::Green));
        rows.set_string(1, 1, "c", Style::new().add_modifier(Modifier::BOLD));
        let expected =
            "\x1b[?25l\x1b[0;32mab\x1b[0m \x1b[0m\r\n\x1b[0m \x1b[0;1mc\x1b[0m \x1b[0m\r";
        assert_eq!(ansi(&rows), expected);
    }

    #[test]
    fn what_was_drawn_is_erased_once() {
        let mut pane = Pane { drawn: 4 };
        assert_eq!(pane.erased(), "\r\x1b[3A\x1b[J");
        assert_eq!(pane.erased(), "\r");
    }
}
