//! Chat templates, rendered as transformers renders them.
mod adapt;
mod clock;
mod environment;
mod features;
mod python;
mod source;
mod vanished;

pub use features::TemplateFeatures;
pub use source::TemplateSource;

use crate::TextError;
use crate::thinking::{PromptOptions, ThinkingChoice, ThinkingPrompt, ThinkingSyntax};
use checkpoint::Checkpoint;
use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde::Serialize;
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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

/// Stack of a rendering, for the deepest value that a template can build with its fuel: dropping it
/// is a recursion. Only the pages that are used take memory.
const STACK_BYTES: usize = 512 << 20;
/// Stack of a rendering where the address space is limited.
const SMALL_STACK_BYTES: usize = 64 << 20;

/// A model's chat template, rendered as by transformers' `apply_chat_template`.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: PathBuf,
    special: BTreeMap<String, String>,
    /// Determined at the first prompt: a load needs no template.
    features: OnceLock<TemplateFeatures>,
    thinking: OnceLock<Option<ThinkingSyntax>>,
}

/// Variables that the conversation and the tokenizer set.
const OWN_VARIABLES: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

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

    /// Reads a template from a file, in place of that of the checkpoint, whose special tokens it
    /// gets.
    ///
    /// # Errors
    /// As [`from_checkpoint`](ChatTemplate::from_checkpoint), and [`TextError::NoFile`].
    pub fn from_file(file: &Path, checkpoint: &Checkpoint) -> Result<ChatTemplate, TextError> {
        ChatTemplate::new(file, source::of_file(file, checkpoint)?)
    }

    /// Compiles a template. `file` is for error messages.
    ///
    /// # Errors
    /// [`TextError::Template`] if it is invalid.
    pub fn new(file: &Path, source: TemplateSource) -> Result<ChatTemplate, TextError> {
        let environment =
            environment::build(&source).map_err(|e| TextError::template(file, full_message(&e)))?;
        Ok(ChatTemplate {
            environment,
            file: file.to_owned(),
            special: source.special,
            features: OnceLock::new(),
            thinking: OnceLock::new(),
        })
    }

    /// Which parts of a conversation this template renders.
    pub fn features(&self) -> TemplateFeatures {
        *self.features.get_or_init(|| TemplateFeatures::of(self))
    }

    /// How the model thinks before it answers; `None` if the template shows no sign of thinking.
    pub fn thinking(&self) -> Option<&ThinkingSyntax> {
        let find = || {
            let templates = self.environment.templates();
            let sources: String =
                templates.map(|(_, template)| template.source().to_owned()).collect();
            let message = [TemplateMessage::new("user", "Hello")];
            let render = |variables: &Map<_, _>| self.render_with(&message, None, true, variables);
            ThinkingSyntax::of(&sources, |name| self.reads(name), |given| render(given).ok())
        };
        self.thinking.get_or_init(find).as_ref()
    }

    /// Whether the template reads a variable with this name, other than those that a rendering
    /// always sets.
    pub fn reads(&self, variable: &str) -> bool {
        let is_own = OWN_VARIABLES.contains(&variable) || self.special.contains_key(variable);
        !is_own
            && self
                .environment
                .templates()
                .any(|(_, template)| template.undeclared_variables(false).contains(variable))
    }

    /// The prompt of a conversation: rendered such that every message reaches the model. What the
    /// template cannot render (tools, their results, system messages) becomes text of the messages
    /// that it can render; see [`features`](ChatTemplate::features). Messages as in
    /// [`render`](ChatTemplate::render), with a string as `content`.
    ///
    /// # Errors
    /// As [`render`](ChatTemplate::render), and [`TextError::Template`] if the template omits a
    /// message.
    pub fn prompt<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.prompt_with(messages, tools, add_generation_prompt, &Map::new())
    }

    /// The prompt of a conversation whose reply may begin with thinking; see
    /// [`prompt`](ChatTemplate::prompt).
    ///
    /// # Errors
    /// As [`prompt`](ChatTemplate::prompt), and [`TextError::NoThinking`] if thinking is requested
    /// and the template has none.
    pub fn thinking_prompt<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        options: &PromptOptions,
    ) -> Result<ThinkingPrompt, TextError> {
        let mut variables = options.variables.clone();
        let Some(syntax) = self.thinking() else {
            if options.thinking == ThinkingChoice::On {
                return Err(TextError::NoThinking { file: self.file.clone() });
            }
            let text = self.prompt_with(messages, tools, true, &variables)?;
            return Ok(ThinkingPrompt { text, start: None });
        };
        variables.extend(syntax.variables(options.thinking));
        let text = self.prompt_with(messages, tools, true, &variables)?;
        syntax.complete(text, options).map_err(|why| TextError::template(&self.file, why))
    }

    /// As [`prompt`](ChatTemplate::prompt), with variables that the template reads.
    ///
    /// # Errors
    /// As [`prompt`](ChatTemplate::prompt).
    pub fn prompt_with<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String, TextError> {
        let bad = |e: serde_json::Error| TextError::template(&self.file, e);
        let messages: Vec<serde_json::Value> =
            messages.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(bad)?;
        let features = self.features();
        let messages = adapt::adapt(features, messages, tools);
        let tools = tools.filter(|_| features.tools);
        let render = |messages: &[serde_json::Value]| {
            self.render_with(messages, tools, add_generation_prompt, variables)
        };
        let text = render(&messages)?;
        if !features.user {
            return Ok(text);
        }
        match vanished::find_vanished(&messages, &text, render) {
            None => Ok(text),
            Some(index) => {
                let why = format!(
                    "it omits message {index} (counted from 0), whose role is {}",
                    messages[index]["role"]
                );
                Err(TextError::template(&self.file, why))
            }
        }
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
        self.render_with(messages, tools, add_generation_prompt, &Map::new())
    }

    /// As [`render`](ChatTemplate::render), with variables that the template reads.
    ///
    /// # Errors
    /// As [`render`](ChatTemplate::render).
    pub fn render_with<M: Serialize>(
        &self,
        messages: &[M],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
        given: &Map<String, serde_json::Value>,
    ) -> Result<String, TextError> {
        let bad = |e: Error| TextError::template(&self.file, full_message(&e));
        let tool_use =
            tools.and_then(|_| self.environment.get_template(environment::TOOL_USE).ok());
        let template = match tool_use {
            Some(template) => template,
            None => self.environment.get_template(environment::DEFAULT).map_err(bad)?,
        };
        let mut variables: BTreeMap<&str, Value> =
            given.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))).collect();
        let special = self.special.iter().map(|(name, token)| (name.as_str(), Value::from(token)));
        variables.extend(special);
        variables.insert("messages", Value::from(Serde(messages)));
        variables.insert("tools", tools.map_or(Value::from(()), |tools| Value::from(Serde(tools))));
        variables.insert("documents", Value::from(()));
        variables.insert("add_generation_prompt", Value::from(add_generation_prompt));
        // The error holds values of the template, so it is dropped on the same stack.
        let render = || template.render(&variables).map_err(|e| full_message(&e));
        match on_stack(STACK_BYTES, render).or_else(|_| on_stack(SMALL_STACK_BYTES, render)) {
            Ok(Some(rendered)) => rendered.map_err(|why| TextError::template(&self.file, why)),
            Ok(None) => Err(TextError::template(&self.file, "it makes the template engine panic")),
            Err(e) => Err(TextError::template(&self.file, format!("no thread to render it: {e}"))),
        }
    }
}

/// Calls `f` on a thread with a stack of this size; `None` if it panics.
///
/// # Errors
/// If the thread cannot be started.
fn on_stack<T: Send>(bytes: usize, f: impl FnOnce() -> T + Send) -> std::io::Result<Option<T>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".into()).stack_size(bytes);
        thread.spawn_scoped(scope, f).map(|running| running.join().ok())
    })
}

/// The message of an error, followed by those of its causes.
fn full_message(error: &Error) -> String {
    let mut message = error.to_string();
    if message.contains("recursion limit exceeded") {
        let depth = environment::MACRO_DEPTH;
        message.push_str(&format!("; macros may call each other {depth} deep"));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    message
}
