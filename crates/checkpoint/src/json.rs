//! Strict JSON: duplicate keys are errors (most parsers keep the last value), and depth and size
//! are limited.
use crate::error::{CheckpointError, Defect, DefectKind};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::path::Path;

/// Maximum size of a configuration file, in bytes. Real files have a few KiB.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Prefix of serde's error messages about duplicate keys, by which they are recognized.
pub(crate) const DUPLICATE: &str = "duplicate key ";

/// Parses a JSON object without duplicate keys. serde_json itself rejects more than 128 levels of
/// nesting.
///
/// # Errors
/// A [`Defect`] if the text is not such an object.
pub fn object(file: &Path, text: &str) -> Result<Map<String, Value>, CheckpointError> {
    match value(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => {
            Err(Defect::new(DefectKind::WrongType, file, "a JSON object", type_name(&other)).into())
        }
        Err(error) => Err(refusal(file, DefectKind::NotJson, &error)),
    }
}

/// Converts a serde error to a defect.
pub(crate) fn refusal(file: &Path, kind: DefectKind, error: &serde_json::Error) -> CheckpointError {
    let message = error.to_string();
    if let Some((_, rest)) = message.split_once(DUPLICATE) {
        return Defect::new(
            DefectKind::DuplicateKey,
            file,
            "each key once",
            format!("key {rest} again"),
        )
        .into();
    }
    Defect::new(kind, file, "JSON", message).into()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn value(text: &str) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = StrictJson.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct StrictJson;

impl<'de> DeserializeSeed<'de> for StrictJson {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictJson {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Value, E> {
        Ok(s.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(StrictJson)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{DUPLICATE}{key}")));
            }
            map.insert(key, access.next_value_seed(StrictJson)?);
        }
        Ok(Value::Object(map))
    }
}
