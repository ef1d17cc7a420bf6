//! A loaded model with its tokenizer and chat template.

use engine::Engine;
use text::{ChatTemplate, Tokenizer};

/// A loaded model, with the tokenizer and the chat template that turn conversations into token ids.
#[derive(Debug)]
pub struct ServedModel {
    /// The name that responses and `/v1/models` show.
    pub name: String,
    /// Other names that requests may use for this model.
    pub aliases: Vec<String>,
    pub engine: Engine,
    pub tokenizer: Tokenizer,
    /// The chat template; without one, the reason why chat completions are refused.
    pub template: Result<ChatTemplate, String>,
    /// Version, dtype and kernel set: the `system_fingerprint` of responses.
    pub fingerprint: String,
}

impl ServedModel {
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}
