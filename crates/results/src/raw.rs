use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A part of a row that is written and read as the JSON text it is: rows are written a hundred thousand a second, and trees
/// of values would cost most of that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// The JSON of a value; `null` for what has none.
    pub fn of(value: &impl Serialize) -> Raw {
        serde_json::value::to_raw_value(value).map(Raw).unwrap_or_default()
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Read as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }

    /// Read as a tree.
    pub fn value(&self) -> serde_json::Value {
        self.read().unwrap_or_default()
    }
}

impl Default for Raw {
    fn default() -> Self {
        Raw(RawValue::NULL.to_owned())
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
