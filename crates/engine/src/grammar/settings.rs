//! Constraints of requests, and settings that apply to all grammars.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The constraint on a response's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON that conforms to a JSON schema. Schema features that llguidance does not support are an
    /// error. Keys are generated in the schema's order. An `x-guidance` object in the schema sets
    /// llguidance's options: it overrides [`GrammarSettings::whitespace`] and may permit
    /// unsupported features.
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
}

/// Settings that change the tokens of a constrained response. They are part of a result's
/// provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrammarSettings {
    /// Whether forced text is tokenized by the tokenizer and appended without sampling. Otherwise
    /// the model chooses among all tokenizations of the text, with one forward pass per token.
    pub canonical_tokens: bool,
    pub whitespace: Whitespace,
}

impl Default for GrammarSettings {
    fn default() -> Self {
        GrammarSettings { canonical_tokens: true, whitespace: Whitespace::Compact }
    }
}

impl std::fmt::Display for GrammarSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whitespace = match self.whitespace {
            Whitespace::Compact => "compact",
            Whitespace::Spaced => "spaced",
            Whitespace::Flexible => "flexible",
        };
        let canonical = if self.canonical_tokens { "on" } else { "off" };
        write!(f, "canonical_tokens {canonical}, whitespace {whitespace}")
    }
}

/// Whitespace between JSON tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// No whitespace: the fewest tokens, most of them forced.
    #[default]
    Compact,
    /// One space after each comma and colon, as Python's `json.dumps` writes.
    Spaced,
    /// Any whitespace that JSON allows, as the model chooses.
    Flexible,
}

impl Constraint {
    /// Whether the schema sets llguidance's options in an `x-guidance` object.
    pub(super) fn has_guidance_options(&self) -> bool {
        matches!(self, Constraint::JsonSchema(schema) if schema.get("x-guidance").is_some())
    }

    /// The schema for llguidance, with the options for `whitespace` in `x-guidance`, unless the
    /// schema has its own `x-guidance`.
    pub(super) fn schema(&self, whitespace: Whitespace) -> Value {
        let mut schema = match self {
            Constraint::JsonSchema(schema) => schema.clone(),
            Constraint::JsonObject => json!({"type": "object"}),
        };
        let options = match whitespace {
            Whitespace::Compact => json!({"whitespace_flexible": false}),
            Whitespace::Spaced => {
                json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})
            }
            Whitespace::Flexible => json!({}),
        };
        if let Some(schema) = schema.as_object_mut() {
            schema.entry("x-guidance").or_insert(options);
        }
        schema
    }
}
