//! Typed access to the keys of `config.json`. Errors name the key, the expected value and the value
//! found.
use crate::error::{CheckpointError, Defect, DefectKind};
use serde_json::{Map, Value};
use std::path::Path;

pub(crate) type Result<T> = std::result::Result<T, CheckpointError>;

/// Exclusive upper limit of all integers; far above every dimension of a real model.
const NUMBER_MAX: u64 = 1 << 32;

/// The keys of one JSON object in `file`. `within` is the prefix for messages: empty for the
/// top-level object, otherwise the object's key and a dot.
#[derive(Clone, Copy)]
pub(crate) struct ConfigKeys<'a> {
    pub file: &'a Path,
    pub map: &'a Map<String, Value>,
    pub within: &'a str,
}

impl<'a> ConfigKeys<'a> {
    /// The value of a key; `None` if it is absent or null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// Whether the key is present, including with the value null.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub fn defect(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Defect {
        Defect::new(DefectKind::ConfigValue, self.file, expected, found)
            .key(&format!("{}{key}", self.within))
    }

    pub fn missing(&self, key: &str, expected: &str) -> CheckpointError {
        let defect = Defect::new(DefectKind::ConfigMissing, self.file, expected, "no such key");
        defect.key(&format!("{}{key}", self.within)).into()
    }

    /// A positive integer; `None` if the key is absent or null.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n @ 1..NUMBER_MAX) => Ok(Some(n as usize)),
            _ => Err(self
                .defect(key, format!("an integer from 1 to {}", NUMBER_MAX - 1), value)
                .into()),
        }
    }

    /// A nonnegative integer; `None` if the key is absent or null.
    pub fn count_or_zero(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n @ 0..NUMBER_MAX) => Ok(Some(n as usize)),
            _ => Err(self
                .defect(key, format!("an integer from 0 to {}", NUMBER_MAX - 1), value)
                .into()),
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|n| n.is_finite()) {
            Some(n) => Ok(Some(n)),
            None => Err(self.defect(key, "a number", value).into()),
        }
    }

    pub fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.number(key)? {
            Some(n) if n <= 0.0 => Err(self.defect(key, "a number above 0", n).into()),
            other => Ok(other),
        }
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.defect(key, "true or false", value).into())
    }

    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.defect(key, "a string", value).into())
    }

    pub fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| self.defect(key, "a list", value).into())
    }

    /// A list of `count` positive numbers.
    pub fn positive_list(&self, key: &str, count: usize) -> Result<Vec<f64>> {
        let expected = format!("a list of {count} positive numbers");
        let Some(list) = self.list(key)? else { return Err(self.missing(key, &expected)) };
        let values: Vec<f64> =
            list.iter().filter_map(Value::as_f64).filter(|n| *n > 0.0 && n.is_finite()).collect();
        if values.len() != list.len() || list.len() != count {
            let found =
                format!("{} entries, {} of them positive numbers", list.len(), values.len());
            return Err(self.defect(key, expected, found).into());
        }
        Ok(values)
    }

    /// Token ids: one id, a list, or null for none; `default` if the key is absent.
    pub fn ids(&self, key: &str, default: &[u32]) -> Result<Vec<u32>> {
        let Some(value) = self.map.get(key) else { return Ok(default.to_vec()) };
        crate::generation::ids(value)
            .ok_or_else(|| self.defect(key, "a token id or a list of them", value).into())
    }
}
