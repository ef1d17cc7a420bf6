mod clock;
mod environment;
mod python;
mod source;

pub use source::TemplateSource;

use crate::TextError;
use checkpoint::Checkpoint;
use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// system, user, assistant, tool.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage { role: role.into(), content: content.into() }
    }
}

/// A model's chat template, rendered as transformers does (`apply_chat_template`).
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: PathBuf,
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// The template of a checkpoint: `chat_template.jinja`, `tokenizer_config.json` (a string, or a
    /// named list), or the one inside a GGUF file. `None` if there is none.
    ///
    /// # Errors
    /// 65 if it is no valid template, 66 for a link to nothing, 74 if a file cannot be read.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>, TextError> {
        let root = &checkpoint.root;
        let found = match &checkpoint.gguf {
            Some(metadata) => source::of_gguf(metadata).map(|source| (root.clone(), source)),
            None => source::of_folder(root)?,
        };
        found.map(|(file, source)| ChatTemplate::new(&file, source)).transpose()
    }

    /// A template from its text. `file` is for errors.
    ///
    /// # Errors
    /// 65 if it is no valid template.
    pub fn new(file: &Path, source: TemplateSource) -> Result<ChatTemplate, TextError> {
        let environment =
            environment::build(&source).map_err(|e| TextError::template(file, words(&e)))?;
        Ok(ChatTemplate { environment, file: file.to_owned(), special: source.special })
    }

    /// A conversation as one text. A message is whatever the template reads: a [`ChatMessage`], or an
    /// object with more members (`tool_calls`, `tool_call_id`, `name`).
    ///
    /// # Errors
    /// 65 with the template's own words, when it refuses a role or an order, uses what there is
    /// not, or does not end.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let bad = |e: Error| TextError::template(&self.file, words(&e));
        let tool_use =
            tools.and_then(|_| self.environment.get_template(environment::TOOL_USE).ok());
        let template = match tool_use {
            Some(template) => template,
            None => self.environment.get_template(environment::DEFAULT).map_err(bad)?,
        };
        let mut given: BTreeMap<&str, Value> =
            self.special.iter().map(|(name, token)| (name.as_str(), Value::from(token))).collect();
        given.insert("messages", Value::from(Serde(messages)));
        given.insert("tools", tools.map_or(Value::from(()), |tools| Value::from(Serde(tools))));
        given.insert("documents", Value::from(()));
        given.insert("add_generation_prompt", Value::from(add_generation_prompt));
        template.render(given).map_err(bad)
    }
}

/// An error with those that caused it.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}
