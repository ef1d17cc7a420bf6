//! The values of a GGUF file's metadata, and typed access to them.
use std::collections::BTreeMap;

/// A metadata value. Integers of all widths are stored in one type.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    UnsignedArray(Vec<u64>),
    SignedArray(Vec<i64>),
    FloatArray(Vec<f32>),
    BoolArray(Vec<bool>),
    StringArray(Vec<String>),
}

impl GgufValue {
    /// The type of the value, for messages.
    pub fn type_label(&self) -> &'static str {
        match self {
            GgufValue::Unsigned(_) | GgufValue::Signed(_) => "an integer",
            GgufValue::Float(_) => "a float",
            GgufValue::Bool(_) => "true or false",
            GgufValue::String(_) => "a string",
            GgufValue::UnsignedArray(_) | GgufValue::SignedArray(_) => "a list of integers",
            GgufValue::FloatArray(_) => "a list of floats",
            GgufValue::BoolArray(_) => "a list of true and false",
            GgufValue::StringArray(_) => "a list of strings",
        }
    }
}

/// The metadata of a GGUF file: hyper-parameters (`llama.block_count`) and the tokenizer
/// (`tokenizer.ggml.tokens`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GgufMetadata {
    /// Version of the GGUF format, 2 or 3.
    pub version: u32,
    pub values: BTreeMap<String, GgufValue>,
}

impl GgufMetadata {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.values.get(key)
    }

    /// The string value of a key; `None` if the key is absent or has another type.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            GgufValue::String(s) => Some(s),
            _ => None,
        }
    }

    /// The value of a key as a nonnegative integer, stored in any integer type; `None` otherwise.
    pub fn get_u64(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            GgufValue::Unsigned(n) => Some(*n),
            GgufValue::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The value of a key as a `u32`, such as a token id.
    pub fn get_u32(&self, key: &str) -> Option<u32> {
        self.get_u64(key).and_then(|n| u32::try_from(n).ok())
    }

    /// The value of a key as a float; integers are converted.
    pub fn get_f64(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            GgufValue::Float(x) => Some(*x),
            GgufValue::Unsigned(n) => Some(*n as f64),
            GgufValue::Signed(n) => Some(*n as f64),
            _ => None,
        }
    }

    /// The Boolean value of a key.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            GgufValue::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The list of strings of a key, such as `tokenizer.ggml.tokens` or `tokenizer.ggml.merges`.
    pub fn get_str_array(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            GgufValue::StringArray(list) => Some(list),
            _ => None,
        }
    }

    /// The list of integers of a key as `i32`, such as `tokenizer.ggml.token_type`. `None` if an
    /// element does not fit.
    pub fn get_i32_array(&self, key: &str) -> Option<Vec<i32>> {
        match self.get(key)? {
            GgufValue::SignedArray(list) => list.iter().map(|n| i32::try_from(*n).ok()).collect(),
            GgufValue::UnsignedArray(list) => list.iter().map(|n| i32::try_from(*n).ok()).collect(),
            _ => None,
        }
    }

    /// The list of nonnegative integers of a key.
    pub fn get_u64_array(&self, key: &str) -> Option<Vec<u64>> {
        match self.get(key)? {
            GgufValue::UnsignedArray(list) => Some(list.clone()),
            GgufValue::SignedArray(list) => list.iter().map(|n| u64::try_from(*n).ok()).collect(),
            _ => None,
        }
    }

    /// The list of floats of a key, such as `tokenizer.ggml.scores`.
    pub fn get_f32_array(&self, key: &str) -> Option<&[f32]> {
        match self.get(key)? {
            GgufValue::FloatArray(list) => Some(list),
            _ => None,
        }
    }
}
