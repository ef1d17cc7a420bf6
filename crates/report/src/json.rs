//! The document as JSON.

use analysis::document::Document;
use serde::Serialize;

/// Names the form of the JSON; a change that breaks readers gets the next number.
pub const SCHEMA: &str = "vendomini.analysis/1";

#[derive(Serialize)]
struct VersionedDocument<'a> {
    schema: &'static str,
    #[serde(flatten)]
    document: &'a Document,
}

/// The document as indented JSON with the key `schema`. Numbers have all digits; NaN and infinities
/// are null.
pub fn json(document: &Document) -> String {
    let versioned = VersionedDocument { schema: SCHEMA, document };
    // Serialization fails for maps with keys that are no strings; the document has no maps.
    serde_json::to_string_pretty(&versioned).expect("a document is plain data") + "\n"
}
