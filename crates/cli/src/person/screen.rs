//! What the person reads: wrapped to the terminal's width, with headings.

use super::form::ToolForm;
use super::print;
use crate::colors::Colors;
use crate::failure::Failure;
use results::PromptMessage;
use std::io::IsTerminal;

/// Width of lines without a terminal: they are not wrapped.
const UNLIMITED: usize = usize::MAX;

/// The terminal on stdout, or a file.
pub struct Screen {
    colors: Colors,
}

impl Screen {
    pub fn of_stdout() -> Screen {
        Screen { colors: Colors::of_stdout() }
    }

    /// The present width in columns.
    fn width(&self) -> usize {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return UNLIMITED;
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        size.map_or(80, |size| usize::from(size.ws_col)).max(20)
    }

    /// Prints lines, wrapped between words. Continued lines are indented by `indent` columns.
    pub fn text(&self, text: &str, indent: usize) -> Result<(), Failure> {
        let width = self.width();
        let lines = text.lines().map(|line| wrap(line, width, indent));
        print(&(lines.collect::<Vec<_>>().join("\n") + "\n"))
    }

    pub fn note(&self, text: &str) -> Result<(), Failure> {
        let width = self.width();
        let lines: Vec<String> =
            text.lines().map(|line| self.colors.dim(&wrap(line, width, 2))).collect();
        print(&(lines.join("\n") + "\n"))
    }

    pub fn problem(&self, text: &str) -> Result<(), Failure> {
        print(&(self.colors.error(&wrap(text, self.width(), 2)) + "\n"))
    }

    fn heading(&self, text: &str) -> Result<(), Failure> {
        let width = self.width().min(60);
        let line = "-".repeat(width.saturating_sub(text.chars().count() + 4));
        print(&format!("\n{}\n", self.colors.heading(&format!("-- {text} {line}"))))
    }

    /// The rules and, if steps were taken before, the market of the first morning.
    pub fn welcome(&self, messages: &[PromptMessage]) -> Result<(), Failure> {
        self.heading("rules")?;
        self.rules(messages)?;
        self.note(
            "You are asked for the parts of the reply, and the program writes the JSON. \
             help lists commands; quit keeps the run for later.",
        )?;
        if messages.len() > 2 {
            self.heading("market")?;
            self.market(messages)?;
            self.note("history prints what happened before")?;
        }
        Ok(())
    }

    pub fn rules(&self, messages: &[PromptMessage]) -> Result<(), Failure> {
        self.text(messages.first().map_or("", |message| &message.content), 2)
    }

    /// The published catalog, which precedes the first observation of a prompt.
    pub fn market(&self, messages: &[PromptMessage]) -> Result<(), Failure> {
        let first = messages.get(1).map_or("", |message| &message.content);
        let state = |line: &&str| !line.starts_with("Day ") && !line.starts_with("News: ");
        let market: Vec<&str> = first.lines().take_while(state).collect();
        self.text(&market.join("\n"), 2)
    }

    pub fn observation(&self, step: usize, observation: &str) -> Result<(), Failure> {
        self.heading(&format!("step {step}"))?;
        self.text(observation, 2)
    }

    /// Past observations and replies, the last `exchanges` of them.
    pub fn history(&self, messages: &[PromptMessage], exchanges: usize) -> Result<(), Failure> {
        let past = &messages[1.min(messages.len())..messages.len().saturating_sub(1)];
        if past.is_empty() {
            return self.note("there is nothing before this step");
        }
        for message in &past[past.len().saturating_sub(2 * exchanges)..] {
            match &*message.role {
                "assistant" => self.note(&format!("> {}", message.content))?,
                _ => self.text(&message.content, 2)?,
            }
        }
        Ok(())
    }

    /// Numbers and names of the tools.
    pub fn tool_names(&self, tools: &[ToolForm]) -> Result<(), Failure> {
        let names = (1..).zip(tools).map(|(number, tool)| format!("{number}\u{a0}{}", tool.name));
        self.note(&format!("tools: {}", names.collect::<Vec<_>>().join(", ")))
    }

    /// The numbered tools.
    pub fn tools(&self, tools: &[ToolForm]) -> Result<(), Failure> {
        let width = tools.iter().map(|tool| tool.signature().chars().count()).max().unwrap_or(0);
        // On a narrow terminal descriptions go onto lines of their own.
        let beside = width + 6 + 24 < self.width();
        for (number, tool) in (1..).zip(tools) {
            let signature = tool.signature();
            match beside {
                true => self.text(
                    &format!("{number:>2} {signature:<width$}  {}", tool.description),
                    width + 5,
                )?,
                false => self.text(&format!("{number:>2} {signature}: {}", tool.description), 3)?,
            }
        }
        Ok(())
    }
}

/// Breaks a line between words. Words longer than the width are not broken.
fn wrap(line: &str, width: usize, indent: usize) -> String {
    if line.chars().count() <= width {
        return line.to_string();
    }
    let indent = indent.min(width / 2);
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let chars = word.trim_end().chars().count();
        if column > indent && column + chars > width {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        }
        wrapped.push_str(word);
        column += word.chars().count();
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn lines_break_between_words_and_stay_within_the_width() {
        let text = "one two three four five six seven eight nine";
        let wrapped = wrap(text, 20, 2);
        assert!(wrapped.lines().all(|line| line.chars().count() <= 20), "{wrapped}");
        let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        assert_eq!(words(&wrapped), words(text));
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("  ")), "{wrapped}");
        assert_eq!(wrap("short", 20, 2), "short");
        assert_eq!(wrap(&"x".repeat(30), 20, 2), "x".repeat(30));
    }
}
