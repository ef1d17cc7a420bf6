//! A model that can be asked.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::Engine;
use serde_json::{Value, json};
use text::{ChatTemplate, TemplateMessage, Tokenizer};

/// A model at work, with all that turns a conversation into its tokens.
#[derive(Debug)]
pub struct ServedModel {
    /// The name that clients use.
    pub name: String,
    /// Other names that it answers to.
    pub aliases: Vec<String>,
    /// The model.
    pub engine: Engine,
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// The chat template; without one there are no chat completions.
    pub template: Option<ChatTemplate>,
    /// What it computes with (kernel set, dtype), for `system_fingerprint`.
    pub fingerprint: String,
}

impl ServedModel {
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether the template tells the model of its tools.
    pub(crate) fn tells_tools(&self) -> bool {
        const NAME: &str = "probe_of_the_template";
        let function = json!({"name": NAME, "description": NAME, "parameters": {"type": "object", "properties": {}}});
        let tools: Value = json!([{"type": "function", "function": function}]);
        let rendered = |template: &ChatTemplate| {
            template.render(&[TemplateMessage::new("user", "Hello")], Some(&tools), true)
        };
        self.template
            .as_ref()
            .is_some_and(|template| rendered(template).is_ok_and(|text| text.contains(NAME)))
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
