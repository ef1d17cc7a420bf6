//! What a reply must be, and how strictly its tokens are chosen.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The form of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON under a JSON schema, as far as llguidance knows it; what it does not know is an error,
    /// never ignored. Keys come in the schema's order. An `x-guidance` object in it overrides
    /// [`GrammarSettings::whitespace`].
    JsonSchema(Value),
    /// Any JSON object.
    JsonObject,
}

/// Settings that change which tokens a constrained reply is made of. They belong in the provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrammarSettings {
    /// Whether text that the form forces is given as the tokenizer would cut it, without asking
    /// the model. Off: the model chooses among all ways to cut it, one pass for each token.
    pub canonical_tokens: bool,
    /// Where JSON may hold whitespace.
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
        write!(
            f,
            "canonical_tokens {}, whitespace {whitespace}",
            if self.canonical_tokens { "on" } else { "off" }
        )
    }
}

/// Whitespace between JSON's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// None: the most is forced, the least is generated.
    #[default]
    Compact,
    /// One space after each comma and colon, as Python's `json.dumps`.
    Spaced,
    /// Wherever JSON allows it, as much as the model likes.
    Flexible,
}

impl Constraint {
    /// Whether the schema brings options of its own.
    pub(super) fn is_lenient(&self) -> bool {
        matches!(self, Constraint::JsonSchema(schema) if schema.get("x-guidance").is_some())
    }

    /// The schema as llguidance takes it: ours, with the whitespace named in `x-guidance`.
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
