use crate::TextError;
use checkpoint::Checkpoint;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// system, user, assistant, tool.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message { role: role.into(), content: content.into() }
    }
}

/// A model's chat template, rendered as transformers does (`apply_chat_template`).
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: PathBuf,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template of a checkpoint: `chat_template.jinja`, `tokenizer_config.json` (a string, or a named list), or the
    /// one inside a GGUF file. `None` if there is none.
    ///
    /// # Errors
    /// 65 if it is no valid template, 74 if a file cannot be read.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>, TextError> {
        let root = &checkpoint.root;
        if let Some(m) = &checkpoint.gguf {
            let token = |key: &str| {
                let id = m.get_u64(key).unwrap_or(u64::MAX) as usize;
                m.get_str_array("tokenizer.ggml.tokens").and_then(|t| t.get(id)).cloned().unwrap_or_default()
            };
            let (bos, eos) = (token("tokenizer.ggml.bos_token_id"), token("tokenizer.ggml.eos_token_id"));
            let source = m.get_str("tokenizer.chat_template").map(str::to_owned);
            return source.map(|s| Self::new(root, s, bos, eos)).transpose();
        }
        let settings = Settings::read(root)?;
        let file = root.join("chat_template.jinja");
        let (file, source) = match std::fs::read_to_string(&file) {
            Ok(text) => (file, Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                (root.join("tokenizer_config.json"), settings.template)
            }
            Err(e) => return Err(TextError::tokenizer(&file, e)),
        };
        source.map(|s| Self::new(&file, s, settings.bos, settings.eos)).transpose()
    }

    fn new(file: &Path, source: String, bos: String, eos: String) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        // The day is not ours to tell: a rendering that changes at midnight would change every result.
        environment.add_function("strftime_now", |_format: String| "26 Jul 2024".to_owned());
        let file = file.to_owned();
        let bad = |e: Error| TextError::Template { file: file.clone(), why: e.to_string() };
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(bad)?;
        environment.set_syntax(syntax);
        environment.add_template_owned("chat", source).map_err(bad)?;
        Ok(ChatTemplate { environment, file, bos, eos })
    }

    /// A conversation as one text.
    ///
    /// # Errors
    /// 65 with the template's own words, when it refuses a role or an order.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let bad = |e: Error| TextError::Template { file: self.file.clone(), why: e.to_string() };
        let template = self.environment.get_template("chat").map_err(bad)?;
        let tools = tools.map_or(Value::from(()), |tools| Value::from(Serde(tools)));
        let messages = Value::from(Serde(messages));
        let (bos_token, eos_token) = (&self.bos, &self.eos);
        template.render(context! { messages, tools, add_generation_prompt, bos_token, eos_token }).map_err(bad)
    }
}

#[derive(Default)]
struct Settings {
    template: Option<String>,
    bos: String,
    eos: String,
}

impl Settings {
    fn read(root: &Path) -> Result<Settings, TextError> {
        let file = root.join("tokenizer_config.json");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
            Err(e) => return Err(TextError::tokenizer(&file, e)),
        };
        let root: serde_json::Value = serde_json::from_str(&text).map_err(|e| TextError::tokenizer(&file, e))?;
        let token = |key: &str| {
            let value = root.get(key);
            let text = value.and_then(|v| v.as_str().or_else(|| v.get("content").and_then(|c| c.as_str())));
            text.unwrap_or_default().to_owned()
        };
        let template = match root.get("chat_template") {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(serde_json::Value::Array(named)) => {
                let text = |t: &serde_json::Value| t.get("template").and_then(|t| t.as_str()).map(str::to_owned);
                let default = named.iter().find(|t| t.get("name").and_then(|n| n.as_str()) == Some("default"));
                default.or(named.first()).and_then(text)
            }
            _ => None,
        };
        Ok(Settings { template, bos: token("bos_token"), eos: token("eos_token") })
    }
}
