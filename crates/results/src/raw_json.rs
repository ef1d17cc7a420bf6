//! JSON text that is stored as written, without being parsed into a value tree, and long texts.

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Part of a row as JSON text. Up to 100,000 rows per second are written, and building `Value`
/// trees would take most of that time.
#[derive(Debug, Clone, PartialEq)]
pub struct RawJson(Cow<'static, str>);

/// Name of the struct whose only field serde_json writes verbatim. serde_json's `RawValue` uses the
/// same name, but can only be created by parsing or by serializing into a new string. A test fails
/// if serde_json changes the name.
const VERBATIM: &str = "$serde_json::private::RawValue";

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    static ESCAPED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl RawJson {
    /// Serializes a value; `null` if it cannot be serialized.
    pub fn of(value: &impl Serialize) -> RawJson {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let written = serde_json::to_writer(&mut *scratch, value).ok();
            let text = written.and_then(|()| std::str::from_utf8(scratch).ok());
            text.map_or_else(RawJson::default, |text| RawJson(Cow::Owned(text.to_string())))
        })
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Parses the text as a value of type `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }

    /// Parses the text as a `Value` tree; `null` if that fails.
    pub fn value(&self) -> serde_json::Value {
        self.read().unwrap_or_default()
    }
}

impl Default for RawJson {
    fn default() -> Self {
        RawJson(Cow::Borrowed("null"))
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_verbatim(&self.0, serializer)
    }
}

fn write_verbatim<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut verbatim = serializer.serialize_struct(VERBATIM, 1)?;
    verbatim.serialize_field(VERBATIM, json)?;
    verbatim.end()
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawJson, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(RawJson(Cow::Owned(Box::<str>::from(raw).into_string())))
    }
}

/// A long text with many quotes or line ends, such as an observation. It is written as the same
/// bytes as by `serde_json`, which copies it piece by piece between the escapes.
pub(crate) struct EscapedText<'a>(pub &'a str);

impl Serialize for EscapedText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ESCAPED.with_borrow_mut(|escaped| {
            escaped.clear();
            json_escape_simd::escape_into(self.0, escaped);
            match std::str::from_utf8(escaped) {
                Ok(escaped) => write_verbatim(escaped, serializer),
                Err(_) => self.0.serialize(serializer),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EscapedText, RawJson};
    use serde_json::{Value, json};

    #[test]
    fn raw_json_is_written_and_read_verbatim() {
        let tree = json!({"a": [1, 2.5, null], "b": {"c": "\"é\n"}});
        let raw = RawJson::of(&tree);
        assert_eq!(raw.text(), tree.to_string());
        let row = serde_json::to_string(&json!({"x": 1})).unwrap();
        assert_eq!(row, "{\"x\":1}");
        let written = serde_json::to_string(&vec![raw.clone(), RawJson::default()]).unwrap();
        assert_eq!(written, format!("[{tree},null]"));
        assert_eq!(
            serde_json::from_str::<Vec<RawJson>>(&written).unwrap(),
            [raw.clone(), RawJson::default()]
        );
        assert_eq!(serde_json::to_value(&raw).unwrap(), tree);
        assert_eq!(raw.value(), tree);
        assert_eq!(RawJson::of(&f64::NAN).value(), Value::Null);
    }

    #[test]
    fn escaped_texts_are_the_bytes_of_serde_json() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        let odd = "\u{2028}\u{2029}\u{feff}\u{10ffff}\u{1f600}<>&'/";
        let texts = [String::new(), "\"".into(), all.clone(), odd.into(), all.repeat(9) + odd];
        for text in &texts {
            // Each length and alignment, so that every character is at the end of a vector once.
            for (at, _) in text.char_indices().take(300) {
                for part in [&text[at..], &text[..at]] {
                    let written = serde_json::to_string(&EscapedText(part)).unwrap();
                    assert_eq!(written, serde_json::to_string(part).unwrap());
                }
            }
        }
        assert_eq!(serde_json::to_value(EscapedText(&all)).unwrap(), Value::from(all));
    }
}
