//! Colors on stderr and stdout. They are used on a terminal, unless `NO_COLOR` (no-color.org) is set or `TERM`
//! is `dumb`.

use crate::output;
use std::io::IsTerminal;

const RED_BOLD: &str = "1;31";
const GREEN_BOLD: &str = "1;32";
const YELLOW_BOLD: &str = "1;33";
const BOLD: &str = "1";
const DIM: &str = "2";

#[derive(Debug, Clone, Copy)]
pub struct Colors {
    enabled: bool,
}

impl Colors {
    /// The colors to use on this process's stderr.
    pub fn of_stderr() -> Self {
        Colors::on(std::io::stderr().is_terminal())
    }

    fn on(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Colors { enabled: terminal && set("NO_COLOR").is_none() && !dumb }
    }

    /// The colors to use on this process's stdout.
    pub fn of_stdout() -> Self {
        Colors::on(std::io::stdout().is_terminal())
    }

    pub fn enabled(self) -> bool {
        self.enabled
    }

    pub fn error(self, text: &str) -> String {
        self.paint(RED_BOLD, text)
    }

    pub fn done(self, text: &str) -> String {
        self.paint(GREEN_BOLD, text)
    }

    pub fn heading(self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint(DIM, text)
    }

    /// Colors a line that begins with `warning:` or `note:`: highlights the label `warning:`, dims
    /// the label `note:`.
    pub fn line(self, line: &str) -> String {
        let text = line.trim_start();
        let indentation = &line[..line.len() - text.len()];
        for (label, code) in [("warning:", YELLOW_BOLD), ("note:", DIM)] {
            if let Some(rest) = text.strip_prefix(label) {
                return format!("{indentation}{}{rest}", self.paint(code, label));
            }
        }
        line.to_owned()
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Prints the error that ends the command, after the program's name; prints nothing if the text is
/// empty.
pub fn print_error(text: &str) {
    if !text.is_empty() {
        output::message(&format!("{} {text}", Colors::of_stderr().error("vendomini:")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_label_of_a_warning_is_colored() {
        let colors = Colors { enabled: true };
        assert_eq!(colors.line("  warning: slow"), "  \x1b[1;33mwarning:\x1b[0m slow");
        assert_eq!(colors.line("a warning: slow"), "a warning: slow");
    }

    #[test]
    fn disabled_colors_change_nothing() {
        let colors = Colors { enabled: false };
        assert_eq!(colors.line("warning: slow"), "warning: slow");
        assert_eq!(colors.error("x") + &colors.done("y"), "xy");
    }
}
