//! Rows at the bottom of the terminal that are redrawn in place, while other lines scroll above
//! them.

use crate::output;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier};
use std::fmt::Write as _;

pub struct Pane {
    /// Number of rows that are on the screen.
    drawn: u16,
    colors: bool,
}

impl Pane {
    /// A pane without rows.
    pub fn open(colors: bool) -> Pane {
        Pane { drawn: 0, colors }
    }

    /// Columns and rows of the terminal on stderr; `None` if it reports no size.
    pub fn terminal_size() -> Option<(u16, u16)> {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
        Some((size.ws_col, size.ws_row)).filter(|(columns, rows)| *columns > 0 && *rows > 0)
    }

    /// Replaces the pane's rows on the screen.
    pub fn draw(&mut self, rows: &Buffer) {
        let mut text = self.erased();
        text.push_str(&ansi(rows, self.colors));
        self.drawn = rows.area.height;
        put(&text);
    }

    /// Erases the pane and writes a line in its place; the next `draw` shows the pane below that
    /// line.
    pub fn line(&mut self, line: &str) {
        let text = self.erased();
        put(&format!("{text}\x1b[?25h{line}\r\n"));
    }

    /// Erases the pane and shows the cursor.
    pub fn close(&mut self) {
        let text = self.erased();
        put(&format!("{text}\x1b[?25h"));
    }

    /// Escape sequences that erase the pane and move the cursor to its first row.
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
    output::write_message(text.as_bytes());
}

/// Renders rows as escape sequences and symbols; afterwards the cursor is at the start of the last
/// row.
fn ansi(rows: &Buffer, colors: bool) -> String {
    let Rect { width, height, .. } = rows.area;
    let mut text = String::from("\x1b[?25l");
    for y in 0..height {
        let mut style = None;
        for x in 0..width {
            let Some(cell) = rows.cell((rows.area.x + x, rows.area.y + y)) else { continue };
            let of_cell = (cell.fg, cell.modifier);
            if style != Some(of_cell) {
                style = Some(of_cell);
                let color = if colors { color(cell.fg) } else { "" };
                let _infallible = write!(text, "\x1b[0{}{color}m", modifiers(cell.modifier));
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m");
        if y + 1 < height {
            text.push_str("\r\n");
        }
    }
    // The terminal prints ^C at the cursor position, which must be inside the pane and not behind
    // its last column.
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
    fn rows_become_escapes_and_symbols() {
        let mut rows = Buffer::empty(Rect::new(0, 0, 3, 2));
        rows.set_string(0, 0, "ab", Style::new().fg(Color::Green));
        rows.set_string(1, 1, "c", Style::new().add_modifier(Modifier::BOLD));
        let expected =
            "\x1b[?25l\x1b[0;32mab\x1b[0m \x1b[0m\r\n\x1b[0m \x1b[0;1mc\x1b[0m \x1b[0m\r";
        assert_eq!(ansi(&rows, true), expected);
        let expected = "\x1b[?25l\x1b[0mab\x1b[0m \x1b[0m\r\n\x1b[0m \x1b[0;1mc\x1b[0m \x1b[0m\r";
        assert_eq!(ansi(&rows, false), expected);
    }

    #[test]
    fn drawn_rows_are_erased_once() {
        let mut pane = Pane { drawn: 4, colors: false };
        assert_eq!(pane.erased(), "\r\x1b[3A\x1b[J");
        assert_eq!(pane.erased(), "\r");
    }
}
