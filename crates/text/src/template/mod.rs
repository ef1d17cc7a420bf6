//! Chat templates, rendered as transformers renders them.
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

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TemplateMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    pub content: String,
}

impl TemplateMessage {
    /// A message with a role and text content.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        TemplateMessage { role: role.into(), content: content.into() }
    }
}

/// A model's chat template, rendered as by transformers' `apply_chat_template`.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: PathBuf,
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Reads the template of a checkpoint: `chat_template.jinja`, `tokenizer_config.json` (a
    /// string, or a list of named templates), or the metadata of a GGUF file. `None` if the
    /// checkpoint has no template.
    ///
    /// # Errors
    /// [`TextError::Template`] if it is invalid, [`TextError::File`] for a dangling link or a
    /// failed read.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>, TextError> {
        let root = &checkpoint.root;
        let found = match &checkpoint.gguf {
            Some(metadata) => source::of_gguf(metadata).map(|source| (root.clone(), source)),
            None => source::of_folder(root)?,
        };
        found.map(|(file, source)| ChatTemplate::new(&file, source)).transpose()
    }

    /// Compiles a template. `file` is for error messages.
    ///
    /// # Errors
    /// [`TextError::Template`] if it is invalid.
    pub fn new(file: &Path, source: TemplateSource) -> Result<ChatTemplate, TextError> {
        let environment =
            environment::build(&source).map_err(|e| TextError::template(file, full_message(&e)))?;
        Ok(ChatTemplate { environment, file: file.to_owned(), special: source.special })
    }

    /// Renders a conversation. A message is a [`TemplateMessage`] or an object with additional JSON
    /// fields that the template reads (`tool_calls`, `tool_call_id`, `name`).
    ///
    /// # Errors
    /// [`TextError::Template`] if the template rejects a role or the order of messages, uses an
    /// undefined value, or does not end.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let bad = |e: Error| TextError::template(&self.file, full_message(&e));
        let tool_use =
            tools.and_then(|_| self.environment.get_template(environment::TOOL_USE).ok());
        let template = match tool_use {
            Some(template) => template,
            None => self.environment.get_template(environment::DEFAULT).map_err(bad)?,
        };
        let mut variables: BTreeMap<&str, Value> =
            self.special.iter().map(|(name, token)| (name.as_str(), Value::from(token))).collect();
        variables.insert("messages", Value::from(Serde(messages)));
        variables.insert("tools", tools.map_or(Value::from(()), |tools| Value::from(Serde(tools))));
        variables.insert("documents", Value::from(()));
        variables.insert("add_generation_prompt", Value::from(add_generation_prompt));
        template.render(variables).map_err(bad)
    }
}

/// The message of an error, followed by those of its causes.
fn full_message(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    message
}
