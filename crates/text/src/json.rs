//! Reads small JSON files of settings.
use crate::TextError;
use checkpoint::read_text;
use serde_json::Value;
use std::path::Path;

/// Maximum bytes of a file. A `tokenizer_config.json` with many added tokens has a few MB.
const BYTES_MAX: u64 = 32 << 20;

/// The JSON object in a file; null if the file is absent.
pub(crate) fn read(file: &Path) -> Result<Value, TextError> {
    match read_text(file, BYTES_MAX)? {
        None => Ok(Value::Null),
        Some(text) => {
            match serde_json::from_str(&text).map_err(|e| TextError::tokenizer(file, e))? {
                object @ Value::Object(_) => Ok(object),
                _ => Err(TextError::tokenizer(file, "JSON other than an object")),
            }
        }
    }
}
