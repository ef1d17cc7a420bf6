//! Reads checked values as typed settings. Every value was checked against the kind of its key at
//! load, so a mismatch in this module means that the key table and a typed setting disagree, or
//! that the record of a stored run was edited.

use super::keys;
use super::value_kind::describe;
use crate::error::ConfigProblem;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Typed access to values by dotted key.
pub(super) struct Settings<'a> {
    values: &'a BTreeMap<&'static str, Value>,
}

impl<'a> Settings<'a> {
    pub fn new(values: &'a BTreeMap<&'static str, Value>) -> Self {
        Settings { values }
    }

    /// The value of a key as a `T`. If an older version stored the run, the key may be missing: its
    /// default then describes the behavior of that version.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigProblem> {
        let key = keys::find(name);
        let value = match self.values.get(name) {
            Some(value) => value.clone(),
            None => key.map_or(Value::Null, keys::Key::default_value),
        };
        serde_json::from_value(value.clone()).map_err(|_| ConfigProblem::Contradiction {
            key: name.to_string(),
            why: format!(
                "expected {}, found {}",
                key.map_or_else(|| "no such key".to_string(), |key| key.kind.expected()),
                describe(&value)
            ),
        })
    }

    /// As `get`, but returns `dead` if the key is null because it has no effect.
    pub fn get_unless_dead<T: DeserializeOwned>(
        &self,
        name: &str,
        dead: T,
    ) -> Result<T, ConfigProblem> {
        match self.values.get(name) {
            Some(Value::Null) => Ok(dead),
            _ => self.get(name),
        }
    }
}
