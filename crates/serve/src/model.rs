//! A loaded model with its tokenizer and chat template.

use engine::Engine;
use serde_json::{Value, json};
use text::{ChatTemplate, TemplateMessage, Tokenizer};

/// A loaded model, with the tokenizer and the chat template that turn conversations into token ids.
#[derive(Debug)]
pub struct ServedModel {
    /// The name that responses and `/v1/models` show.
    pub name: String,
    /// Other names that requests may use for this model.
    pub aliases: Vec<String>,
    pub engine: Engine,
    pub tokenizer: Tokenizer,
    /// `None` for a model without a chat template, which cannot serve chat completions.
    pub template: Option<ChatTemplate>,
    /// Version, dtype and kernel set: the `system_fingerprint` of responses.
    pub fingerprint: String,
}

impl ServedModel {
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Whether the chat template renders tools; determined by rendering a conversation with one
    /// tool and searching the text for the tool's name.
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
