//! YAML parsed into a tree whose nodes have line numbers.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;
use std::fmt;

/// A value and the number of its first line, counted from 1.
#[derive(Debug, Clone)]
pub(crate) struct YamlNode {
    pub line: u64,
    pub tree: YamlValue,
}

/// A scalar, list or mapping. Mappings keep the order of the file.
#[derive(Debug, Clone)]
pub(crate) enum YamlValue {
    Scalar(Value),
    List(Vec<YamlNode>),
    Map(Vec<YamlEntry>),
}

/// An entry of a mapping: a key with its line number, and a value.
#[derive(Debug, Clone)]
pub(crate) struct YamlEntry {
    pub key: String,
    pub line: u64,
    pub value: YamlNode,
}

/// A YAML syntax error.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub line: Option<u64>,
    pub message: String,
}

/// Parses a single YAML document. A duplicate key is an error.
pub(crate) fn parse(text: &str) -> Result<YamlNode, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| YamlError {
        line: error.location().map(|at| at.line()),
        message: error.without_snippet().to_string(),
    })
}

impl YamlNode {
    /// The node as a JSON value, without line numbers.
    pub fn value(&self) -> Value {
        match &self.tree {
            YamlValue::Scalar(value) => value.clone(),
            YamlValue::List(nodes) => Value::Array(nodes.iter().map(YamlNode::value).collect()),
            YamlValue::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.value())).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<YamlValue>::deserialize(deserializer)?;
        Ok(YamlNode { line: spanned.referenced.line(), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = YamlValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<YamlValue, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("expected a finite number"))?;
        Ok(YamlValue::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::from(value)))
    }

    fn visit_unit<E>(self) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<YamlValue, E> {
        Ok(YamlValue::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<YamlValue, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(YamlValue::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<YamlValue, A::Error> {
        let mut entries: Vec<YamlEntry> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            if entries.iter().any(|entry| entry.key == key.value) {
                return Err(A::Error::custom(format!("duplicate key {:?}", key.value)));
            }
            let value = access.next_value()?;
            entries.push(YamlEntry { line: key.referenced.line(), key: key.value, value });
        }
        Ok(YamlValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_line_and_syntax_errors_are_reported() {
        let root = parse("a:\n  b: 1\n  c.d: [1, 2.5, x]\ne: ~\n0: true\n").unwrap();
        let YamlValue::Map(entries) = &root.tree else { panic!("expected a mapping") };
        assert_eq!(
            entries.iter().map(|e| (e.key.as_str(), e.line)).collect::<Vec<_>>(),
            [("a", 1), ("e", 4), ("0", 5)]
        );
        assert_eq!(
            root.value().to_string(),
            r#"{"a":{"b":1,"c.d":[1,2.5,"x"]},"e":null,"0":true}"#
        );
        assert!(parse("a: [1").is_err());
        assert!(parse("a: 1\na: 2").unwrap_err().message.contains("uplicate"));
    }
}
