//! A loaded model with its tokenizer and chat template.

use engine::Engine;
use serde_json::{Value, json};
use text::{ChatTemplate, TemplateMessage, Tokenizer};

/// A loaded model, and what turns conversations into its tokens.
#[derive(Debug)]
pub struct ServedModel {
    /// The name that clients use.
    pub name: String,
    /// Other names that requests may use.
    pub aliases: Vec<String>,
    pub engine: Engine,
    pub tokenizer: Tokenizer,
    /// Without a template there are no chat completions.
    pub template: Option<ChatTemplate>,
    /// Version, dtype and kernel set, for `system_fingerprint`.
    pub fingerprint: String,
}

impl ServedModel {
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether the chat template renders tools: found by rendering one.
    pub(crate) fn renders_tools(&self) -> bool {
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
