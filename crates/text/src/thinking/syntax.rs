//! [`ThinkingSyntax`]: what a chat template tells about thinking.
use super::marks::{TAGS, ThinkingMarks};
use crate::{TextError, Tokenizer};
use serde_json::{Map, Value};

/// What a request asks of the thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ThinkingChoice {
    /// What the template does by itself.
    #[default]
    Default,
    /// The reply is the answer.
    Off,
    /// The reply begins with thinking.
    On,
}

/// A request to a template, besides the conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptOptions {
    pub thinking: ThinkingChoice,
    /// Variables for the template, as transformers' `apply_chat_template` takes them.
    pub variables: Map<String, Value>,
    /// Whether a grammar will constrain the answer. The model then cannot decide by its first
    /// tokens whether it thinks.
    pub is_constrained: bool,
}

/// A prompt, and how the reply to it thinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingPrompt {
    pub text: String,
    /// `None` if the reply is the answer alone.
    pub start: Option<ThinkingStart>,
}

/// How thinking begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingStart {
    /// The prompt ends with the mark that begins it.
    Opened,
    /// The model writes the mark, or answers without thinking.
    ByModel,
}

/// How a model thinks, by its chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingSyntax {
    form: Form,
    /// The variables among [`SWITCHES`] that the template reads.
    switches: Vec<&'static str>,
    /// Whether the template reads [`EFFORT`].
    has_effort: bool,
    /// Whether the model thinks unless it is asked not to.
    by_default: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Tags,
    Harmony,
}

/// Variables of templates that switch the thinking on and off.
const SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];
/// Variable of templates for how much to think: low, medium or high.
const EFFORT: &str = "reasoning_effort";
/// What only templates of the harmony format write.
const HARMONY_SIGNS: [&str; 2] = ["<|channel|>", "<|message|>"];

/// Where a prompt ends.
#[derive(PartialEq)]
enum PromptEnd {
    Opened,
    Closed,
    Neither,
}

impl ThinkingSyntax {
    /// The syntax of a template. `sources`: its text; `reads`: whether it reads a variable;
    /// `render`: renders a message with these variables, `None` on an error.
    pub(crate) fn of(
        sources: &str,
        reads: impl Fn(&str) -> bool,
        render: impl Fn(&Map<String, Value>) -> Option<String>,
    ) -> Option<ThinkingSyntax> {
        let has = |text: &&str| sources.contains(*text);
        let form = if HARMONY_SIGNS.iter().all(has) {
            Form::Harmony
        } else if TAGS.iter().any(has) {
            Form::Tags
        } else {
            return None;
        };
        let switches = SWITCHES.into_iter().filter(|name| reads(name)).collect();
        let syntax =
            ThinkingSyntax { form, switches, has_effort: reads(EFFORT), by_default: false };
        let end = |choice| render(&syntax.variables(choice)).map(|text| syntax.end_of(&text));
        let by_default = match (form, end(ThinkingChoice::Default)?) {
            (_, PromptEnd::Opened) | (Form::Harmony, PromptEnd::Neither) => true,
            (_, PromptEnd::Closed) => false,
            // The template leaves it to the model; only one that can switch it off means it on.
            (Form::Tags, PromptEnd::Neither) => {
                end(ThinkingChoice::Off).is_some_and(|end| end == PromptEnd::Closed)
            }
        };
        Some(ThinkingSyntax { by_default, ..syntax })
    }

    /// Whether the model thinks unless it is asked not to.
    pub fn by_default(&self) -> bool {
        self.by_default
    }

    /// Whether the template reads `reasoning_effort`: low, medium or high.
    pub fn has_effort(&self) -> bool {
        self.has_effort
    }

    /// Whether a variable of this name switches the thinking of some templates.
    pub fn is_switch(variable: &str) -> bool {
        SWITCHES.contains(&variable)
    }

    /// The variables that tell the template of the choice.
    pub fn variables(&self, choice: ThinkingChoice) -> Map<String, Value> {
        let value = match choice {
            ThinkingChoice::Default => return Map::new(),
            ThinkingChoice::Off => false,
            ThinkingChoice::On => true,
        };
        self.switches.iter().map(|name| ((*name).to_owned(), Value::from(value))).collect()
    }

    /// The marks as tokens.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer lacks one of them.
    pub fn marks(&self, tokenizer: &Tokenizer) -> Result<ThinkingMarks, TextError> {
        match self.form {
            Form::Tags => ThinkingMarks::tags(tokenizer),
            Form::Harmony => ThinkingMarks::harmony(tokenizer),
        }
    }

    /// Adds to a rendered prompt what the choice needs beyond the template's variables: the mark
    /// that begins the thinking, or an empty thinking.
    ///
    /// # Errors
    /// If thinking is requested and the template closes it.
    pub(crate) fn complete(
        &self,
        mut text: String,
        options: &PromptOptions,
    ) -> Result<ThinkingPrompt, &'static str> {
        let start = match (options.thinking, self.end_of(&text)) {
            (ThinkingChoice::On, PromptEnd::Closed) => {
                return Err("it ends the thinking before it begins, although thinking is on");
            }
            (ThinkingChoice::Off, PromptEnd::Opened) => {
                text.push_str(self.close(&text));
                None
            }
            (ThinkingChoice::Off, PromptEnd::Neither) => {
                text.push_str(self.empty());
                None
            }
            (_, PromptEnd::Closed) => None,
            (_, PromptEnd::Opened) => Some(ThinkingStart::Opened),
            (ThinkingChoice::Default, PromptEnd::Neither) if !options.is_constrained => {
                Some(ThinkingStart::ByModel)
            }
            (ThinkingChoice::Default, PromptEnd::Neither) if !self.by_default => None,
            (_, PromptEnd::Neither) => {
                text.push_str(self.begin());
                Some(ThinkingStart::Opened)
            }
        };
        Ok(ThinkingPrompt { text, start })
    }

    fn end_of(&self, prompt: &str) -> PromptEnd {
        let [begin, end] = match self.form {
            Form::Tags => TAGS,
            Form::Harmony => [self.begin(), self.empty()],
        };
        let prompt = prompt.trim_end();
        if prompt.ends_with(begin) {
            PromptEnd::Opened
        } else if prompt.ends_with(end) {
            PromptEnd::Closed
        } else {
            PromptEnd::Neither
        }
    }

    /// Text that begins the thinking.
    fn begin(&self) -> &'static str {
        match self.form {
            Form::Tags => "<think>\n",
            Form::Harmony => "<|channel|>analysis<|message|>",
        }
    }

    /// Text that stands for an empty thinking, as Qwen3's template writes it.
    fn empty(&self) -> &'static str {
        match self.form {
            Form::Tags => "<think>\n\n</think>\n\n",
            Form::Harmony => "<|channel|>final<|message|>",
        }
    }

    /// Text that ends the thinking that `prompt` begins.
    fn close(&self, prompt: &str) -> &'static str {
        match self.form {
            Form::Tags if prompt.ends_with('\n') => "\n</think>\n\n",
            Form::Tags => "\n\n</think>\n\n",
            Form::Harmony => "<|end|><|start|>assistant<|channel|>final<|message|>",
        }
    }
}
