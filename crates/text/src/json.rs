use crate::TextError;
use checkpoint::read_text;
use serde_json::Value;
use std::path::Path;

/// Settings are small; `tokenizer_config.json` with many added tokens has some MB.
const BYTES_MAX: u64 = 32 << 20;

/// A file of settings; null if there is none.
pub(crate) fn read(file: &Path) -> Result<Value, TextError> {
    match read_text(file, BYTES_MAX)? {
        None => Ok(Value::Null),
        Some(text) => {
            match serde_json::from_str(&text).map_err(|e| TextError::tokenizer(file, e))? {
                object @ Value::Object(_) => Ok(object),
                _ => Err(TextError::tokenizer(file, "JSON that is no object")),
            }
        }
    }
}
