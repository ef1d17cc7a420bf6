//! Lines that the person writes: at a terminal by a line editor, otherwise as they come on stdin.

use super::print;
use crate::failure::Failure;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io::{BufRead, IsTerminal, Read};

/// Maximum number of bytes of a line from a script.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// The source of the person's lines.
pub enum Input {
    Terminal(Box<Editor<Completions, MemHistory>>),
    /// The number of lines read.
    Script(usize),
}

/// A line, or why there is none.
pub enum Answer {
    Line(String),
    /// Ctrl-D or the end of the script.
    End,
    /// Ctrl-C.
    Interrupted,
}

/// Words that Tab completes.
#[derive(Default)]
pub struct Completions(Vec<String>);

impl Input {
    /// The terminal, if stdin and stdout are one.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn open() -> Result<Input, Failure> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok(Input::Script(0));
        }
        let config = Config::builder().completion_type(CompletionType::List).build();
        let editor = Editor::with_history(config, MemHistory::new());
        let mut editor = editor.map_err(|error| unusable(&error))?;
        editor.set_helper(Some(Completions::default()));
        Ok(Input::Terminal(Box::new(editor)))
    }

    /// Whether no line was read although there is no terminal.
    pub fn is_empty_script(&self) -> bool {
        matches!(self, Input::Script(0))
    }

    /// Asks for a line.
    ///
    /// # Errors
    /// The line cannot be read, or the question cannot be written.
    pub fn ask(&mut self, question: &str, words: Vec<String>) -> Result<Answer, Failure> {
        match self {
            Input::Terminal(editor) => {
                editor.set_helper(Some(Completions(words)));
                match editor.readline(question) {
                    Ok(line) => {
                        if !line.trim().is_empty() {
                            editor.add_history_entry(&line).map_err(|error| unusable(&error))?;
                        }
                        Ok(Answer::Line(line))
                    }
                    Err(ReadlineError::Eof) => Ok(Answer::End),
                    Err(ReadlineError::Interrupted) => Ok(Answer::Interrupted),
                    Err(error) => Err(unusable(&error)),
                }
            }
            Input::Script(lines) => {
                print(question)?;
                let answer = script_line()?;
                // The answer stands behind its question, as on a terminal.
                match &answer {
                    Answer::Line(line) => print(&format!("{line}\n"))?,
                    _ => print("\n")?,
                }
                *lines += usize::from(matches!(answer, Answer::Line(_)));
                Ok(answer)
            }
        }
    }
}

fn script_line() -> Result<Answer, Failure> {
    let mut line = Vec::new();
    let unreadable = |error| Failure::io("cannot read stdin", &error);
    std::io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(unreadable)?;
    if line.is_empty() {
        return Ok(Answer::End);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Answer::Line(text.trim_end_matches(['\n', '\r']).to_string()))
}

fn unusable(error: &ReadlineError) -> Failure {
    Failure::io("cannot use the terminal", &std::io::Error::other(error.to_string()))
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..position];
        let start = before.rfind(' ').map_or(0, |space| space + 1);
        let begun = before[start..].to_lowercase();
        let fits = |word: &&String| word.to_lowercase().starts_with(&begun);
        // A space ends the word, so that the next one can follow.
        Ok((start, self.0.iter().filter(fits).map(|word| format!("{word} ")).collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}
impl Validator for Completions {}
impl Helper for Completions {}
